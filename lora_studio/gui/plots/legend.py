"""The legend of a chart: marks in the colors of the curves, with names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QWidget

from lora_studio.gui import theme
from lora_studio.gui.theme import ColorPalette, Spacing
from lora_studio.gui.widgets.basics import FlowLayout

#: The name of a curve, its mark, and its color in a palette.
Entry = tuple[str, str, Callable[[ColorPalette], str]]


class Legend(QWidget):
    """Legend entries side by side, wrapped into rows."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create an empty legend."""
        super().__init__(parent)
        self._flow = FlowLayout(self, Spacing.L)
        self._keys: list[_Key] = []

    def set_entries(self, entries: Sequence[Entry]) -> None:
        """Replace all entries; does nothing if they are equal."""
        if [key.entry[:2] for key in self._keys] == [entry[:2] for entry in entries]:
            return
        for key in self._keys:
            self._flow.removeWidget(key)
            key.hide()
            key.deleteLater()
        self._keys = [_Key(entry, self) for entry in entries]
        for key in self._keys:
            self._flow.addWidget(key)
            key.show()

    def list_names(self) -> list[str]:
        """Return the shown names."""
        return [key.entry[0] for key in self._keys]


class _Key(QLabel):
    def __init__(self, entry: Entry, parent: QWidget) -> None:
        super().__init__(parent, textFormat=Qt.TextFormat.RichText)
        self.setProperty("role", "caption")
        self.setContentsMargins(2, 0, 0, 0)
        self.entry = entry
        self._refresh_color()
        theme.get_theme().changed.connect(self._refresh_color)

    def _refresh_color(self) -> None:
        name, mark, color = self.entry
        tint = color(theme.get_palette())
        self.setText(f'<span style="color:{tint}">{mark}</span>&nbsp; {escape(name)}')
