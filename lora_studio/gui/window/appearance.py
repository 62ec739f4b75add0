"""How the window looks: theme, size of text and language, changed at once and kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from PySide6.QtCore import QObject

from lora_studio.gui import theme
from lora_studio.gui.preferences import TextSize
from lora_studio.gui.text_size import SIZES

if TYPE_CHECKING:
    from lora_studio.gui.frame.shell import Window


class Appearance(QObject):
    """What the user chooses in Settings, or with the keys for it."""

    def __init__(self, window: Window) -> None:
        """Keeps what is chosen in the window's preferences."""
        super().__init__(window)
        self._window, self._preferences = window, window.preferences

    def choose_theme(self, mode: str) -> None:
        """Light, dark, or as the system has it."""
        self._preferences.theme = cast(theme.Mode, mode)
        self._preferences.save()
        theme.theme().apply(self._preferences.theme)

    def choose_text_size(self, percent: int) -> None:
        """One of the sizes there are."""
        self._preferences.text_size = cast(TextSize, percent)
        self._preferences.save()
        theme.theme().set_text_size(self._preferences.text_size)

    def zoom(self, by: int) -> None:
        """Text of the next size, larger or smaller."""
        place = SIZES.index(self._preferences.text_size) + by
        if 0 <= place < len(SIZES):
            self.choose_text_size(SIZES[place])
            if self._window.furniture.is_there:
                self._window.settings.text_size.show_value(str(SIZES[place]))

    def choose_language(self, code: str) -> None:
        """Another window speaks it: this one stays as it is."""
        self._preferences.language = code
        self._preferences.save()
