"""Numbers of a job, each with a caption."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtGui import QFont
from PySide6.QtWidgets import QGridLayout, QVBoxLayout, QWidget

from lora_studio.gui.language import tr
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import label

_NOTHING = "–"


class StatTile(QWidget):
    """One number with its caption."""

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        """Show a dash until there is a value."""
        super().__init__(parent)
        self._name = name
        self.value = label(_NOTHING, "section")
        font = self.value.font()
        font.setFeature(QFont.Tag("tnum"), 1)
        self.value.setFont(font)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        self._caption = label(name, "caption")
        layout.addWidget(self._caption)
        layout.addWidget(self.value)
        self.setAccessibleName(f"{name}: {_NOTHING}")

    def set_name(self, name: str) -> None:
        """Replace the caption."""
        if name != self._name:
            self._name = name
            self._caption.setText(name)
            self.setAccessibleName(f"{name}: {self.value.text()}")

    def set_value(self, text: str) -> None:
        """Set the value as text with its unit."""
        if text != self.value.text():
            self.value.setText(text or _NOTHING)
            self.setAccessibleName(f"{self._name}: {self.value.text()}")


class StatTiles(QWidget):
    """Tiles in rows of equal columns."""

    def __init__(
        self, names: Mapping[str, str], columns: int, parent: QWidget | None = None
    ) -> None:
        """Create the tiles; `names` maps keys to captions."""
        super().__init__(parent)
        self.tiles = {key: StatTile(tr(name)) for key, name in names.items()}
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(Spacing.L)
        grid.setVerticalSpacing(Spacing.M)
        for index, tile in enumerate(self.tiles.values()):
            grid.addWidget(tile, *divmod(index, columns))
        for column in range(columns):
            grid.setColumnStretch(column, 1)

    def show_values(self, values: Mapping[str, str]) -> None:
        """Set the values of some tiles."""
        for key, text in values.items():
            self.tiles[key].set_value(text)

    def clear(self) -> None:
        """Show a dash in all tiles."""
        for tile in self.tiles.values():
            tile.set_value("")

    def text(self, key: str) -> str:
        """Return the text of a tile."""
        return self.tiles[key].value.text()
