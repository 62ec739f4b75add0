"""What a person changes a value with. A control knows one value and nothing of projects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QKeyEvent, QKeySequence, QStandardItemModel, QWheelEvent
from PySide6.QtWidgets import (
    QAbstractButton,
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from lora_studio.core.spec import FieldFacts
from lora_studio.gui.language import tr
from lora_studio.gui.text_size import sized
from lora_studio.gui.told import tell
from lora_studio.gui.widgets.basics import FlowLayout, restyle
from lora_studio.gui.widgets.quantities import parse, shown, stepped


class Control(QWidget):
    """Base of all controls, of those with cards and drawings too.

    Signals:
        edited(value): the user chose a value, valid or not. Never while `show_value` is at work.
        left: the user is done here for now; errors may be shown.
    """

    edited = Signal(object)
    left = Signal()

    #: The control shows the field's title itself.
    has_title = False

    def __init__(self, parent: QWidget | None = None) -> None:
        """Subclasses build their parts and name the one that takes the focus as focus proxy."""
        super().__init__(parent)

    def show_value(self, value: Any) -> None:
        """Shows a value that came from elsewhere, without `edited`; any value can come."""
        raise NotImplementedError

    def commit(self) -> None:
        """Takes over what was typed and not yet entered."""

    def set_blocked(self, reasons: dict[str, str]) -> None:
        """Choices that cannot be taken now, each with the reason; all others can."""

    def set_invalid(self, invalid: bool) -> None:
        """Marks the control; the words stand below it."""
        target = self.focusProxy() or self
        if bool(target.property("invalid")) != invalid:  # to restyle costs as much as all checks
            target.setProperty("invalid", invalid)
            restyle(target)


def name_control(control: Control, name: str, description: str = "") -> None:
    """Names a control, and the part of it that takes the focus, for screen readers.

    A button among choices keeps its own words, and says what they are a choice of.
    """
    targets: list[QWidget] = [control]
    proxy = control.focusProxy()
    if proxy is not None and not isinstance(proxy, QAbstractButton):
        targets.append(proxy)
    for target in targets:
        target.setAccessibleName(name)
        target.setAccessibleDescription(description)
    if isinstance(proxy, QAbstractButton):
        for choice in control.findChildren(QAbstractButton):
            choice.setAccessibleDescription(f"{name}. {description}" if description else name)


class Line(QLineEdit):
    """A line that enters on Enter and on leaving, reverts on Esc, steps with the wheel in focus."""

    entered = Signal()
    reverted = Signal()
    stepped = Signal(int)

    def enters(self, commit: Callable[[], object], revert: Callable[[], object]) -> None:
        """What Enter and leaving do, and what Esc does."""
        self.entered.connect(commit)
        self.editingFinished.connect(commit)
        self.reverted.connect(revert)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter, Esc and the up and down keys."""
        match event.key():
            case Qt.Key.Key_Return | Qt.Key.Key_Enter if not event.modifiers():
                self.entered.emit()
            case Qt.Key.Key_Escape:
                self.reverted.emit()
            case Qt.Key.Key_Up:
                self.stepped.emit(1)
            case Qt.Key.Key_Down:
                self.stepped.emit(-1)
            case _:
                super().keyPressEvent(event)

    def event(self, event: QEvent) -> bool:
        """Leaves Ctrl+Z to the project where there is no typing to take back."""
        if event.type() == QEvent.Type.ShortcutOverride and isinstance(event, QKeyEvent):
            undo = event.matches(QKeySequence.StandardKey.Undo) and not self.isUndoAvailable()
            redo = event.matches(QKeySequence.StandardKey.Redo) and not self.isRedoAvailable()
            if undo or redo:
                event.ignore()
                return False
        return super().event(event)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Only in focus, so that scrolling a page changes no value."""
        if not self.hasFocus():
            event.ignore()
            return
        if steps := event.angleDelta().y():
            self.stepped.emit(1 if steps > 0 else -1)
        event.accept()


class LineControl(Control):
    """Text and numbers: one line, with the unit behind it."""

    def __init__(self, about: FieldFacts, parent: QWidget | None = None) -> None:
        """Numbers take little room, text takes what there is."""
        super().__init__(parent)
        self._about = about
        self._value: Any = None
        self.line = Line()
        self.setFocusProxy(self.line)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.line)
        if self._is_number:
            sized(self.line, width=112)
            layout.addStretch(1)
        self.line.entered.connect(self._enter)
        self.line.reverted.connect(self._revert)
        self.line.stepped.connect(self._step)
        self.line.editingFinished.connect(self._leave)

    @property
    def _is_number(self) -> bool:
        return self._about.kind in ("integer", "number")

    def show_value(self, value: Any) -> None:
        """Shows a value; setting the text forgets the typing before it."""
        self._value = value
        self.line.setText(shown(value, self._about))
        self.line.setCursorPosition(0 if not self.line.hasFocus() else len(self.line.text()))

    def commit(self) -> None:
        """Takes over what was typed."""
        text = self.line.text()
        if text == shown(self._value, self._about):
            return
        value = self._value_of(text)
        self.show_value(value)
        self.edited.emit(value)

    def _value_of(self, text: str) -> Any:
        if not self._is_number:
            return text.strip()
        return self._about.default if not text.strip() else parse(text, self._about)

    def _enter(self) -> None:
        self.commit()
        self.line.selectAll()
        self.left.emit()

    def _leave(self) -> None:
        self.commit()
        self.left.emit()

    def _revert(self) -> None:
        self.show_value(self._value)
        self.line.selectAll()

    def _step(self, direction: int) -> None:
        value = self._value_of(self.line.text()) if self._is_number else None
        if isinstance(value, int | float):
            self.line.setText(shown(stepped(value, direction, self._about), self._about))
            self.commit()


class TextControl(Control):
    """Several lines of text."""

    def __init__(self, rows: int = 3, parent: QWidget | None = None) -> None:
        """`rows` lines are seen at once."""
        super().__init__(parent)
        self._value = ""
        self.box = QPlainTextEdit(tabChangesFocus=True)
        self.box.setFixedHeight(self.box.fontMetrics().lineSpacing() * rows + 22)
        self.box.installEventFilter(self)
        self.setFocusProxy(self.box)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.box)

    def show_value(self, value: Any) -> None:
        """Shows a text."""
        self._value = str(value)
        if self.box.toPlainText() != self._value:
            self.box.setPlainText(self._value)

    def commit(self) -> None:
        """Takes over what was typed."""
        text = self.box.toPlainText()
        if text != self._value:
            self._value = text
            self.edited.emit(text)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Enters on leaving and on Ctrl+Enter, reverts on Esc; passes an idle Ctrl+Z on."""
        if event.type() == QEvent.Type.FocusOut:
            self.commit()
            self.left.emit()
        elif event.type() == QEvent.Type.ShortcutOverride and isinstance(event, QKeyEvent):
            document = self.box.document()
            undo = event.matches(QKeySequence.StandardKey.Undo) and not document.isUndoAvailable()
            redo = event.matches(QKeySequence.StandardKey.Redo) and not document.isRedoAvailable()
            return undo or redo
        elif (
            event.type() == QEvent.Type.KeyPress
            and isinstance(event, QKeyEvent)
            and event.key() == Qt.Key.Key_Escape
        ):
            self.box.setPlainText(self._value)
            return True
        return super().eventFilter(watched, event)


class LinesControl(TextControl):
    """Several texts, one a line."""

    def show_value(self, value: Any) -> None:
        """Shows a list, or whatever else stands in its place."""
        is_list = isinstance(value, list | tuple)
        super().show_value("\n".join(map(str, value)) if is_list else value)

    def commit(self) -> None:
        """Takes over what was typed."""
        text = self.box.toPlainText()
        if text != self._value:
            self._value = text
            self.edited.emit([line.strip() for line in text.split("\n") if line.strip()])


class SegmentsControl(Control):
    """A few short choices side by side."""

    def __init__(self, choices: dict[str, str], parent: QWidget | None = None) -> None:
        """`choices` maps values to words."""
        super().__init__(parent)
        frame = QFrame()
        frame.setProperty("surface", "segments")
        inner = QHBoxLayout(frame)
        inner.setContentsMargins(2, 2, 2, 2)
        inner.setSpacing(2)
        self._group = QButtonGroup(self)
        self._buttons: dict[str, QPushButton] = {}
        for value, words in choices.items():
            button = _checkable(tr(words))
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
        """Checks the choice, or none for a value that is no choice."""
        button = self._buttons.get(str(value))
        if button is None:
            self._group.setExclusive(False)
            for other in self._buttons.values():
                other.setChecked(False)
            self._group.setExclusive(True)
            return
        button.setChecked(True)
        self.setFocusProxy(button)

    def set_blocked(self, reasons: dict[str, str]) -> None:
        """Greys them; the reason is their tooltip."""
        for value, button in self._buttons.items():
            button.setEnabled(value not in reasons)
            button.setToolTip(tell(reasons.get(value, "")))

    def button(self, value: str) -> QPushButton:
        """The button of one choice."""
        return self._buttons[value]

    def _choose(self, value: str) -> Callable[[], None]:
        def chosen() -> None:
            self.setFocusProxy(self._buttons[value])
            self.edited.emit(value)
            self.left.emit()

        return chosen


class ComboControl(Control):
    """One of many choices. `editable` also takes words of one's own."""

    def __init__(
        self, choices: dict[str, str], *, editable: bool = False, parent: QWidget | None = None
    ) -> None:
        """`choices` maps values to words."""
        super().__init__(parent)
        self.box = _Combo(editable=editable)
        self.setFocusProxy(self.box)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.box)
        layout.addStretch(1)
        self.set_choices(choices)
        self.box.activated.connect(self._choose)
        line = self.box.lineEdit()
        if line is not None:
            line.editingFinished.connect(self._typed)

    def set_choices(self, choices: dict[str, str]) -> None:
        """Other choices; the value shown stays."""
        value = self.box.currentData()
        self.box.clear()
        for key, words in choices.items():
            self.box.addItem(tr(words), key)
        widest = max(
            (self.box.fontMetrics().horizontalAdvance(tr(word)) for word in choices.values()),
            default=0,
        )
        self.box.setMinimumWidth(min(max(widest + 52, 140), 420))
        if value is not None:
            self.show_value(value)

    def show_value(self, value: Any) -> None:
        """Shows the choice; a value that is no choice is shown as it is."""
        index = self.box.findData(str(value))
        self.box.setCurrentIndex(index)
        if index < 0:
            if self.box.isEditable():
                self.box.setEditText(str(value))
            else:
                self.box.setPlaceholderText(str(value))

    def set_blocked(self, reasons: dict[str, str]) -> None:
        """Greys them; the reason is their tooltip."""
        model = self.box.model()
        assert isinstance(model, QStandardItemModel)
        for index in range(self.box.count()):
            reason = reasons.get(str(self.box.itemData(index)), "")
            model.item(index).setEnabled(not reason)
            model.item(index).setToolTip(tell(reason))

    def _choose(self, index: int) -> None:
        self.edited.emit(self.box.itemData(index))
        self.left.emit()

    def _typed(self) -> None:
        text = self.box.currentText().strip()
        index = self.box.findText(text)
        self.edited.emit(self.box.itemData(index) if index >= 0 else text)
        self.left.emit()


class FlagControl(Control):
    """Yes or no, with the field's title as its words."""

    has_title = True

    def __init__(self, about: FieldFacts, parent: QWidget | None = None) -> None:
        """The title is the label of the box."""
        super().__init__(parent)
        self.box = QCheckBox(about.title)
        self.setFocusProxy(self.box)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.box)
        layout.addStretch(1)
        self.box.clicked.connect(self._clicked)

    def show_value(self, value: Any) -> None:
        """Shows yes only for a real yes."""
        self.box.setChecked(value is True)

    def _clicked(self, checked: bool) -> None:
        self.edited.emit(checked)
        self.left.emit()


class ListControl(Control):
    """Several words of one's own, separated by commas or spaces."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """One line; shown with commas."""
        super().__init__(parent)
        self._value: Any = ()
        self.line = Line()
        self.setFocusProxy(self.line)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.line)
        self.line.enters(self._leave, lambda: self.show_value(self._value))

    def show_value(self, value: Any) -> None:
        """Shows a list, or whatever else stands in its place."""
        self._value = value
        self.line.setText(_joined(value))

    def commit(self) -> None:
        """Takes over what was typed."""
        text = self.line.text()
        if text == _joined(self._value):
            return
        words = [word for word in text.replace(",", " ").split() if word]
        self.show_value(words)
        self.edited.emit(words)

    def _leave(self) -> None:
        self.commit()
        self.left.emit()


class ChipsControl(Control):
    """Several of many choices."""

    def __init__(self, choices: dict[str, str], parent: QWidget | None = None) -> None:
        """`choices` maps values to words."""
        super().__init__(parent)
        layout = FlowLayout(self)
        self._chips: dict[str, QPushButton] = {}
        for value, words in choices.items():
            chip = _checkable(words)
            chip.setProperty("kind", "chip")
            chip.clicked.connect(self._clicked)
            self._chips[value] = chip
            layout.addWidget(chip)
        self.setFocusProxy(next(iter(self._chips.values())))

    def show_value(self, value: Any) -> None:
        """Checks what is in the list."""
        chosen = list(value) if isinstance(value, list | tuple) else []
        for name, chip in self._chips.items():
            chip.setChecked(name in chosen)

    def _clicked(self) -> None:
        self.edited.emit([name for name, chip in self._chips.items() if chip.isChecked()])
        self.left.emit()


def _checkable(words: str) -> QPushButton:
    made = QPushButton(words.replace("&", "&&"), autoDefault=False)  # one alone marks a shortcut
    made.setCheckable(True)
    return made


class _Combo(QComboBox):
    """A combo box that the wheel changes only in focus."""

    def __init__(self, *, editable: bool) -> None:
        super().__init__(editable=editable)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        if editable:
            self.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


def _joined(value: Any) -> str:
    return ", ".join(str(item) for item in value) if isinstance(value, list | tuple) else str(value)
