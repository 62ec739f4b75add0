"""The active adapters of a playground column, each with a slider for its weight."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QDoubleSpinBox, QHBoxLayout, QSlider, QVBoxLayout, QWidget

from lora_studio.core import chat
from lora_studio.core.chat import AdapterSpeaker
from lora_studio.core.lora.adapters import WeightedAdapter
from lora_studio.gui.controls.weight_editor import WeightEditor
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import WheelNeedsFocus, tool_button
from lora_studio.gui.widgets.glyph import ElidedLabel

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
        while (item := self._layout.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        self.sliders, self.numbers = [], []
        for index, each in enumerate(self._adapters):
            self._layout.addWidget(self._make_row(index, each))

    def _make_row(self, index: int, adapter: WeightedAdapter) -> QWidget:
        alone = adapter.model_copy(update={"weight": 1.0})
        name = localize(chat.format_speaker_name(AdapterSpeaker(adapters=(alone,))))
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
