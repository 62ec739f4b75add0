"""Names and values in two columns, and large figures side by side."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QFont
from PySide6.QtWidgets import QGridLayout, QLabel, QVBoxLayout, QWidget

from lora_studio.gui.language import tr
from lora_studio.gui.text_size import Size
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import label, set_visible

#: Matches where a line of a value may end.
_BREAK = re.compile(r"[\s/\\]|(?<=-)(?=\D)")
#: Maximum pixels that are reserved for a single word.
_LONGEST = 160

#: Name and value; lines with an empty value are hidden.
Fact = tuple[str, str]


def align_at_top(part: QLabel) -> None:
    """Make a label selectable and align it at the top.

    Use it for names next to values, too: Qt lays out selectable text a pixel higher.
    """
    part.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    sideways = part.alignment() & Qt.AlignmentFlag.AlignHorizontal_Mask
    part.setAlignment(sideways | Qt.AlignmentFlag.AlignTop)


class FactList(QWidget):
    """Shows names on the left and selectable values on the right."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create an empty list."""
        super().__init__(parent)
        self.labels: list[tuple[QLabel, QLabel]] = []
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(Spacing.L)
        self._grid.setVerticalSpacing(Spacing.S)
        self._grid.setColumnStretch(1, 1)

    def show_facts(self, facts: Sequence[Fact]) -> None:
        """Replace all lines."""
        filled = [fact for fact in facts if fact[1]]
        while len(self.labels) < len(filled):
            self._add()
        for index, (name, value) in enumerate(self.labels):
            is_used = index < len(filled)
            set_visible(name, is_used)
            set_visible(value, is_used)
            if is_used:
                name.setText(filled[index][0])
                value.setText(filled[index][1])
                value.setAccessibleName(": ".join(filled[index]))
        self.updateGeometry()

    def minimumSizeHint(self) -> QSize:
        """Reserve space for long words such as model names, within limits."""
        shown = [parts for parts in self.labels if not parts[0].isHidden()]
        widest = max((name.sizeHint().width() for name, _ in shown), default=0)
        longest = max(
            (
                value.fontMetrics().horizontalAdvance(word)
                for _, value in shown
                for word in _BREAK.split(value.text())
            ),
            default=0,
        )
        room = min(longest + Spacing.XS, Size.scaled(_LONGEST))
        needed = widest + self._grid.horizontalSpacing() + room
        least = super().minimumSizeHint()
        return QSize(max(least.width(), needed), least.height())

    def get_facts(self) -> dict[str, str]:
        """Return the shown names and values."""
        return {name.text(): value.text() for name, value in self.labels if not name.isHidden()}

    def _add(self) -> None:
        name, value = label(role="muted"), label(wrap=True)
        for part in (name, value):
            align_at_top(part)
        row = len(self.labels)
        self._grid.addWidget(name, row, 0, Qt.AlignmentFlag.AlignTop)
        self._grid.addWidget(value, row, 1)
        self.labels.append((name, value))


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
