"""Controls for choices: segments, combo box, check box, chips, cards, and a number with presets."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QMouseEvent, QResizeEvent, QStandardItemModel
from PySide6.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QPushButton,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)

from lora_studio.core.messages import NO_TEXT, Text
from lora_studio.core.spec import FieldFacts
from lora_studio.gui.controls.controls import Control, LineControl
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.theme import Spacing, get_theme
from lora_studio.gui.widgets.basics import FlowLayout, WheelNeedsFocus, label, restyle
from lora_studio.gui.widgets.tooltips import plain_tip


class SegmentsControl(Control):
    """A few short choices as buttons side by side."""

    def __init__(self, choices: dict[str, str], parent: QWidget | None = None) -> None:
        """Create the choices; `choices` maps values to labels."""
        super().__init__(parent)
        frame = QFrame()
        frame.setProperty("surface", "segments")
        inner = QHBoxLayout(frame)
        inner.setContentsMargins(2, 2, 2, 2)
        inner.setSpacing(2)
        self._group = QButtonGroup(self)
        self._buttons: dict[str, QPushButton] = {}
        for value, words in choices.items():
            button = _make_chip(tr(words))
            button.setProperty("kind", "segment")
            button.clicked.connect(self._choose(value))
            self._group.addButton(button)
            self._buttons[value] = button
            inner.addWidget(button)
        self.setFocusProxy(next(iter(self._buttons.values())))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(frame)
        layout.addStretch(1)

    def show_value(self, value: Any) -> None:
        """Check the choice, or none for an unknown value."""
        button = self._buttons.get(str(value))
        if button is None:
            self._group.setExclusive(False)
            for other in self._buttons.values():
                other.setChecked(False)
            self._group.setExclusive(True)
            return
        button.setChecked(True)
        self.setFocusProxy(button)

    def set_blocked(self, reasons: Mapping[str, Text]) -> None:
        """Disable these choices; the reason becomes the tooltip."""
        for value, button in self._buttons.items():
            button.setEnabled(value not in reasons)
            button.setToolTip(plain_tip(localize(reasons.get(value, NO_TEXT))))

    def button(self, value: str) -> QPushButton:
        """Return the button of one choice."""
        return self._buttons[value]

    def _choose(self, value: str) -> Callable[[], None]:
        def chosen() -> None:
            self.setFocusProxy(self._buttons[value])
            self.edited.emit(value)
            self.left.emit()

        return chosen


class ComboControl(Control):
    """A combo box; if `editable`, it also accepts other text."""

    def __init__(
        self, choices: dict[str, str], *, editable: bool = False, parent: QWidget | None = None
    ) -> None:
        """Create the choices; `choices` maps values to labels."""
        super().__init__(parent)
        self.box = _Combo(editable=editable)
        self.setFocusProxy(self.box)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.box)
        layout.addStretch(1)
        self._titles: list[str] = []
        self.set_choices(choices)
        get_theme().changed.connect(self._fit)
        self.box.activated.connect(self._choose)
        line = self.box.lineEdit()
        if line is not None:
            line.editingFinished.connect(self._on_typed)

    def set_choices(self, choices: dict[str, str]) -> None:
        """Replace the choices and keep the shown value."""
        value = self.box.currentData()
        self.box.clear()
        self._titles = [tr(title) for title in choices.values()]
        for key, title in zip(choices, self._titles, strict=True):
            self.box.addItem(title, key)
        self._fit()
        if value is not None:
            self.show_value(value)

    def _fit(self) -> None:
        """Give the box the width of its longest choice, within limits."""
        metrics = self.box.fontMetrics()
        widest = max(map(metrics.horizontalAdvance, self._titles), default=0)
        self.box.setMinimumWidth(min(max(widest + 52, 140), 420))

    def show_value(self, value: Any) -> None:
        """Show the choice, or an unknown value as it is."""
        index = self.box.findData(str(value))
        self.box.setCurrentIndex(index)
        if index < 0:
            if self.box.isEditable():
                self.box.setEditText(str(value))
            else:
                self.box.setPlaceholderText(str(value))

    def set_blocked(self, reasons: Mapping[str, Text]) -> None:
        """Disable these choices; the reason becomes the tooltip."""
        model = self.box.model()
        assert isinstance(model, QStandardItemModel)
        for index in range(self.box.count()):
            reason = reasons.get(str(self.box.itemData(index)), NO_TEXT)
            model.item(index).setEnabled(not reason)
            model.item(index).setToolTip(plain_tip(localize(reason)))

    def _choose(self, index: int) -> None:
        self.edited.emit(self.box.itemData(index))
        self.left.emit()

    def _on_typed(self) -> None:
        text = self.box.currentText().strip()
        index = self.box.findText(text)
        self.edited.emit(self.box.itemData(index) if index >= 0 else text)
        self.left.emit()


class FlagControl(Control):
    """A check box labeled with the title of the field."""

    has_title = True

    def __init__(self, about: FieldFacts, parent: QWidget | None = None) -> None:
        """Label the check box with the title of the field."""
        super().__init__(parent)
        self.box = QCheckBox(about.title)
        self.setFocusProxy(self.box)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.box)
        layout.addStretch(1)
        self.box.clicked.connect(self._clicked)

    def show_value(self, value: Any) -> None:
        """Check the box only for `True`."""
        self.box.setChecked(value is True)

    def _clicked(self, checked: bool) -> None:
        self.edited.emit(checked)
        self.left.emit()


class ChipsControl(Control):
    """Buttons of which any number can be checked."""

    def __init__(self, choices: dict[str, str], parent: QWidget | None = None) -> None:
        """Create the choices; `choices` maps values to labels."""
        super().__init__(parent)
        layout = FlowLayout(self)
        self.chips: dict[str, QPushButton] = {}
        for value, words in choices.items():
            chip = _make_chip(words)
            chip.setProperty("kind", "chip")
            chip.clicked.connect(self._clicked)
            self.chips[value] = chip
            layout.addWidget(chip)
        self.setFocusProxy(next(iter(self.chips.values())))

    def show_value(self, value: Any) -> None:
        """Check the values in the list."""
        chosen = list(value) if isinstance(value, list | tuple) else []
        for name, chip in self.chips.items():
            chip.setChecked(name in chosen)

    def _clicked(self) -> None:
        self.edited.emit([name for name, chip in self.chips.items() if chip.isChecked()])
        self.left.emit()


def _make_chip(words: str) -> QPushButton:
    # Double &, because a single one marks a shortcut.
    choice_button = QPushButton(words.replace("&", "&&"), autoDefault=False)
    choice_button.setCheckable(True)
    return choice_button


class _Combo(WheelNeedsFocus, QComboBox):
    """A combo box that reacts to the mouse wheel only while it has the focus."""

    def __init__(self, *, editable: bool) -> None:
        super().__init__(editable=editable)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        if editable:
            self.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)


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


class PresetNumberControl(Control):
    """A line edit with a button for each preset; both always show the same value."""

    def __init__(
        self, about: FieldFacts, presets: Mapping[str, float], parent: QWidget | None = None
    ) -> None:
        """Create the buttons; `presets` maps their labels to values."""
        super().__init__(parent)
        self._presets = dict(presets)
        self._value: Any = None
        self.buttons = SegmentsControl({words: words for words in presets})
        self.line = LineControl(about)
        self.setFocusProxy(self.line.line)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.M)
        layout.addWidget(self.buttons)
        layout.addWidget(self.line, 1)
        self.buttons.edited.connect(lambda words: self.apply_choice(self._presets[words]))
        self.line.edited.connect(self.apply_choice)
        self.line.left.connect(self.left)

    def set_presets(self, values: Mapping[str, float]) -> None:
        """Change the values of the buttons, such as multiples of another field."""
        self._presets.update(values)
        self.show_value(self._value)

    def show_value(self, value: Any) -> None:
        """Show a value on the line, and check its button if there is one."""
        self._value = value
        self.line.show_value(value)
        match = next((title for title, preset in self._presets.items() if preset == value), "")
        self.buttons.show_value(match)

    def commit(self) -> None:
        """Apply what was typed."""
        self.line.commit()
