"""A curve chart whose values can be read and zoomed by keyboard."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import Qt
from PySide6.QtGui import QAccessible, QAccessibleAnnouncementEvent, QKeyEvent
from PySide6.QtWidgets import QWidget

from lora_studio.gui.plots.curve_chart import CurveChart
from lora_studio.gui.plots.history import Values
from lora_studio.gui.plots.readout import Readout
from lora_studio.gui.widgets.basics import FocusFrame


class StepPlot(FocusFrame):
    """A chart with a readout of one step, chosen with the mouse or the keyboard."""

    def __init__(self, caption: str, parent: QWidget | None = None) -> None:
        """Create an empty chart with a caption."""
        super().__init__(parent)
        self.chart = CurveChart(caption)
        self.readout = Readout(self.chart)
        self._reading: float | None = None
        self.chart.pointed.connect(self.read_at)

    def read_at(self, step: float | None) -> None:
        """Show the values nearest to a step; None hides them."""
        raise NotImplementedError

    def get_readable_steps(self) -> Values:
        """Return the steps that the arrow keys visit, ascending."""
        raise NotImplementedError

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Read values with the arrow keys, Home and End; zoom with +, - and 0."""
        if not self._read_by_key(event) and not self._zoom_by_key(event.text()):
            super().keyPressEvent(event)

    def _read_by_key(self, event: QKeyEvent) -> bool:
        steps, current = self.get_readable_steps(), self._reading
        count = len(steps)
        is_far = event.modifiers() & Qt.KeyboardModifier.ShiftModifier
        stride = max(1, count // 100) if is_far else 1
        match event.key():
            case Qt.Key.Key_Left:
                after = count if current is None else int(np.searchsorted(steps, current))
                index = after - (1 if current is None else stride)
            case Qt.Key.Key_Right:
                before = (
                    -1 if current is None else int(np.searchsorted(steps, current, "right")) - 1
                )
                index = before + (1 if current is None else stride)
            case Qt.Key.Key_Home:
                index = 0
            case Qt.Key.Key_End:
                index = count - 1
            case Qt.Key.Key_Escape if current is not None:
                self.read_at(None)
                return True
            case _:
                return False
        if count:
            self.read_at(float(steps[min(max(index, 0), count - 1)]))
            QAccessible.updateAccessibility(QAccessibleAnnouncementEvent(self, self.readout.text()))
        return True

    def _zoom_by_key(self, text: str) -> bool:
        match text:
            case "+":
                self.chart.zoom(0.5)
            case "-":
                self.chart.zoom(2.0)
            case "0":
                self.chart.show_all()
            case "," | ".":
                self.chart.pan(0.25 if text == "." else -0.25)
            case _:
                return False
        return True
