"""The items of a curve chart: lines, dots and marks, thinned to the pixels available."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyqtgraph as pg
from pyqtgraph.functions import arrayToQPath, arrayToQPolygonF
from pyqtgraph.Qt.internals import PrimitiveArray
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QBrush, QColor, QPainter, QPainterPath, QPen, QPolygonF, QTransform
from PySide6.QtWidgets import QStyleOptionGraphicsItem, QWidget

from lora_studio.gui import theme
from lora_studio.gui.language import mark
from lora_studio.gui.plots.metrics import PlottedMetric
from lora_studio.gui.plots.run_curves import Curve, MarkKind, Values
from lora_studio.gui.theme import ColorPalette

#: Pixels between two points of a smoothed line; the cost of wide lines is per point.
_SMOOTH_EVERY = 3
#: Maximum number of dots on a line; with more points, only the line is drawn.
_DOTS = 120
#: Half the size of a mark, and the minimum distance between two of a kind, in pixels.
_MARK, _MARK_GAP = 4.0, 12.0
#: Half the size of the dot for a curve with a single point, in pixels.
_FIRST = 2.5


@dataclass(frozen=True)
class TraceStyle:
    """The style of a curve: color, width in pixels and opacity."""

    color: Callable[[ColorPalette], str]
    width: float = 1.0
    strength: float = 1.0
    dots: float = 0.0  # radius in pixels

    def pen(self, palette: ColorPalette) -> QPen:
        """Return the pen; a pale color is mixed instead of transparent, for even overlaps and fast painting."""
        pen = QPen(mix_colors(self.color(palette), palette.card, self.strength))
        pen.setWidthF(self.width)
        pen.setJoinStyle(Qt.PenJoinStyle.BevelJoin)
        return pen


def mix_colors(color: str, background: str, strength: float) -> QColor:
    """Return a color mixed with its background; `strength` is from 0 to 1."""
    top, bottom = QColor(color), QColor(background)
    parts = zip(top.getRgb()[:3], bottom.getRgb()[:3], strict=True)  # type: ignore[index]  # a tuple, typed as an object
    return QColor(*(round(strength * a + (1 - strength) * b) for a, b in parts))


class PixelItem(pg.GraphicsObject):
    """A plot item that covers the view and is painted in pixels."""

    def __init__(self, palette: Callable[[], ColorPalette]) -> None:
        super().__init__()
        self.palette = palette

    def boundingRect(self) -> QRectF:
        box = self.getViewBox()
        return QRectF() if box is None else box.viewRect()

    def viewTransformChanged(self) -> None:
        self.prepareGeometryChange()

    def dataBounds(self, *_: Any, **__: Any) -> None:
        """Return no bounds, since the chart sets its ranges itself."""

    def paint(
        self, painter: QPainter, option: QStyleOptionGraphicsItem, widget: QWidget | None = None
    ) -> None:
        transform = painter.worldTransform()
        painter.setWorldTransform(QTransform())
        self.paint_pixels(painter, transform)
        painter.setWorldTransform(transform)

    def paint_pixels(self, painter: QPainter, transform: QTransform) -> None:
        raise NotImplementedError


class Trace(PixelItem):
    """One curve, raw or smoothed."""

    def __init__(
        self,
        curve: Curve,
        look: TraceStyle,
        palette: Callable[[], ColorPalette],
        smoothing: Callable[[Curve], int] | None = None,
        *,
        title: str = "",
        metric: PlottedMetric,
        mark: str = "",
        tag: str = "",
        sparse: bool = False,
    ) -> None:
        """Create the trace; `smoothing` returns the window size in points; None draws every peak.

        `title` and `mark` identify the trace in the readout, and `tag` is the letter at its end. A
        `sparse` trace has values at few steps and is read only near them.
        """
        super().__init__(palette)
        self.curve, self.look, self._smoothing = curve, look, smoothing
        self.title, self.metric, self.mark = title, metric, mark
        self.tag, self.sparse = tag, sparse
        self.log = False
        self._key: tuple[Any, ...] = ()
        self._points: tuple[Values, Values] = (np.empty(0), np.empty(0))

    def width(self) -> int:
        """Return the number of points averaged; 0 without smoothing."""
        return self._smoothing(self.curve) if self._smoothing else 0

    def get_value_near(self, step: float, reach: float = math.inf) -> float | None:
        """Return the value nearest to a step, averaged as drawn; None if there is none.

        A sparse trace has a value up to `reach` steps away, any other from its first to its last
        step.
        """
        index = self.curve.history.find_nearest(step)
        if index is None:
            return None
        steps, width = self.curve.steps, self.width()
        if self.sparse:
            if abs(float(steps[index]) - step) > reach:
                return None
        elif not steps[0] <= step <= steps[-1]:
            return None
        value = (
            float(self.curve.compute_mean(np.array([index]), width)[0])
            if width > 1
            else float(self.curve.values[index])
        )
        return None if np.isnan(value) else value

    def get_points(self, low: float, high: float, columns: int) -> tuple[Values, Values]:
        """Return the points drawn between two steps; on a logarithmic axis, values are powers of ten."""
        width = self.width()
        key = (low, high, columns, width, self.log)
        if key != self._key:
            if width > 1:
                x, y = self.curve.smooth(low, high, columns // _SMOOTH_EVERY, width)
            else:
                x, y = self.curve.thin(low, high, columns)
            if self.log:
                y = np.log10(np.where(y > 0, y, np.nan))
            self._key, self._points = key, (x, y)
        return self._points

    def refresh(self) -> None:
        """Redraw after a change of the curve."""
        self._key = ()
        self.update()

    def get_shown_points(self) -> tuple[Values, Values]:
        """Return the points in the current view."""
        box = self.getViewBox()
        low, high = box.viewRange()[0]
        return self.get_points(low, high, max(2, int(box.width())))

    def get_pixels(self, transform: QTransform) -> tuple[Values, Values]:
        """Return the points in the current view, in pixels."""
        x, y = self.get_shown_points()
        return transform.m11() * x + transform.dx(), transform.m22() * y + transform.dy()

    def paint_pixels(self, painter: QPainter, transform: QTransform) -> None:
        px, py = self.get_pixels(transform)
        if not len(px):
            return
        palette = self.palette()
        pen = self.look.pen(palette)
        # A jagged line looks the same without antialiasing, which makes it several times as fast.
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, self.look.width > 1)
        painter.setPen(pen)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        if len(px) == 1 and not self.look.dots:  # one value is drawn as a dot
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QBrush(pen.color()))
            painter.drawEllipse(QPointF(px[0], py[0]), _FIRST, _FIRST)
        elif len(px) > 1 and px[0] == px[1]:
            _fill_columns(painter, pen, px, py)
        elif np.isfinite(py).all():
            painter.drawPolyline(arrayToQPolygonF(px, py))
        else:
            painter.drawPath(arrayToQPath(px, py, connect="finite"))
        if self.look.dots and len(px) <= _DOTS:
            painter.setPen(QPen(QColor(palette.card), 1.0))
            painter.setBrush(QBrush(QColor(self.look.color(palette))))
            for at in zip(px[np.isfinite(py)], py[np.isfinite(py)], strict=True):
                painter.drawEllipse(QPointF(*at), self.look.dots, self.look.dots)


def _fill_columns(painter: QPainter, pen: QPen, px: Values, py: Values) -> None:
    """Draw pairs of extremes as one vertical line per pixel column.

    Filled rectangles take less than half the time of a polyline.
    """
    width = pen.widthF()
    lower, upper = np.fmax(py[0::2], py[1::2]), np.fmin(py[0::2], py[1::2])  # y grows downwards
    # Extended to meet the previous column, as the line would.
    bottom, top = lower.copy(), upper.copy()
    bottom[1:], top[1:] = np.fmax(lower[1:], upper[:-1]), np.fmin(upper[1:], lower[:-1])
    finite = np.isfinite(bottom) & np.isfinite(top)
    rects = PrimitiveArray(QRectF, 4)
    rects.resize(int(finite.sum()))
    corners = rects.ndarray()
    corners[:, 0] = px[0::2][finite] - width / 2
    corners[:, 1] = top[finite] - width / 2
    corners[:, 2] = width
    corners[:, 3] = (bottom - top)[finite] + width
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(pen.color())
    painter.drawRects(*rects.drawargs())


#: Names of the marks in the legend and the readout.
MARK_NAMES: dict[MarkKind, str] = {
    "checkpoint": mark("checkpoint"),
    "recovered": mark("memory ran out"),
    "paused": mark("paused"),
    "resumed": mark("resumed"),
    "note": mark("your note"),
}
_MARK_ROLES: dict[MarkKind, str] = {
    "checkpoint": "muted", "recovered": "warn", "paused": "accent", "resumed": "accent",
    "note": "text",
}  # fmt: skip


#: Horizontal offset in pixels, because a training is resumed at the step where it was paused.
_ASIDE: dict[MarkKind, float] = {"paused": -_MARK - 1, "resumed": _MARK + 1}


def mark_color(kind: MarkKind, palette: ColorPalette) -> str:
    """Return the color of a kind of mark."""
    return str(getattr(palette, _MARK_ROLES[kind]))


class TraceMarkers(PixelItem):
    """Marks of events along the lower edge, and of notes along the upper edge."""

    def __init__(self, palette: Callable[[], ColorPalette]) -> None:
        super().__init__(palette)
        self._steps: dict[MarkKind, Values] = {}
        self._shown: list[tuple[float, MarkKind]] = []

    def measure_height(self) -> float:
        """Return the height in pixels that curves leave free for marks."""
        return 2 * _MARK + 2 if any(kind != "note" for _, kind in self._shown) else 0.0

    def set_marks(self, marks: Sequence[tuple[float, MarkKind]]) -> None:
        """Replace all marks; does nothing if they are unchanged."""
        if list(marks) == self._shown:
            return
        self._shown = list(marks)
        steps_of: dict[MarkKind, list[float]] = {}
        for step, kind in marks:
            steps_of.setdefault(kind, []).append(step)
        self._steps = {kind: np.unique(np.array(steps)) for kind, steps in steps_of.items()}
        self.update()

    def paint_pixels(self, painter: QPainter, transform: QTransform) -> None:
        (low, high), (bottom, top) = self.getViewBox().viewRange()
        base = transform.m22() * bottom + transform.dy() - _MARK - 1
        roof = transform.m22() * top + transform.dy()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        for kind, steps in self._steps.items():
            color, shape = QColor(mark_color(kind, self.palette())), mark_shape(kind)
            shown = transform.m11() * steps[(steps >= low) & (steps <= high)] + transform.dx()
            for x in _spread(shown):
                if kind != "checkpoint":  # rare, and the curve may change here
                    painter.setPen(QPen(mix_colors(color.name(), self.palette().card, 0.45), 1.0))
                    painter.drawLine(QPointF(x, roof), QPointF(x, base - _MARK - 2))
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(color)
                height = roof + _MARK if kind == "note" else base
                painter.drawPath(shape.translated(x + _ASIDE.get(kind, 0.0), height))


def mark_shape(kind: MarkKind) -> QPainterPath:
    """Return the outline of a mark around its center."""
    path, r = QPainterPath(), _MARK
    match kind:
        case "checkpoint":
            corners = [(0, -r), (r, 0), (0, r), (-r, 0)]
        case "recovered":
            corners = [(0, -r), (r, r), (-r, r)]
        case "resumed":
            corners = [(-r + 1, -r), (r, 0), (-r + 1, r)]
        case "note":
            corners = [(0, -r), (2 * r, -r / 4), (0, r / 2)]
        case "paused":
            path.addRect(-r + 1, -r, 2, 2 * r)
            path.addRect(1, -r, 2, 2 * r)
            return path
    path.addPolygon(QPolygonF([QPointF(x, y) for x, y in corners]))
    path.closeSubpath()
    return path


def _spread(pixels: Values) -> list[float]:
    """Return ascending positions without overlapping ones."""
    spaced: list[float] = []
    slots = np.unique(np.round(pixels / _MARK_GAP), return_index=True)[1]
    for x in pixels[slots]:
        if not spaced or x - spaced[-1] >= _MARK_GAP:
            spaced.append(float(x))
    return spaced


#: Size of a letter's box at 100 %, its distance from the end of the line, and the distance of one move
#: to a free position; in pixels.
_SIDE, _GAP, _STEP = 14, 5, 3
#: Maximum number of moves up and down before the position with the fewest overlaps is used.
_TRIES = 16


def measure_margin() -> int:
    """Return the width in pixels that a chart keeps free after its lines."""
    return theme.Size.scaled(_SIDE) + _GAP


class CurveLabels(PixelItem):
    """Letters that overlap neither lines nor each other, if there is space."""

    def __init__(
        self, palette: Callable[[], ColorPalette], traces: Callable[[], Sequence[Trace]]
    ) -> None:
        """Label the drawn traces."""
        super().__init__(palette)
        self._traces = traces

    def list_boxes(self, transform: QTransform) -> list[tuple[Trace, QRectF]]:
        """Return the box of each letter in pixels."""
        lines = [
            (trace, *trace.get_pixels(transform)) for trace in self._traces() if trace.isVisible()
        ]
        tagged, ends = [], []
        for trace, px, py in lines:
            finite = np.flatnonzero(np.isfinite(py))
            if trace.tag and not trace.look.dots and len(finite):
                tagged.append(trace)
                ends.append(QPointF(px[finite[-1]], py[finite[-1]]))
        view = transform.mapRect(self.boundingRect())
        return list(
            zip(tagged, arrange_boxes(ends, [line[1:] for line in lines], view), strict=True)
        )

    def paint_pixels(self, painter: QPainter, transform: QTransform) -> None:
        palette = self.palette()
        painter.setFont(theme.body_font(theme.Size.CAPTION, bold=True))
        for trace, box in self.list_boxes(transform):
            painter.fillRect(box, QColor(palette.card))
            painter.setPen(QColor(trace.look.color(palette)))
            painter.drawText(box, Qt.AlignmentFlag.AlignCenter, trace.tag)


def arrange_boxes(
    ends: Sequence[QPointF], lines: Sequence[tuple[Values, Values]], view: QRectF
) -> list[QRectF]:
    """Return a box behind each end, in the vertical order of the ends; those of equal ends are
    below one another, and all of them together are moved to where the fewest lines cross them."""
    side = float(theme.Size.scaled(_SIDE))
    lefts = [min(end.x() + _GAP, view.right() - side) for end in ends]
    box_of: dict[int, QRectF] = {}
    for group in _group_neighbors(lefts, side):
        group.sort(key=lambda index: ends[index].y())
        tops = _separate([ends[index].y() - side / 2 for index in group], side, view)
        free = range(-_TRIES, _TRIES + 1)
        tried = [
            [
                QRectF(lefts[index], top + _STEP * move, side, side)
                for index, top in zip(group, tops, strict=True)
            ]
            for move in sorted(free, key=abs)
            if view.top() <= tops[0] + _STEP * move or move == 0
            if tops[-1] + _STEP * move + side <= view.bottom() or move == 0
        ]
        best = min(tried, key=lambda boxes: sum(_count_touched(box, lines) for box in boxes))
        box_of.update(zip(group, best, strict=True))
    return [box_of[index] for index in range(len(ends))]


def _group_neighbors(lefts: Sequence[float], side: float) -> list[list[int]]:
    """Yield groups of boxes that could overlap."""
    groups: list[list[int]] = []
    for index in sorted(range(len(lefts)), key=lambda index: lefts[index]):
        if groups and lefts[index] - lefts[groups[-1][-1]] < side:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def _separate(tops: Sequence[float], side: float, view: QRectF) -> list[float]:
    """Return top edges in the same order, one side apart and inside the view if they fit."""
    lowest = view.bottom() - side * len(tops)
    moved: list[float] = []
    for number, top in enumerate(tops):
        after = moved[-1] + side if moved else view.top()
        moved.append(min(max(top, after), max(lowest + side * number, after)))
    return moved


def _count_touched(box: QRectF, lines: Sequence[tuple[Values, Values]]) -> int:
    """Return the number of lines through a box."""
    columns = np.linspace(box.left(), box.right(), 5)
    count = 0
    for px, py in lines:
        if not len(px):
            continue
        inside = py[(px >= box.left()) & (px <= box.right())]
        heights = np.append(np.interp(columns, px, py, left=np.nan, right=np.nan), inside)
        heights = heights[np.isfinite(heights)]
        count += bool(
            len(heights) and heights.min() < box.bottom() + 1 and heights.max() > box.top() - 1
        )
    return count
