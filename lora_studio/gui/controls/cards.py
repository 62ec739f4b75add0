"""A control that offers a few choices as cards, each with a description."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QMouseEvent, QResizeEvent
from PySide6.QtWidgets import (
    QButtonGroup,
    QFrame,
    QGridLayout,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)

from lora_studio.gui.controls.controls import Control
from lora_studio.gui.language import tr
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import label, restyle
from lora_studio.gui.widgets.tooltips import plain_tip


@dataclass(frozen=True)
class CardOption:
    """A card: its value, a short title, and a phrase on what the choice is for."""

    value: Hashable
    title: str
    text: str


class CardsControl(Control):
    """Cards in as few rows as fit; one is selected by click, arrow keys or Space.

    If no card has the value, none is selected.
    """

    def __init__(self, choices: Sequence[CardOption], parent: QWidget | None = None) -> None:
        """Give all cards the same width."""
        super().__init__(parent)
        self._group = QButtonGroup(self)
        self.cards = {choice.value: _Card(choice) for choice in choices}
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(Spacing.M)
        self._columns = 0
        for value, card in self.cards.items():
            self._group.addButton(card.radio)
            card.radio.clicked.connect(lambda _=False, value=value: self.apply_choice(value))
        self._arrange(len(self.cards))
        self.setFocusProxy(next(iter(self.cards.values())).radio)

    def minimumSizeHint(self) -> QSize:
        """Return the width of two cards next to each other."""
        columns = min(2, len(self.cards))
        return QSize(self._measure_width(columns), super().minimumSizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Use as few rows as fit, with a like number of cards in each."""
        super().resizeEvent(event)
        count, width = len(self.cards), event.size().width()
        by_rows = [-(-count // rows) for rows in range(1, count + 1)]
        fitting = (columns for columns in by_rows if self._measure_width(columns) <= width)
        self._arrange(next(fitting, min(2, count)))

    def _measure_width(self, columns: int) -> int:
        widest = max(card.minimumSizeHint().width() for card in self.cards.values())
        return columns * (widest + Spacing.M) - Spacing.M

    def _arrange(self, columns: int) -> None:
        if columns == self._columns:
            return
        for column in range(max(columns, self._columns)):
            self._grid.setColumnStretch(column, 1 if column < columns else 0)
        self._columns = columns
        for index, card in enumerate(self.cards.values()):
            self._grid.addWidget(card, *divmod(index, columns))
        self.updateGeometry()

    def show_value(self, value: Any) -> None:
        """Select the card of a value."""
        card = self.cards.get(value) if isinstance(value, Hashable) else None
        self._group.setExclusive(False)
        for other in self.cards.values():
            other.choose(other is card)
        self._group.setExclusive(True)
        if card is not None:
            self.setFocusProxy(card.radio)

    def set_note(self, value: Hashable, note: str) -> None:
        """Show a note on a card, such as the memory that the choice uses."""
        self.cards[value].set_note(note)

    def set_available(self, value: Hashable, available: bool, why_not: str = "") -> None:
        """Enable or disable a card; `why_not` becomes its tooltip."""
        self.cards[value].setEnabled(available)
        self.cards[value].setToolTip(plain_tip("" if available else why_not))


class _Card(QFrame):
    """A radio button with a description; the whole card can be clicked."""

    def __init__(self, choice: CardOption) -> None:
        super().__init__()
        self.setProperty("surface", "choice")
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.radio = QRadioButton(tr(choice.title))
        self.radio.setProperty("role", "section")
        self._text = label(tr(choice.text), "caption", wrap=True)
        self._note = label("", "label", wrap=True)
        self._note.hide()
        self._title = tr(choice.title)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(Spacing.M, Spacing.M, Spacing.M, Spacing.M)
        layout.setSpacing(Spacing.XS)
        layout.addWidget(self.radio)
        layout.addWidget(self._text)
        layout.addStretch(1)
        layout.addWidget(self._note)
        self._name()

    def choose(self, chosen: bool) -> None:
        self.radio.setChecked(chosen)
        if self.property("selected") != chosen:
            self.setProperty("selected", chosen)
            restyle(self)

    def set_note(self, note: str) -> None:
        self._note.setText(note)
        self._note.setVisible(bool(note))
        self._name()

    def note(self) -> str:
        return self._note.text()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        inside = self.rect().contains(event.position().toPoint())
        if event.button() == Qt.MouseButton.LeftButton and inside:
            self.radio.setFocus(Qt.FocusReason.MouseFocusReason)
            self.radio.click()

    def _name(self) -> None:
        parts = (self._title, self._text.text(), self._note.text())
        self.radio.setAccessibleName(", ".join(part for part in parts if part))
