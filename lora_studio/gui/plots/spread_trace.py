"""A band around a curve: its mean plus and minus the standard deviation of what it averages."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QPainter, QPolygonF, QTransform

from lora_studio.gui.plots.history import Curve, Values
from lora_studio.gui.plots.measures import Measure
from lora_studio.gui.plots.trace import Trace, TraceStyle, mix_colors
from lora_studio.gui.theme import ColorPalette

#: Pixels between two points of the band.
_EVERY = 3
#: Opacity of the band.
_STRENGTH = 0.16


class SpreadTrace(Trace):
    """Fills the range from `mean - spread` to `mean + spread`; its value in the readout is the spread."""

    def __init__(
        self,
        mean: Curve,
        spread: Curve,
        color: Callable[[ColorPalette], str],
        palette: Callable[[], ColorPalette],
        smoothing: Callable[[Curve], int] | None,
        *,
        measure: Measure,
        title: str = "",
    ) -> None:
        """Draw both curves, smoothed over the same points."""
        look = TraceStyle(color, 1.0, _STRENGTH)
        super().__init__(spread, look, palette, smoothing, measure=measure, title=title, mark="▒")
        self._mean = mean

    def get_band(self) -> tuple[Values, Values, Values]:
        """Return steps, lower, and upper edge in the current view, without steps that lack either curve."""
        box = self.getViewBox()
        (low, high), width = box.viewRange()[0], max(1, self.width())
        columns = max(2, int(box.width()) // _EVERY)
        x, mean = self._mean.smooth(low, high, columns, width)
        _, spread = self.curve.smooth(low, high, columns, width)
        lower, upper = mean - spread, mean + spread
        if self.log:
            lower, upper = (np.log10(np.where(edge > 0, edge, np.nan)) for edge in (lower, upper))
        known = np.isfinite(lower) & np.isfinite(upper)
        return x[known], lower[known], upper[known]

    def get_shown_points(self) -> tuple[Values, Values]:
        """Return the points of both edges."""
        x, lower, upper = self.get_band()
        return np.concatenate([x, x[::-1]]), np.concatenate([upper, lower[::-1]])

    def paint_pixels(self, painter: QPainter, transform: QTransform) -> None:
        px, py = self.get_pixels(transform)
        if len(px) < 4:  # one step is a dot of the mean
            return
        palette = self.palette()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(mix_colors(self.look.color(palette), palette.card, _STRENGTH))
        painter.drawPolygon(QPolygonF([QPointF(*at) for at in zip(px, py, strict=True)]))
