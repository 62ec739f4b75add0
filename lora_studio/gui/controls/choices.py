"""Controls for choices: segments, combo box, chips and check box."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QStandardItemModel
from PySide6.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QFrame,
    QHBoxLayout,
    QPushButton,
    QWidget,
)

from lora_studio.core.messages import NO_TEXT, Text
from lora_studio.core.spec import FieldFacts
from lora_studio.gui.controls.controls import Control
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.theme import get_theme
from lora_studio.gui.widgets.basics import FlowLayout, WheelNeedsFocus
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
