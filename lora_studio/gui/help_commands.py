"""What the Help menu does: find anything, every shortcut, about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QDialog

from lora_studio.core import paths
from lora_studio.gui import palette_entries, shortcut_sheet
from lora_studio.gui.about import AboutDialog
from lora_studio.gui.widgets.palette import Palette

if TYPE_CHECKING:
    from lora_studio.gui.window import Window


class HelpCommands(QObject):
    """Opens its dialogs over the window, one at a time."""

    def __init__(self, window: Window) -> None:
        """`window` is what is searched and told about."""
        super().__init__(window)
        self._window = window

    def find(self) -> None:
        """Ctrl+K: anything by its name."""
        if self._is_free(Palette):
            self._window.commit()
            dialog = Palette(palette_entries.entries(self._window), self._window)
            dialog.open()
            dialog.line.setFocus()

    def shortcuts(self) -> None:
        """Every shortcut there is."""
        if self._is_free(shortcut_sheet.ShortcutSheet):
            found = shortcut_sheet.shortcuts(self._window)
            shortcut_sheet.ShortcutSheet(found, self._window).open()

    def about(self) -> None:
        """Versions and licences; the engine is asked for its own where it has not told yet."""
        if self._is_free(AboutDialog):
            self._window.ask_for_devices()
            AboutDialog(self._window.state, self._window).open()

    def logs(self) -> None:
        """The folder of the window's log."""
        folder = paths.log_folder()
        folder.mkdir(parents=True, exist_ok=True)
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))

    def _is_free(self, kind: type[QDialog]) -> bool:
        return not any(dialog.isVisible() for dialog in self._window.findChildren(kind))
