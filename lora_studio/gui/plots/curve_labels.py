"""Letters at the ends of lines, because color alone doesn't distinguish them for everyone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QTransform

from lora_studio.gui import theme
from lora_studio.gui.plots.history import Values
from lora_studio.gui.plots.trace import PixelItem, Trace
from lora_studio.gui.theme import ColorPalette

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
        tops = _spread([ends[index].y() - side / 2 for index in group], side, view)
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


def _spread(tops: Sequence[float], side: float, view: QRectF) -> list[float]:
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
