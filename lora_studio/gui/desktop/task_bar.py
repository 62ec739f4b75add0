"""Show the progress of a job on the program's task bar icon."""

from __future__ import annotations

import os
import sys
from typing import Protocol

_ENTRY = "application://lora-studio.desktop"
_PATH, _INTERFACE = "/com/canonical/unity/launcherentry/1", "com.canonical.Unity.LauncherEntry"


class TaskBar(Protocol):
    """Interface for showing progress on the icon."""

    def show(self, share: float | None) -> None:
        """Show a share from 0 to 1, or no progress for None."""


class NoTaskBar:
    """For desktops that can't show progress."""

    def show(self, share: float | None) -> None:
        """Do nothing."""


class LauncherEntry:
    """Sends Unity's D-Bus signal, which KDE Plasma, Ubuntu Dock and Dash to Dock support."""

    def __init__(self) -> None:
        """Create it without a connection; the first progress connects to the session bus."""
        self._shown: float | None = None

    def show(self, share: float | None) -> None:
        """Send whole percents; smaller steps can't be seen."""
        rounded = None if share is None else round(share, 2)
        if rounded == self._shown:
            return
        self._shown = rounded
        from PySide6.QtDBus import QDBusConnection, QDBusMessage

        signal = QDBusMessage.createSignal(_PATH, _INTERFACE, "Update")
        signal.setArguments(
            [_ENTRY, {"progress": rounded or 0.0, "progress-visible": rounded is not None}]
        )
        QDBusConnection.sessionBus().send(signal)


def make_task_bar(platform: str = sys.platform) -> TaskBar:
    """Return the implementation for this desktop."""
    has_bus = bool(os.environ.get("DBUS_SESSION_BUS_ADDRESS"))
    is_headless = os.environ.get("QT_QPA_PLATFORM") in ("offscreen", "minimal")
    return LauncherEntry() if platform == "linux" and has_bus and not is_headless else NoTaskBar()
