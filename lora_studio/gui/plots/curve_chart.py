"""A chart of curves by step: fits its height, follows growing curves, and zooms."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyqtgraph as pg
from PySide6.QtCore import QPointF, Qt, Signal
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QGraphicsSceneMouseEvent, QSizePolicy, QVBoxLayout, QWidget

from lora_studio.core import formatting
from lora_studio.gui import theme
from lora_studio.gui.language import mark, tr
from lora_studio.gui.plots.trace import CurveLabels, Trace, TraceMarkers, measure_margin
from lora_studio.gui.text_size import set_scaled_sizes
from lora_studio.gui.theme import ColorPalette
from lora_studio.gui.widgets.basics import WheelNeedsFocus

Values = npt.NDArray[np.float64]

#: Height of an axis label including its spacing, in multiples of the font height.
_LINE = 1.25


class _View(WheelNeedsFocus, pg.PlotWidget):
    """A view whose wheel zooms only while it has the focus, and otherwise scrolls the page."""

    def __init__(self, chart: Chart, show_all: Callable[[], None]) -> None:
        super().__init__(
            chart, axisItems={"bottom": _WholeNumbers("bottom"), "left": AxisScale("left")}
        )
        self._show_all = show_all

    def mouseDoubleClickEvent(self, event: QGraphicsSceneMouseEvent) -> None:
        super().mouseDoubleClickEvent(event)
        self._show_all()


class _Axis(pg.AxisItem):
    """An axis whose numbers can be hidden, and are never scaled by an SI prefix."""

    silent = False

    def updateAutoSIPrefix(self) -> None:
        """Keep the numbers: pyqtgraph shows values below 1 multiplied by 1,000, even where that is turned off."""

    def set_silent(self, on: bool) -> None:
        """Hide or show the numbers; their space stays."""
        if on != self.silent:
            self.silent = on
            self.picture = None
            self.update()


class _WholeNumbers(_Axis):
    """An axis with whole numbers and thousands separators."""

    def tickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:
        if self.silent:
            return [""] * len(values)
        return [
            formatting.format_number(round(value)) if value == round(value) else ""
            for value in values
        ]


class AxisScale(_Axis):
    """A vertical axis that writes small numbers as 2e-4 rather than 0.0002.

    In a low chart, some numbers are left out so that they don't overlap.
    """

    def tickValues(self, first: float, last: float, size: float) -> list[tuple[float, list[float]]]:
        levels = super().tickValues(first, last, size)
        if self.logMode:
            return levels
        needed = _LINE * theme.Size.CAPTION * abs(last - first) / max(size, 1.0)
        return [
            (spacing, _list_multiples(values, spacing, math.ceil(needed / spacing)))
            for spacing, values in levels
        ]

    def tickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:
        if self.silent:
            return [""] * len(values)
        if self.logMode:
            return self.logTickStrings(values, scale, spacing)
        return [formatting.format_setting(round(value * scale, 12)) for value in values]

    def logTickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:
        return [formatting.format_setting(float(f"{scale * 10**value:.3g}")) for value in values]


def _list_multiples(values: list[float], spacing: float, count: int) -> list[float]:
    """Return every `count`-th multiple of a spacing, independent of where the range begins."""
    return [value for value in values if round(value / spacing) % max(1, count) == 0]


class Chart(QWidget):
    """A plot with a labeled axis on the left and at the bottom.

    Signals:
        pointed(float | None): x under the mouse, None after it has left the chart.
    """

    pointed = Signal(object)

    def __init__(
        self,
        x_label: str,
        y_label: str,
        parent: QWidget | None = None,
        *,
        palette: theme.ColorPalette | None = None,
    ) -> None:
        """Create a chart whose labels name quantity and unit; a `palette` replaces the theme."""
        super().__init__(parent)
        self._palette = palette
        self.view = _View(self, self.show_all)
        # Only the chart's parent is a Tab stop.
        self.view.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self._plot = self.view.getPlotItem()
        self._labels = {"bottom": x_label, "left": y_label}
        self._plot.setMenuEnabled(False)
        self._plot.hideButtons()
        self._plot.setMouseEnabled(x=True, y=False)
        self._plot.showGrid(x=False, y=True)
        self._plot.getViewBox().setDefaultPadding(0.02)
        self._cursor = pg.InfiniteLine(angle=90)
        self._cursor.setVisible(False)
        self._plot.addItem(self._cursor, ignoreBounds=True)
        self.view.scene().sigMouseMoved.connect(self._on_mouse_moved)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.view)
        self.view.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)
        set_scaled_sizes(self, at_least=160)
        self.setFocusProxy(self.view)
        theme.get_theme().changed.connect(self.repaint_all)
        self.repaint_all()

    # --- display ------------------------------------------------------------------------------

    def show_all(self) -> None:
        """Show all data."""
        self._plot.enableAutoRange()

    def set_y_label(self, label: str) -> None:
        """Name another quantity on the left axis."""
        if label != self._labels["left"]:
            self._labels["left"] = label
            self._paint_axis("left")

    def set_x_range(self, low: float, high: float) -> None:
        """Set the horizontal range."""
        self._plot.setXRange(low, high, padding=0.0)

    def set_y_range(self, low: float, high: float) -> None:
        """Set the vertical range."""
        self._plot.setYRange(low, high, padding=0.0)

    def set_x_names(self, names: Sequence[tuple[float, str]]) -> None:
        """Write names at positions of the lower axis, instead of numbers."""
        axis = self._plot.getAxis("bottom")
        axis.setTicks([list(names)])
        lines = max((name.count("\n") + 1 for _, name in names), default=1)
        axis.setHeight(round(_LINE * theme.Size.CAPTION * lines) + theme.Spacing.M)

    def set_y_from_zero(self) -> None:
        """Keep the lower end of the left axis at zero."""
        self._plot.getViewBox().setLimits(yMin=0)

    def set_silent(self, on: bool) -> None:
        """Hide or show the numbers of both axes."""
        for name in self._labels:
            cast(_Axis, self._plot.getAxis(name)).set_silent(on)

    def add_item(self, item: Any) -> None:
        """Add an item of this package."""
        self._plot.addItem(item, ignoreBounds=isinstance(item, pg.InfiniteLine))

    def set_cursor(self, x: float | None) -> None:
        """Move the cursor line; None hides it."""
        self._cursor.setVisible(x is not None)
        if x is not None:
            self._cursor.setPos(x)

    def get_x_range(self) -> tuple[float, float]:
        """Return the horizontal range."""
        low, high = self._plot.getViewBox().viewRange()[0]
        return float(low), float(high)

    # --- colors ------------------------------------------------------------------------------

    def get_palette(self) -> theme.ColorPalette:
        """Return the palette of the chart."""
        return self._palette or theme.get_palette()

    def repaint_all(self) -> None:
        """Apply the colors of the theme."""
        palette = self.get_palette()
        self.view.setBackground(palette.card)
        self._cursor.setPen(pg.mkPen(palette.edge, width=1))
        for name in self._labels:
            self._paint_axis(name)

    def _paint_axis(self, name: str) -> None:
        palette, axis = self.get_palette(), self._plot.getAxis(name)
        axis.setPen(palette.line)
        axis.setTickPen(pg.mkPen(palette.line))
        axis.setTextPen(palette.muted)
        axis.setStyle(tickFont=theme.body_font(theme.Size.CAPTION), tickLength=-4)
        if label := self._labels[name]:
            axis.setLabel(
                tr(label), color=palette.muted, **{"font-size": f"{theme.Size.CAPTION}px"}
            )
            axis.resizeEvent()  # repositions the label after its size has changed
        axis.setTickDensity(0.7)
        axis.setGrid(60 if name == "left" else False)

    # --- mouse --------------------------------------------------------------------------------

    def _on_mouse_moved(self, position: QPointF) -> None:
        box = self._plot.getViewBox()
        inside = box.sceneBoundingRect().contains(position)
        self.pointed.emit(float(box.mapSceneToView(position).x()) if inside else None)

    def leaveEvent(self, event: Any) -> None:
        """Report that the mouse left the chart."""
        super().leaveEvent(event)
        self.pointed.emit(None)


class Bars:
    """Vertical bars, each between two edges."""

    def __init__(self, chart: Chart) -> None:
        """Add bars without data to a chart."""
        self._item = pg.BarGraphItem(x0=[0.0], x1=[0.0], height=[0.0], pen=None)
        chart.add_item(self._item)

    def set_data(self, edges: Values, heights: Values, colors: list[QColor]) -> None:
        """Set the bars; `edges` has one entry more than `heights` and `colors`."""
        brushes = [pg.mkBrush(color) for color in colors]
        gap = 0.08 * np.diff(edges)
        self._item.setOpts(
            x0=edges[:-1] + gap, x1=edges[1:] - gap, height=heights, brushes=brushes, pen=None
        )


class DraggableLine:
    """A vertical line that the mouse can drag."""

    def __init__(
        self, chart: Chart, moved: Callable[[float], None], dropped: Callable[[float], None]
    ) -> None:
        """Call `moved` while the line is dragged, and `dropped` when it is released."""
        self._line = pg.InfiniteLine(angle=90, movable=True)
        self._line.setCursor(Qt.CursorShape.SplitHCursor)
        self._line.sigDragged.connect(lambda line: moved(float(line.value())))
        self._line.sigPositionChangeFinished.connect(lambda line: dropped(float(line.value())))
        chart.add_item(self._line)

    def set_value(self, x: float) -> None:
        """Move the line without calling back."""
        self._line.setPos(x)

    def set_bounds(self, low: float, high: float) -> None:
        """Limit how far the line can be dragged."""
        self._line.setBounds((low, high))

    def paint(self, color: QColor, hover: QColor) -> None:
        """Set the colors at rest and under the mouse."""
        self._line.setPen(pg.mkPen(color, width=2))
        self._line.setHoverPen(pg.mkPen(hover, width=3))


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
        self.labels = CurveLabels(self.get_palette, lambda: self._traces)
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
        room = measure_margin() if self.has_letters else _LAST
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
