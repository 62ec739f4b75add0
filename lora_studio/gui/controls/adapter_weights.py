"""Editors of the weights of adapters: of one, of those in use, and of a list that can grow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QValidator
from PySide6.QtWidgets import QDoubleSpinBox, QHBoxLayout, QSlider, QVBoxLayout, QWidget

from lora_studio.core import chat
from lora_studio.core.chat import AdapterChatModel
from lora_studio.core.lora.adapters import WeightedAdapter, parse_weighted
from lora_studio.core.problems import ProblemError
from lora_studio.gui.controls.controls import Control
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.text_size import set_scaled_sizes
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import (
    WheelNeedsFocus,
    button,
    clear_layout,
    column,
    tool_button,
)
from lora_studio.gui.widgets.file_dialogs import choose_folder
from lora_studio.gui.widgets.glyph import ElidedLabel

#: The largest weight that can be entered, and the smallest below 0.
LARGEST_WEIGHT = 10.0


class DecimalEditor(QDoubleSpinBox):
    """A spin box that takes both a point and a comma as the decimal mark, in every language."""

    def validate(self, text: str, position: int) -> tuple[QValidator.State, str, int]:
        """Return whether a text is a number, and the text with the language's decimal mark."""
        return super().validate(self._use_decimal_mark(text), position)

    def valueFromText(self, text: str) -> float:
        """Return the number that a text represents."""
        return super().valueFromText(self._use_decimal_mark(text))

    def _use_decimal_mark(self, text: str) -> str:
        return text.replace(",", ".").replace(".", self.locale().decimalPoint())


class WeightEditor(WheelNeedsFocus, DecimalEditor):
    """A spin box that ignores the wheel without focus, so that scrolling a page changes nothing."""

    def __init__(self, value: float, name: str) -> None:
        """Create the editor of a weight; `name` is the adapter, for accessibility."""
        super().__init__(
            decimals=2, minimum=-LARGEST_WEIGHT, maximum=LARGEST_WEIGHT, singleStep=0.1
        )
        # WORKAROUND: with NoButtons, a style sheet shrinks the inner line edit to a width of one pixel.
        # The window's style sheet sets the width of the buttons to zero instead.
        set_scaled_sizes(self, width=64)
        self.lineEdit().setTextMargins(Spacing.S, 0, Spacing.XS, 0)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setKeyboardTracking(False)  # one change per number, not per digit
        self.setAccessibleName(tr("Weight of {name}").format(name=name))
        self.setValue(value)


#: Sliders range from 0 to twice the trained weight; typed numbers can be larger or negative.
_STEPS, _LARGEST = 100, 2.0


class BlendPanel(QWidget):
    """A row with a weight slider for each adapter.

    Signals:
        changed(adapters): a weight was changed or an adapter removed.
    """

    changed = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create the panel, hidden until there are adapters."""
        super().__init__(parent)
        self._adapters: tuple[WeightedAdapter, ...] = ()
        self.sliders: list[_Slider] = []
        self.numbers: list[QDoubleSpinBox] = []
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(Spacing.XS)
        self.hide()

    def show_adapters(self, adapters: Sequence[WeightedAdapter]) -> None:
        """Show adapters and weights; rows are rebuilt only if the adapters differ."""
        previous, self._adapters = self._adapters, tuple(adapters)
        if [each.folder for each in previous] != [each.folder for each in adapters]:
            self._build()
        for number, slider, each in zip(self.numbers, self.sliders, adapters, strict=True):
            for part, value in ((number, each.weight), (slider, round(each.weight * _STEPS))):
                part.blockSignals(True)
                part.setValue(value)  # type: ignore[arg-type]  # an int for the slider
                part.blockSignals(False)
        self.setVisible(bool(adapters))

    def _build(self) -> None:
        clear_layout(self._layout)
        self.sliders, self.numbers = [], []
        for index, each in enumerate(self._adapters):
            self._layout.addWidget(self._make_row(index, each))

    def _make_row(self, index: int, adapter: WeightedAdapter) -> QWidget:
        alone = adapter.model_copy(update={"weight": 1.0})
        name = localize(chat.format_chat_model_name(AdapterChatModel(adapters=(alone,))))
        name_label = ElidedLabel(name, "caption")
        name_label.full = adapter.folder
        slider = _Slider(tr("Weight of {adapter} (slider)").format(adapter=name))
        number = WeightEditor(adapter.weight, name)
        slider.valueChanged.connect(lambda value: self._set_weight(index, value / _STEPS))
        number.valueChanged.connect(lambda value: self._set_weight(index, value))
        remove = tool_button(
            "close", tr("Remove {adapter}").format(adapter=name), lambda: self._remove(index)
        )
        self.sliders.append(slider)
        self.numbers.append(number)
        widget_row = QWidget()
        layout = QHBoxLayout(widget_row)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.S)
        layout.addWidget(name_label, 1)
        layout.addWidget(slider, 1)
        layout.addWidget(number)
        layout.addWidget(remove)
        return widget_row

    def _set_weight(self, index: int, weight: float) -> None:
        adapters = list(self._adapters)
        adapters[index] = adapters[index].model_copy(update={"weight": weight})
        self.show_adapters(adapters)
        self.changed.emit(tuple(adapters))

    def _remove(self, removed: int) -> None:
        adapters = [each for index, each in enumerate(self._adapters) if index != removed]
        self.changed.emit(tuple(adapters))


class _Slider(WheelNeedsFocus, QSlider):
    """A slider that the wheel moves only while it is focused."""

    def __init__(self, name: str) -> None:
        super().__init__(Qt.Orientation.Horizontal)
        self.setRange(0, round(_LARGEST * _STEPS))
        self.setSingleStep(5)
        self.setPageStep(25)
        self.setMinimumWidth(60)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName(name)
        self.setToolTip(
            tr(
                "1.00 is the strength the adapter was trained with. Use the arrow keys to "
                "adjust it."
            )
        )


class AdapterList(Control):
    """Editor of the adapters that are merged after the run's own, as strings `folder=weight`."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create an empty list with a button that adds an adapter."""
        super().__init__(parent)
        self._value: tuple[str, ...] = ()
        self.add = button(tr("Add adapter…"), self.pick, icon="folder")
        self.setFocusProxy(self.add)
        self._rows = column(spacing=Spacing.S)
        buttons = QHBoxLayout()
        buttons.addWidget(self.add)
        buttons.addStretch(1)
        layout = column(self._rows, buttons, spacing=Spacing.S)
        layout.setContentsMargins(0, 0, 0, 0)
        self.setLayout(layout)

    def show_value(self, value: Any) -> None:
        """Show a list of strings; one that isn't `folder=weight` is shown unchanged."""
        texts = value if isinstance(value, (list, tuple)) else [value] if value else []
        self._value = tuple(str(text) for text in texts)
        clear_layout(self._rows)
        for index, text in enumerate(self._value):
            self._rows.addWidget(self._make_row(index, text))

    def pick(self) -> None:
        """Ask for the folder of an adapter."""
        choose_folder(self.window(), tr("Choose an adapter folder"), self.add_folder)

    def add_folder(self, folder: str) -> None:
        """Add an adapter with weight 1."""
        self._set((*self._value, f"{folder}=1"))

    def _make_row(self, index: int, text: str) -> QWidget:
        try:
            adapter = parse_weighted(text)
            folder, weight = adapter.folder, adapter.weight
        except ProblemError:
            folder, weight = text, 1.0
        name = Path(folder).name or folder
        title = ElidedLabel()
        title.full = folder
        title.setText(name)
        weight_editor = WeightEditor(weight, name)
        weight_editor.valueChanged.connect(
            lambda value: self._change_entry(index, f"{folder}={value:g}")
        )
        remove = tool_button(
            "close", tr("Remove {name}").format(name=name), lambda: self._change_entry(index, None)
        )
        widget_row = QWidget()
        layout = QHBoxLayout(widget_row)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(title, 1)
        layout.addWidget(weight_editor)
        layout.addWidget(remove)
        return widget_row

    def _change_entry(self, index: int, text: str | None) -> None:
        texts = list(self._value)
        texts[index : index + 1] = [] if text is None else [text]
        self._set(tuple(texts))

    def _set(self, value: tuple[str, ...]) -> None:
        if len(value) != len(self._value):
            self.show_value(value)
        self._value = value
        self.edited.emit(list(value))
        self.left.emit()
