"""Plots of an evaluation: changes with their intervals as bars, and gain against forgetting as points."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QVBoxLayout, QWidget

from lora_studio.core.evaluation.statistics import Interval
from lora_studio.gui import theme
from lora_studio.gui.language import mark, tr
from lora_studio.gui.plots.curve_chart import Chart, Values
from lora_studio.gui.plots.step_plot import Legend
from lora_studio.gui.widgets.basics import FocusFrame

#: Width of a group of bars, of the distance between two groups.
_GROUP = 0.8
#: Letters in a line of the name of a group.
_LINE = 14


@dataclass(frozen=True)
class ScoreChange:
    """A mean change in percentage points, with its 95 % interval."""

    value: float
    interval: Interval


class ChangePlot(FocusFrame):
    """Bars for each subject, one per model, with intervals: what was gained and what was forgotten."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create an empty plot."""
        super().__init__(parent)
        self._subjects: list[str] = []
        self._series: list[tuple[str, list[ScoreChange | None]]] = []
        self.chart = Chart("", mark("change in points"))
        self.chart.view.setMouseEnabled(x=False, y=False)
        self._bars = WhiskerBars(self.chart)
        self._whiskers = Whiskers(self.chart)
        self.legend = Legend()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.Spacing.S)
        layout.addWidget(self.legend)
        layout.addWidget(self.chart, 1)
        self.setAccessibleName(tr("Gain and forgetting"))
        theme.get_theme().changed.connect(self._repaint)

    def show_changes(
        self, subjects: Sequence[str], series: Sequence[tuple[str, Sequence[ScoreChange | None]]]
    ) -> None:
        """Show changes: for each model, one per subject, None where it isn't known."""
        self._subjects = list(subjects)
        self._series = [(name, list(changes)) for name, changes in series]
        self.setAccessibleDescription(self.describe())
        self._repaint()

    def describe(self) -> str:
        """Return all values as text, for screen readers and as a tooltip."""
        lines = []
        for name, changes in self._series:
            values = ", ".join(
                f"{subject} {change.value:+.0f}"
                for subject, change in zip(self._subjects, changes, strict=True)
                if change is not None
            )
            lines.append(f"{name}: {values}")
        return "\n".join(lines)

    def _repaint(self) -> None:
        palette = self.chart.get_palette()
        colors = [_make_series_color(number)(palette) for number in range(len(self._series))]
        width = _GROUP / max(1, len(self._series))
        x, change, bar_colors = [], [], []
        for number, (_, changes) in enumerate(self._series):
            for group, each in enumerate(changes):
                if each is not None:
                    x.append(group - _GROUP / 2 + (number + 0.5) * width)
                    change.append(each)
                    bar_colors.append(QColor(colors[number]))
        at = np.asarray(x, dtype=np.float64)
        heights = np.asarray([each.value for each in change], dtype=np.float64)
        self._bars.set_data(at, heights, 0.9 * width, bar_colors)
        low = np.asarray([each.interval.low for each in change], dtype=np.float64)
        high = np.asarray([each.interval.high for each in change], dtype=np.float64)
        self._whiskers.set_data(at, low, high, 0.25 * width, theme.color("text"))
        self.chart.set_x_names([(n, _wrap(name)) for n, name in enumerate(self._subjects)])
        self.chart.set_x_range(-0.6, max(0.0, len(self._subjects) - 0.4))
        self.chart.set_y_range(*_find_range(low, high))
        entries = [
            (name, "■", _make_series_color(number)) for number, (name, _) in enumerate(self._series)
        ]
        self.legend.set_entries(entries)


class TradeOffPlot(FocusFrame):
    """A point for each model: its gain on the task over its change in general abilities."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create an empty plot."""
        super().__init__(parent)
        self._points: list[tuple[str, float, float]] = []
        self.chart = Chart(mark("change in general abilities (points)"), mark("task gain (points)"))
        self.chart.view.setMouseEnabled(x=False, y=False)
        self._dots = Points(self.chart)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.chart)
        self.setAccessibleName(tr("Gain over forgetting"))
        theme.get_theme().changed.connect(self._repaint)

    def show_points(self, points: Sequence[tuple[str, float, float]]) -> None:
        """Show models as (name, change in general abilities, gain on the task), both in points."""
        self._points = list(points)
        self.setAccessibleDescription(
            "\n".join(f"{name}: {change:+.0f}, {gain:+.0f}" for name, change, gain in points)
        )
        self._repaint()

    def _repaint(self) -> None:
        palette = self.chart.get_palette()
        colors = [QColor(_make_series_color(n)(palette)) for n in range(len(self._points))]
        names = [name for name, _, _ in self._points]
        x = np.asarray([change for _, change, _ in self._points], dtype=np.float64)
        y = np.asarray([gain for _, _, gain in self._points], dtype=np.float64)
        self._dots.set_data(x, y, names, colors, theme.color("text"))
        low, high = _find_range(x, x)
        self.chart.set_x_range(low, high + 0.35 * (high - low))  # room for the names
        self.chart.set_y_range(*_find_range(y, y))


def _wrap(name: str) -> str:
    """Return a name in lines of a few letters, so that neighbors don't overlap."""
    return "\n".join(textwrap.wrap(name, _LINE, break_long_words=False))


def _make_series_color(number: int) -> Callable[[theme.ColorPalette], str]:
    return lambda palette: palette.series[number % len(palette.series)]


def _find_range(low: Values, high: Values) -> tuple[float, float]:
    """Return a range that contains the values and 0, with a margin."""
    bottom = min(0.0, float(low.min()) if len(low) else 0.0)
    top = max(0.0, float(high.max()) if len(high) else 0.0)
    margin = 0.08 * (top - bottom) or 1.0
    return bottom - margin, top + margin


_POINT = 11


class WhiskerBars:
    """Vertical bars that begin at zero."""

    def __init__(self, chart: Chart) -> None:
        """Add bars without data to a chart."""
        self._item = pg.BarGraphItem(x=[0.0], height=[0.0], width=0.1, pen=None)
        chart.add_item(self._item)

    def set_data(self, x: Values, heights: Values, width: float, colors: list[QColor]) -> None:
        """Set the centers, heights, and colors of the bars."""
        brushes = [pg.mkBrush(color) for color in colors]
        self._item.setOpts(x=x, height=heights, width=width, brushes=brushes, pen=None)


class Whiskers:
    """Vertical lines with end caps, from the low to the high end of an interval."""

    def __init__(self, chart: Chart) -> None:
        """Add whiskers without data to a chart."""
        self._item = pg.ErrorBarItem(x=np.zeros(0), y=np.zeros(0), top=0.0, bottom=0.0, beam=0.1)
        chart.add_item(self._item)

    def set_data(self, x: Values, low: Values, high: Values, cap: float, color: QColor) -> None:
        """Set the positions and ends; `cap` is the width of the end caps."""
        middle = (low + high) / 2
        half = (high - low) / 2
        pen = pg.mkPen(color, width=1.5)
        self._item.setData(x=x, y=middle, top=half, bottom=half, beam=cap, pen=pen)


class Points:
    """Points with a name beside each, and lines through zero."""

    def __init__(self, chart: Chart) -> None:
        """Add no points to a chart."""
        self._chart = chart
        self._dots = pg.ScatterPlotItem(size=_POINT, pen=None)
        self._names: list[Any] = []
        self._zeros = [pg.InfiniteLine(pos=0, angle=angle) for angle in (0, 90)]
        for item in (*self._zeros, self._dots):
            chart.add_item(item)

    def set_data(
        self, x: Values, y: Values, names: Sequence[str], colors: list[QColor], ink: QColor
    ) -> None:
        """Set the points, and the color of their names."""
        self._dots.setData(x=x, y=y, brush=[pg.mkBrush(color) for color in colors])
        for line in self._zeros:
            line.setPen(pg.mkPen(self._chart.get_palette().edge, width=1))
        for item in self._names:
            self._chart.view.removeItem(item)
        self._names = []
        for left, bottom, name in zip(x, y, names, strict=True):
            item = pg.TextItem(name, color=ink, anchor=(-0.08, 0.5))
            item.setFont(theme.body_font(theme.Size.CAPTION))
            item.setPos(float(left), float(bottom))
            self._chart.view.addItem(item, ignoreBounds=True)
            self._names.append(item)
