"""Live curves of a training: loss, evaluation loss and learning rate over the steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QHideEvent, QKeyEvent, QShowEvent
from PySide6.QtWidgets import QCheckBox, QLabel, QVBoxLayout, QWidget

from lora_studio.core import words
from lora_studio.gui import theme
from lora_studio.gui.plots.chart import REDRAW_EVERY, Chart, Values, pen
from lora_studio.gui.widgets.basics import label, row

#: The smoothed line averages over this share of all steps, at least over `_NARROWEST` of them.
_SMOOTHING_SHARE, _NARROWEST = 0.04, 5
#: A smooth line needs no more points than this: its window is far wider than their distance.
_SMOOTH_POINTS = 2000


class Curve:
    """Points by ascending step in arrays that grow by doubling: adding one costs next to nothing."""

    def __init__(self, columns: int) -> None:
        """`columns` values belong to each step."""
        self._steps: Values = np.empty(256)
        self._values: Values = np.empty((columns, 256))
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def steps(self) -> Values:
        """All steps, ascending."""
        return self._steps[: self._size]

    def values(self, column: int = 0) -> Values:
        """One value for each step."""
        return self._values[column, : self._size]

    def add(self, step: float, *values: float) -> None:
        """Adds a point. A step not after the last one replaces the tail: training was resumed."""
        if self._size and step <= self._steps[self._size - 1]:
            self._size = int(np.searchsorted(self.steps, step))
        if self._size == len(self._steps):
            self._steps = np.concatenate([self._steps, np.empty(self._size)])
            self._values = np.concatenate([self._values, np.empty_like(self._values)], axis=1)
        self._steps[self._size] = step
        self._values[:, self._size] = values
        self._size += 1

    def clear(self) -> None:
        """Forgets all points."""
        self._size = 0

    def nearest(self, step: float) -> int | None:
        """Index of the point closest to a step, None without points."""
        if not self._size:
            return None
        right = int(np.searchsorted(self.steps, step))
        around = [index for index in (right - 1, right) if 0 <= index < self._size]
        return min(around, key=lambda index: abs(float(self.steps[index]) - step))


def smoothed(values: Values, width: int) -> Values:
    """Mean over a window of `width` values around each, narrower at the ends; skips non-finite."""
    half = width // 2
    finite = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    index = np.arange(len(values))
    low, high = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    number = counts[high] - counts[low]
    result: Values = np.full(len(values), np.nan)
    np.divide(sums[high] - sums[low], number, out=result, where=number > 0)
    return result


class LossPlot(QWidget):
    """Takes a point per event and paints on a timer, and only when there is something new."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Empty until the first point."""
        super().__init__(parent)
        self.training = Curve(2)  # loss, learning rate
        self.evaluations = Curve(1)
        self.redraws = 0
        self._new = False
        self._smooth: Values = np.empty(0)
        self._reading: float | None = None
        self._timer = QTimer(self, interval=REDRAW_EVERY, singleShot=True)
        self._timer.timeout.connect(self._redraw)
        self.chart = Chart("step", "loss (nats per token)")
        self.chart.add_right_axis("learning rate")
        self._rate = self.chart.line(
            _paint("learning_rate", 1.2, 0.9, dashed=True), right=True, smooth=True
        )
        self._raw = self.chart.line(_paint("loss", 1.0, 0.28))
        self._line = self.chart.line(_paint("loss", 2.0), smooth=True)
        self._evals = self.chart.points(_paint_points)
        self.readout = label(role="caption")
        self.show_rate = QCheckBox("Learning rate")
        self.show_rate.setChecked(True)
        self.log_scale = QCheckBox("Log scale")
        self._keys = [_Key(name, role) for name, role in _KEYS]
        self._lay_out()
        self.show_rate.toggled.connect(self._show_rate)
        self.log_scale.toggled.connect(self.chart.set_log_y)
        self.chart.pointed.connect(self.read_at)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName("Loss curve")
        self._describe()

    # --- data ---------------------------------------------------------------------------------

    def add_step(self, step: int, loss: float, learning_rate: float) -> None:
        """One optimizer step: loss in nats per trained token."""
        self.training.add(step, loss, learning_rate)
        self._changed()

    def add_evaluation(self, step: int, loss: float) -> None:
        """Loss on the validation rows after `step` steps."""
        self.evaluations.add(step, loss)
        self._changed()

    def clear(self) -> None:
        """Starts over."""
        self.training.clear()
        self.evaluations.clear()
        self.read_at(None)
        self._changed()

    # --- reading out --------------------------------------------------------------------------

    def read_at(self, step: float | None) -> None:
        """Shows the values of the point nearest to a step; None: nothing is read out."""
        index = None if step is None else self.training.nearest(step)
        if index is None:
            self._reading = None
            self.chart.set_cursor(None)
            self.readout.setText("")
            return
        at = float(self.training.steps[index])
        self._reading = at
        self.chart.set_cursor(at)
        parts = [
            f"step {words.number(int(at))}",
            f"loss {words.loss(float(self.training.values(0)[index]))}",
        ]
        if index < len(self._smooth):
            parts.append(f"smoothed {words.loss(float(self._smooth[index]))}")
        nearest = self.evaluations.nearest(at)
        if nearest is not None and self._close(float(self.evaluations.steps[nearest]), at):
            parts.append(f"eval {words.loss(float(self.evaluations.values()[nearest]))}")
        parts.append(f"rate {words.small(float(self.training.values(1)[index]))}")
        self.readout.setText("  ·  ".join(parts))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Left and Right read out point by point, Home and End the first and last."""
        count = len(self.training)
        now = self.training.nearest(self._reading) if self._reading is not None else None
        stride = (
            max(1, count // 100) if event.modifiers() & Qt.KeyboardModifier.ShiftModifier else 1
        )
        match event.key():
            case Qt.Key.Key_Left:
                index = count - 1 if now is None else now - stride
            case Qt.Key.Key_Right:
                index = 0 if now is None else now + stride
            case Qt.Key.Key_Home:
                index = 0
            case Qt.Key.Key_End:
                index = count - 1
            case Qt.Key.Key_Escape if self._reading is not None:
                self.read_at(None)
                return
            case _:
                super().keyPressEvent(event)
                return
        if count:
            self.read_at(float(self.training.steps[min(max(index, 0), count - 1)]))

    # --- painting -----------------------------------------------------------------------------

    def showEvent(self, event: QShowEvent) -> None:
        """Catches up with what came while the plot was hidden."""
        super().showEvent(event)
        if self._new:
            self._redraw()

    def hideEvent(self, event: QHideEvent) -> None:
        """Nobody looks: no painting."""
        super().hideEvent(event)
        self._timer.stop()

    def redraw_now(self) -> None:
        """Paints what is new without waiting for the timer."""
        self._timer.stop()
        if self._new:
            self._redraw()

    def _changed(self) -> None:
        self._new = True
        if self.isVisible() and not self._timer.isActive():
            self._timer.start()

    def _redraw(self) -> None:
        self._new = False
        self.redraws += 1
        steps, loss = self.training.steps.copy(), self.training.values(0).copy()
        width = max(_NARROWEST, round(_SMOOTHING_SHARE * len(steps)))
        self._smooth = smoothed(loss, width)
        thin = slice(None, None, -max(1, len(steps) // _SMOOTH_POINTS))  # from the end: keeps it
        self._raw.set_data(steps, loss)
        self._line.set_data(steps[thin][::-1], self._smooth[thin][::-1])
        self._rate.set_data(steps[thin][::-1], self.training.values(1)[thin][::-1].copy())
        self._evals.set_data(self.evaluations.steps.copy(), self.evaluations.values().copy())
        self._describe()

    def _show_rate(self, on: bool) -> None:
        self._rate.show(on)
        self.chart.show_right_axis(on)
        self._keys[-1].setVisible(on)

    def _close(self, evaluated: float, step: float) -> bool:
        span = float(self.training.steps[-1] - self.training.steps[0])
        return abs(evaluated - step) <= max(0.5, 0.01 * span)

    def _describe(self) -> None:
        """The curve in one sentence, for those who do not see it."""
        if not len(self.training):
            self.setAccessibleDescription("No steps yet.")
            return
        last = float(self._smooth[-1]) if len(self._smooth) else math.nan
        said = f"{words.plural(len(self.training), 'step')}, smoothed loss {words.loss(last)}"
        if len(self.evaluations):
            said += f", eval loss {words.loss(float(self.evaluations.values()[-1]))}"
        self.setAccessibleDescription(f"{said}.")

    def _lay_out(self) -> None:
        top = row(*self._keys, None, self.readout, None, self.show_rate, self.log_scale)
        top.setSpacing(theme.Space.L)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.Space.S)
        layout.addLayout(top)
        layout.addWidget(self.chart, 1)


_KEYS = (("loss", "loss"), ("eval loss", "evaluation"), ("learning rate", "learning_rate"))


class _Key(QLabel):
    """One entry of the legend: its mark in the colour of the curve, its name in words."""

    def __init__(self, name: str, role: str) -> None:
        super().__init__(textFormat=Qt.TextFormat.RichText)
        self.setProperty("role", "caption")
        self._name, self._role = name, role
        self._colour()
        theme.theme().changed.connect(self._colour)

    def _colour(self) -> None:
        mark = {"loss": "━", "evaluation": "●", "learning_rate": "╌"}[self._role]
        tint = getattr(theme.current(), self._role)
        self.setText(f'<span style="color:{tint}">{mark}</span>&nbsp; {self._name}')


def _paint(
    role: str, width: float, opacity: float = 1.0, *, dashed: bool = False
) -> Callable[[Any], None]:
    def paint(item: Any) -> None:
        item.setPen(pen(getattr(theme.current(), role), width, opacity, dashed=dashed))

    return paint


def _paint_points(item: Any) -> None:
    tint = theme.current().evaluation
    item.setPen(pen(tint, 1.5, 0.6))
    item.setSymbolPen(pen(theme.current().card, 1.0))
    item.setSymbolBrush(theme.color("evaluation"))
