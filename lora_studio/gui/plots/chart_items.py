"""Items of a chart of scores: bars from zero, whiskers of intervals, and named points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtGui import QColor

from lora_studio.gui import theme
from lora_studio.gui.plots.chart import Chart, Values

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
