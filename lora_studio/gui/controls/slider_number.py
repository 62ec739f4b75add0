"""A number with a slider whose stops are common values."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QSlider, QWidget

from lora_studio.core.spec import FieldFacts
from lora_studio.gui.controls.controls import Control, LineControl
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import WheelNeedsFocus


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
