"""Controls for text, numbers and lists. A control edits one value and doesn't know the project."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QKeyEvent, QKeySequence, QWheelEvent
from PySide6.QtWidgets import (
    QAbstractButton,
    QHBoxLayout,
    QLineEdit,
    QPlainTextEdit,
    QVBoxLayout,
    QWidget,
)

from lora_studio.core.messages import Text
from lora_studio.core.problems import Problem
from lora_studio.core.spec import FieldFacts
from lora_studio.gui.controls.quantities import format_value, parse, step_value
from lora_studio.gui.text_size import set_scaled_sizes
from lora_studio.gui.theme import get_theme
from lora_studio.gui.widgets.basics import restyle


class Control(QWidget):
    """Base class of all controls.

    Signals:
        edited(value): the user set a value, valid or not. Not emitted by `show_value`.
        left: the user has left the control, so errors can be shown.
    """

    edited = Signal(object)
    left = Signal()

    #: Whether the control shows the field's title itself.
    has_title = False

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create the control; subclasses set a focus proxy."""
        super().__init__(parent)

    def show_value(self, value: Any) -> None:
        """Show a value without emitting `edited`; it may be of any type."""
        raise NotImplementedError

    def apply_choice(self, value: Any) -> None:
        """Show a value that the user has chosen, and report it."""
        self.show_value(value)
        self.edited.emit(value)
        self.left.emit()

    def commit(self) -> None:
        """Apply what was typed but not entered."""

    def set_blocked(self, reasons: Mapping[str, Text]) -> None:
        """Disable choices, each with a reason, and enable all others."""

    def shows_problem(self, problem: Problem) -> bool:
        """Return whether the control itself shows a problem of its field."""
        return False

    def set_invalid(self, invalid: bool) -> None:
        """Mark the control as invalid; the message is shown below it."""
        target = self.focusProxy() or self
        if bool(target.property("invalid")) != invalid:  # restyling costs as much as all checks
            target.setProperty("invalid", invalid)
            restyle(target)


def name_control(control: Control, name: str, description: str = "") -> None:
    """Set the accessible name of a control and of its focus proxy.

    A button of a group keeps its own name and gets the title of the group as its description.
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


class LineEdit(QLineEdit):
    """A line edit: Enter or leaving applies, Esc reverts, arrow keys and wheel step."""

    entered = Signal()
    reverted = Signal()
    step_value = Signal(int)

    def connect_keys(self, commit: Callable[[], object], revert: Callable[[], object]) -> None:
        """Call `commit` on Enter and on leaving, `revert` on Esc."""
        self.entered.connect(commit)
        self.editingFinished.connect(commit)
        self.reverted.connect(revert)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Handle Enter, Esc, Up and Down."""
        match event.key():
            case Qt.Key.Key_Return | Qt.Key.Key_Enter if not event.modifiers():
                self.entered.emit()
            case Qt.Key.Key_Escape:
                self.reverted.emit()
            case Qt.Key.Key_Up:
                self.step_value.emit(1)
            case Qt.Key.Key_Down:
                self.step_value.emit(-1)
            case _:
                super().keyPressEvent(event)

    def event(self, event: QEvent) -> bool:
        """Pass Ctrl+Z on to the project if there is no typing to undo."""
        if event.type() == QEvent.Type.ShortcutOverride and isinstance(event, QKeyEvent):
            undo = event.matches(QKeySequence.StandardKey.Undo) and not self.isUndoAvailable()
            redo = event.matches(QKeySequence.StandardKey.Redo) and not self.isRedoAvailable()
            if undo or redo:
                event.ignore()
                return False
        return super().event(event)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Step only while focused, so that scrolling a page changes no value."""
        if not self.hasFocus():
            event.ignore()
            return
        if steps := event.angleDelta().y():
            self.step_value.emit(1 if steps > 0 else -1)
        event.accept()


class LineControl(Control):
    """A line for text or a number."""

    def __init__(self, about: FieldFacts, parent: QWidget | None = None) -> None:
        """Create a narrow line for a number, a wide one for text."""
        super().__init__(parent)
        self._about = about
        self._value: Any = None
        self.line = LineEdit()
        self.setFocusProxy(self.line)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.line)
        if self._is_number:
            set_scaled_sizes(self.line, width=112)
            layout.addStretch(1)
        self.line.entered.connect(self._on_enter)
        self.line.reverted.connect(self._on_revert)
        self.line.step_value.connect(self._step)
        self.line.editingFinished.connect(self._on_leave)

    @property
    def _is_number(self) -> bool:
        return self._about.kind in ("integer", "number")

    def show_value(self, value: Any) -> None:
        """Show a value; this clears the undo history of the line."""
        self._value = value
        self.line.setText(format_value(value, self._about))
        self.line.setCursorPosition(0 if not self.line.hasFocus() else len(self.line.text()))

    def commit(self) -> None:
        """Apply what was typed."""
        text = self.line.text()
        if text == format_value(self._value, self._about):
            return
        value = self._parse_value(text)
        self.show_value(value)
        self.edited.emit(value)

    def _parse_value(self, text: str) -> Any:
        if not self._is_number:
            return text.strip()
        return self._about.default if not text.strip() else parse(text, self._about)

    def _on_enter(self) -> None:
        self.commit()
        self.line.selectAll()
        self.left.emit()

    def _on_leave(self) -> None:
        self.commit()
        self.left.emit()

    def _on_revert(self) -> None:
        self.show_value(self._value)
        self.line.selectAll()

    def _step(self, direction: int) -> None:
        value = self._parse_value(self.line.text()) if self._is_number else None
        if isinstance(value, int | float):
            self.line.setText(format_value(step_value(value, direction, self._about), self._about))
            self.commit()


class TextControl(Control):
    """A text box of several lines."""

    def __init__(self, rows: int = 3, parent: QWidget | None = None) -> None:
        """Create a box that is `rows` lines high."""
        super().__init__(parent)
        self._value = ""
        self.box = QPlainTextEdit(tabChangesFocus=True)
        self._rows = rows
        self._fit()
        get_theme().changed.connect(self._fit)
        self.box.installEventFilter(self)
        self.setFocusProxy(self.box)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.box)

    def _fit(self) -> None:
        self.box.setFixedHeight(self.box.fontMetrics().lineSpacing() * self._rows + 22)

    def show_value(self, value: Any) -> None:
        """Show a text."""
        self._value = str(value)
        if self.box.toPlainText() != self._value:
            self.box.setPlainText(self._value)

    def commit(self) -> None:
        """Apply what was typed."""
        text = self.box.toPlainText()
        if text != self._value:
            self._value = text
            self.edited.emit(text)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Apply on leaving, revert on Esc, and pass on Ctrl+Z if there is nothing to undo."""
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
    """A list of texts, one per line."""

    def show_value(self, value: Any) -> None:
        """Show a list, or any other value as it is."""
        is_list = isinstance(value, list | tuple)
        super().show_value("\n".join(map(str, value)) if is_list else value)

    def commit(self) -> None:
        """Apply what was typed."""
        text = self.box.toPlainText()
        if text != self._value:
            self._value = text
            self.edited.emit([line.strip() for line in text.split("\n") if line.strip()])


class ListControl(Control):
    """A list of words, separated by commas or spaces."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create a line that shows the words separated by commas."""
        super().__init__(parent)
        self._value: Any = ()
        self.line = LineEdit()
        self.setFocusProxy(self.line)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.line)
        self.line.connect_keys(self._on_leave, lambda: self.show_value(self._value))

    def show_value(self, value: Any) -> None:
        """Show a list, or any other value as it is."""
        self._value = value
        self.line.setText(_join_values(value))

    def commit(self) -> None:
        """Apply what was typed."""
        text = self.line.text()
        if text == _join_values(self._value):
            return
        words = [word for word in text.replace(",", " ").split() if word]
        self.show_value(words)
        self.edited.emit(words)

    def _on_leave(self) -> None:
        self.commit()
        self.left.emit()


def _join_values(value: Any) -> str:
    return ", ".join(str(item) for item in value) if isinstance(value, list | tuple) else str(value)
