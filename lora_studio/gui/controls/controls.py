"""Controls for text, numbers, lists and paths. A control edits one value and doesn't know the project."""

from __future__ import annotations

import bisect
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QKeyEvent, QKeySequence, QWheelEvent
from PySide6.QtWidgets import (
    QAbstractButton,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QMenu,
    QPlainTextEdit,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from lora_studio.core.formatting import format_decimal
from lora_studio.core.messages import Text
from lora_studio.core.problems import Problem
from lora_studio.core.spec import FieldFacts
from lora_studio.gui.language import mark, tr
from lora_studio.gui.text_size import set_scaled_sizes
from lora_studio.gui.theme import Spacing, get_theme
from lora_studio.gui.widgets.basics import WheelNeedsFocus, button, restyle
from lora_studio.gui.widgets.file_dialogs import DIALOG_FOLDER, get_dropped_path, open_file_dialog
from lora_studio.gui.widgets.tooltips import plain_tip

_FACTORS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}
#: Context lengths are counted in powers of two: 8k tokens are 8192.
_TOKEN_FACTORS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:([.,\u202f\u00a0' ])\d{3})(?:\1\d{3})*\Z")
_SIZED = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([kmg%]?)\Z", re.IGNORECASE)


def parse(text: str, about: FieldFacts) -> int | float | str:
    """Return the number that a text represents, or the text itself if it isn't a number."""
    plain = text.strip().replace("−", "-")
    if about.unit and plain.lower().endswith(about.unit.lower()):
        plain = plain[: -len(about.unit)].strip()
    is_decimal = about.kind == "number" and plain.count(",") + plain.count(".") == 1
    if _THOUSANDS.match(plain) and not is_decimal:
        plain = re.sub(r"[^\d+-]", "", plain)
    match = _SIZED.match(plain.replace(",", "."))
    if match is None:
        return text
    factor = match[2].lower()
    factors = _TOKEN_FACTORS if about.unit == "tokens" else _FACTORS
    value = float(match[1]) * (0.01 if factor == "%" else factors[factor])
    if math.isinf(value):
        return text
    if about.kind == "number":
        return float(f"{value:.12g}")
    if re.fullmatch(r"[+-]?\d+", match[1]) and factor == "":
        return int(match[1])
    return int(value) if value.is_integer() else text


def format_value(value: object, about: FieldFacts) -> str:
    """Return a value as text that `parse` reads back."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or about.kind == "integer":
        return str(value)
    return format_decimal(value)


def step_value(value: int | float, direction: int, about: FieldFacts) -> int | float:
    """Return the next value up or down within the bounds.

    Fields with a step change by that step, powers of two by a factor of two, and other whole numbers
    by one; small decimals follow the sequence 1, 2, 5 within each power of ten.
    """
    if about.step:
        result: int | float = round(value / about.step + direction) * about.step
        result = float(f"{result:.10g}")
    elif about.kind == "integer":
        power = value >= 8 and (int(value) & (int(value) - 1)) == 0
        result = (
            (int(value) * 2 if direction > 0 else int(value) // 2)
            if power
            else int(value) + direction
        )
    else:
        result = _step_one_two_five(value, direction)
    if about.minimum is not None and (
        result < about.minimum or (about.exclusive_minimum and result <= about.minimum)
    ):
        return value
    if about.maximum is not None and result > about.maximum:
        return value
    return int(result) if about.kind == "integer" else float(result)


def _step_one_two_five(value: float, direction: int) -> float:
    if value <= 0:
        return value
    steps = [digit * 10.0**exponent for exponent in range(-12, 7) for digit in (1, 2, 5)]
    if direction > 0:
        nearest = next(step for step in steps if step > value * 1.0001)
    else:
        nearest = next((step for step in reversed(steps) if step < value * 0.9999), value)
    return float(f"{nearest:.6g}")


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


class SliderNumberControl(Control):
    """A slider that moves between stops, and a line edit that accepts any value.

    Signals:
        slid(value): the slider was moved to a stop, by mouse or keyboard.
    """

    slid = Signal(int)

    def __init__(
        self, about: FieldFacts, stops: Sequence[int], parent: QWidget | None = None
    ) -> None:
        """Create the control; `stops` are in ascending order."""
        super().__init__(parent)
        self._stops = list(stops)
        self.line = LineControl(about)
        self.slider = _Slider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, len(self._stops) - 1)
        self.slider.setPageStep(1)
        self.slider.setMinimumWidth(120)
        self.slider.setAccessibleName(about.title)
        self.setFocusProxy(self.line.line)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.M)
        layout.addWidget(self.line)
        layout.addWidget(self.slider, 1)
        self.slider.valueChanged.connect(self._on_moved)
        self.line.edited.connect(self.edited)
        self.line.left.connect(self.left)

    def show_value(self, value: Any) -> None:
        """Show a value on the line, and the nearest lower stop on the slider."""
        self.line.show_value(value)
        if isinstance(value, int):
            index = max(0, bisect.bisect_right(self._stops, value) - 1)
            self.slider.blockSignals(True)
            self.slider.setValue(index)
            self.slider.blockSignals(False)

    def commit(self) -> None:
        """Apply what was typed."""
        self.line.commit()

    def _on_moved(self, index: int) -> None:
        self.line.show_value(self._stops[index])
        self.slid.emit(self._stops[index])
        self.left.emit()


class _Slider(WheelNeedsFocus, QSlider):
    """A slider that reacts to the wheel only while it has the focus."""


#: Name filters of the file dialog, by field name.
_FILTERS = {
    "file": mark("Datasets (*.json *.jsonl *.csv *.parquet *.txt);;All files (*)"),
    "source": mark("GGUF models (*.gguf);;All files (*)"),
}


class PathControl(Control):
    """A line with a Browse button; accepts one dropped file or folder.

    Signals:
        picked(Path): a path was chosen or dropped, before it becomes the value.
    """

    picked = Signal(object)

    def __init__(self, about: FieldFacts, parent: QWidget | None = None) -> None:
        """Create the control; paths inside the folder `base` are kept relative to it."""
        super().__init__(parent)
        self._about = about
        self._value = ""
        self.base: Path | None = None
        self.line = LineEdit()
        self.browse = self._browse_button()
        self.setFocusProxy(self.line)
        self.setAcceptDrops(True)
        self.line.setAcceptDrops(False)  # a drop on the line is a drop on the control
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.S)
        layout.addWidget(self.line, 1)
        layout.addWidget(self.browse)
        self.line.entered.connect(self._leave)
        self.line.editingFinished.connect(self._leave)
        self.line.reverted.connect(lambda: self.show_value(self._value))

    def show_value(self, value: Any) -> None:
        """Show a path as the project has it."""
        self._value = str(value)
        self.line.setText(self._value)
        self.line.setToolTip(plain_tip(self._value))

    def commit(self) -> None:
        """Apply what was typed, without quotation marks."""
        text = self.line.text().strip().strip("\"'")
        if text != self._value:
            self.show_value(text)
            self.edited.emit(text)

    def set_path(self, path: Path) -> None:
        """Set a path that the user chose or dropped."""
        self.picked.emit(path)
        self.line.setText(self._to_relative(path))
        self.commit()
        self.left.emit()

    def pick_file(self) -> None:
        """Open the dialog for files."""
        self._open_dialog(QFileDialog.FileMode.ExistingFile)

    def pick_folder(self) -> None:
        """Open the dialog for folders."""
        self._open_dialog(QFileDialog.FileMode.Directory)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Accept one local file or folder of the right kind."""
        if get_dropped_path(event, self._about.path) is not None:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Set the dropped path."""
        path = get_dropped_path(event, self._about.path)
        if path is not None:
            event.acceptProposedAction()
            self.set_path(path)

    def _browse_button(self) -> QPushButton:
        browse = button(tr("Browse…"), icon="folder")
        if self._about.path == "any":
            menu = QMenu(browse)
            menu.addAction(tr("Folder…"), self.pick_folder)
            menu.addAction(tr("File…"), self.pick_file)
            browse.setMenu(menu)
        else:
            browse.clicked.connect(
                self.pick_folder if self._about.path == "folder" else self.pick_file
            )
        return browse

    def _open_dialog(self, mode: QFileDialog.FileMode) -> None:
        dialog = QFileDialog(self.window(), self._about.title, self._start())
        dialog.setFileMode(mode)
        if mode == QFileDialog.FileMode.ExistingFile:
            dialog.setNameFilter(tr(_FILTERS.get(self._about.name, mark("All files (*)"))))
        open_file_dialog(dialog, lambda name: self.set_path(Path(name)))

    def _start(self) -> str:
        current = (self.base or Path()) / Path(self._value).expanduser()
        for candidate in (current, current.parent):
            if self._value and candidate.is_dir():
                return str(candidate)
        return DIALOG_FOLDER.get_folder()

    def _to_relative(self, path: Path) -> str:
        if self.base is not None and path.is_relative_to(self.base):
            return Path(os.path.relpath(path, self.base)).as_posix()
        return str(path)

    def _leave(self) -> None:
        self.commit()
        self.left.emit()
