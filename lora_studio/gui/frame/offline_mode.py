"""Turns offline mode on and off for the whole window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lora_studio.core.system import offline

if TYPE_CHECKING:
    from lora_studio.gui.frame.shell import Window


def choose(window: Window, *, on: bool) -> None:
    """Workers that were started before would not know of it: they are replaced."""
    window.preferences.offline = on
    window.preferences.save()
    offline.switch(on)
    window.inspector.renew()
    window.settings.show_offline()
    for page in window.pages.values():
        page.online_changed()
