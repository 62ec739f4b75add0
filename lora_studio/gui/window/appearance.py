"""Theme, text size and language of the window, applied immediately and saved in the preferences."""

from __future__ import annotations

from typing import cast

from PySide6.QtCore import QObject

from lora_studio.gui import theme
from lora_studio.gui.frame.shell import Shell
from lora_studio.gui.language import tr
from lora_studio.gui.preferences import TextSize
from lora_studio.gui.text_size import SIZES
from lora_studio.gui.widgets.work_cover import run_covered


class Appearance(QObject):
    """Applies what the user chooses in Settings or with a shortcut."""

    def __init__(self, shell: Shell) -> None:
        """Store the choices in the preferences of `shell`."""
        super().__init__(shell)
        self._shell, self._preferences = shell, shell.preferences
        self._is_pending = False

    def set_theme(self, mode: str) -> None:
        """Apply "light", "dark" or "system"."""
        self._preferences.theme = cast(theme.Mode, mode)
        self._preferences.save()
        self._apply_covered(tr("Changing the theme…"))

    def set_text_size(self, percent: int) -> None:
        """Apply one of `text_size.SIZES`, in percent."""
        self._preferences.text_size = cast(TextSize, percent)
        self._preferences.save()
        self._apply_covered(tr("Changing the text size…"))

    def _apply_covered(self, doing: str) -> None:
        """Apply theme and text size once for all changes that follow each other quickly."""
        if not self._is_pending:
            self._is_pending = True
            run_covered(self._shell, doing, self._apply)

    def _apply(self) -> None:
        """Style all widgets again, which takes some milliseconds for each, and there are thousands."""
        self._is_pending = False
        theme.get_theme().apply(self._preferences.theme)
        theme.get_theme().set_text_size(self._preferences.text_size)

    def zoom(self, by: int) -> None:
        """Apply the next larger (1) or smaller (-1) text size."""
        index = SIZES.index(self._preferences.text_size) + by
        if 0 <= index < len(SIZES):
            self.set_text_size(SIZES[index])
            if self._shell.lazy_pages.is_created:
                self._shell.settings.text_size.show_value(str(SIZES[index]))

    def set_language(self, code: str) -> None:
        """Save the language; `WindowReload` shows a window in it."""
        self._preferences.language = code
        self._preferences.save()
