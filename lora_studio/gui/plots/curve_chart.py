"""A chart of curves by step: fits its height, follows growing curves, and zooms."""

from __future__ import annotations

import math

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from lora_studio.gui import theme
from lora_studio.gui.language import mark
from lora_studio.gui.plots import curve_labels
from lora_studio.gui.plots.chart import Chart
from lora_studio.gui.plots.trace import Trace, TraceMarkers
from lora_studio.gui.theme import ColorPalette

#: Margin around the curves, as a share of their range.
_PAD_X, _PAD_Y = 0.015, 0.06
#: Margin for the caption above the curves, as a share of their range.
_CAPTION = 0.5
#: Minimum share of the height that curves fill; below it, the range is fitted again.
_FILLED = 0.8
#: Minimum share of the width that the steps fill.
_FILLED_X = 0.96
_AXIS = 58
#: Pixels that the dot and the mark of the last step extend beyond it.
_LAST = 6
#: Z value of items above all curves.
_ABOVE = 1000


def measure_axis_width() -> int:
    """Return the width of the left axis in pixels, equal in all charts so that steps
    line."""
    return theme.Size.scaled(_AXIS)


class CurveChart(Chart):
    """A chart of traces and marks by step.

    Signals:
        following_changed: it now shows all steps, or a range that the user chose.
    """

    following_changed = Signal()

    def __init__(
        self, y_label: str, parent: QWidget | None = None, *, palette: ColorPalette | None = None
    ) -> None:
        """Create an empty chart; without `y_label`, `set_caption` names the quantity."""
        super().__init__(mark("step"), y_label, parent, palette=palette)
        self._caption = pg.LabelItem(justify="left", size=f"{theme.Size.CAPTION}px")
        self._caption.setParentItem(self._plot.getViewBox())
        self._caption.setPos(4, -2)
        self.following = True
        self._traces: list[Trace] = []
        self.is_log = False
        self._leader: CurveChart | None = None
        self._box = self._plot.getViewBox()
        self._box.disableAutoRange()
        self.marks = TraceMarkers(self.get_palette)
        self._plot.addItem(self.marks, ignoreBounds=True)
        self.labels = curve_labels.CurveLabels(self.get_palette, lambda: self._traces)
        self.labels.setZValue(_ABOVE)
        self._plot.addItem(self.labels, ignoreBounds=True)
        self._plot.getAxis("left").setWidth(measure_axis_width())
        for name in ("left", "bottom"):
            self._plot.getAxis(name).setStyle(maxTickLevel=0)
        self.set_silent(True)
        self._box.sigXRangeChanged.connect(self._fit_height)
        self._box.sigRangeChangedManually.connect(self._on_manual_range_change)

    # --- display ------------------------------------------------------------------------------

    def set_traces(self, traces: list[Trace]) -> None:
        """Replace all traces; later ones are drawn on top."""
        for previous in self._traces:
            self._plot.removeItem(previous)
        self._traces = list(traces)
        for depth, trace in enumerate(traces):
            trace.log = self.is_log
            trace.setZValue(depth)
            self._plot.addItem(trace, ignoreBounds=True)
        self.refresh()

    @property
    def traces(self) -> list[Trace]:
        """The traces from bottom to top."""
        return list(self._traces)

    @property
    def has_letters(self) -> bool:
        """Whether lines have letters at their ends."""
        return any(trace.tag and not trace.look.dots for trace in self._traces)

    def set_log(self, on: bool) -> None:
        """Make the left axis logarithmic or linear; values of zero or less leave a gap."""
        self.is_log = on
        axis = self._plot.getAxis("left")
        axis.setLogMode(False, on)
        axis.setStyle(maxTickLevel=1 if on else 0)  # powers of ten are too far apart
        for trace in self._traces:
            trace.log = on
        self.refresh()

    def set_caption(self, text: str) -> None:
        """Name the quantity inside the chart, if its axis is too short for a label."""
        self._caption.setText(text, color=self.get_palette().muted)

    def measure_caption_height(self) -> int:
        """Return the height of the caption in pixels, 0 without one."""
        return theme.Size.CAPTION + theme.Spacing.S if self._caption.text.strip() else 0

    def set_scale(self, scale: float) -> None:
        """Multiply values by a factor on the axis."""
        self._plot.getAxis("left").setScale(scale)

    def show_steps_axis(self, visible: bool) -> None:
        """Show or hide the step numbers."""
        self._plot.showAxis("bottom", visible)

    def follow(self, leader: CurveChart) -> None:
        """Show the same steps as another chart."""
        self._leader = leader
        self._box.setLimits(xMin=None, xMax=None)  # the leader's range applies
        leader._box.sigXRangeChanged.connect(lambda: self.set_x_range(*leader.get_x_range()))
        self.set_x_range(*leader.get_x_range())

    # --- range --------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Repaint after the curves have changed."""
        for trace in self._traces:
            trace.refresh()
        self.set_silent(self.get_step_range() is None)
        self.labels.update()
        if self._leader is None and self.following:
            self._show_whole_width()
        self._fit_height()

    def show_all(self) -> None:
        """Show all steps, including future ones."""
        if self._leader is not None:
            self._leader.show_all()
            return
        self._set_following(True)
        self._show_whole_width()
        self._fit_height()

    def zoom(self, factor: float) -> None:
        """Show `factor` times as many steps around the middle."""
        low, high = self.get_x_range()
        half, middle = factor * (high - low) / 2, (low + high) / 2
        self._set_following(False)
        self.set_x_range(middle - half, middle + half)

    def pan(self, share: float) -> None:
        """Move by a share of the visible steps."""
        low, high = self.get_x_range()
        self._set_following(False)
        self.set_x_range(low + share * (high - low), high + share * (high - low))

    def get_step_range(self) -> tuple[float, float] | None:
        """Return the first and the last step of all curves, None without any."""
        ends = [
            (trace.curve.steps[0], trace.curve.steps[-1])
            for trace in self._traces
            if len(trace.curve.steps)
        ]
        if not ends:
            return None
        return float(min(low for low, _ in ends)), float(max(high for _, high in ends))

    def _show_whole_width(self) -> None:
        low, high = self.get_step_range() or (0.0, 1.0)
        shown_low, shown_high = self.get_x_range()
        margin = self._get_right_margin(high - low)
        fills = high - low >= _FILLED_X * (shown_high - shown_low - margin)
        if shown_low <= low and high + margin <= shown_high and fills:
            return  # a range that followed each point would change the axes all the time
        pad = _PAD_X * (high - low) or 0.5
        self._box.setLimits(xMin=low - 0.5 * (high - low) - 1, xMax=high + 0.5 * (high - low) + 1)
        self.set_x_range(low - pad, high + pad + margin)

    def _get_right_margin(self, span: float) -> float:
        """Return the number of steps to keep free after the last one, for marks and letters."""
        room = curve_labels.measure_margin() if self.has_letters else _LAST
        return span * room / (max(self._box.width(), 2.0 * room) - room)

    def _fit_height(self, *_: object) -> None:
        low, high = math.inf, -math.inf
        for trace in self._traces:
            if trace.isVisible() and len(y := trace.get_shown_points()[1]):
                low, high = min(low, float(np.fmin.reduce(y))), max(high, float(np.fmax.reduce(y)))
        if not (math.isfinite(low) and math.isfinite(high)):
            low, high = 0.0, 1.0
        pad = _PAD_Y * (high - low) or 0.1 * abs(high) or 0.5
        room = _CAPTION * (high - low) if self._caption.text.strip() else 0.0
        below = self.marks.measure_height()
        low -= (high - low) * below / max(self._box.height(), 2.0 * below, 1.0)
        bottom, top = low - pad / 2, high + pad / 2 + room
        current, height = self._box.viewRange()[1], top - bottom
        # Unchanged while it fits, because a range that followed each point would change all the time.
        if current[0] > bottom or current[1] < top or height < _FILLED * (current[1] - current[0]):
            self._plot.setYRange(low - pad, high + pad + room, padding=0.0)
        self._box.updateMatrix()  # during the next repaint, it would cause another one

    def _on_manual_range_change(self, *_: object) -> None:
        leader = self._leader or self
        leader._set_following(False)
        if leader is not self:
            leader.set_x_range(*self.get_x_range())

    def _set_following(self, on: bool) -> None:
        if on != self.following:
            self.following = on
            self.following_changed.emit()

    def repaint_all(self) -> None:
        """Apply the colors of the theme."""
        super().repaint_all()
        self._plot.getAxis("left").setWidth(measure_axis_width())
        for trace in getattr(self, "_traces", []):
            trace.update()
        if hasattr(self, "_caption"):
            self._caption.setAttr("size", f"{theme.Size.CAPTION}px")
            self.set_caption(self._caption.text)
