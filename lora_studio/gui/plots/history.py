"""Metrics of a training run by step, stored in full and thinned for drawing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from lora_studio.core.curves.metrics import MetricColumn

Values = npt.NDArray[np.float64]

#: Number of values in a block of the first level, and of blocks in a block of the next level.
_FACTOR = 8
#: Maximum number of points that are buffered before they are moved into the arrays.
_MOST_PENDING = 2048
#: Minimum number of blocks per pixel column in the level that is drawn.
_BLOCKS_PER_COLUMN = 4


class _Growing:
    """An array that grows by 50 % when it is full."""

    def __init__(self, fill: float = math.nan, size: int = 0) -> None:
        """Create it with `size` values of `fill`."""
        self._room: Values = np.full(max(256, size), fill)
        self.size = size

    @property
    def values(self) -> Values:
        return self._room[: self.size]

    def extend(self, more: Values) -> None:
        needed = self.size + len(more)
        if needed > len(self._room):
            larger: Values = np.empty(needed + needed // 2)
            larger[: self.size] = self.values
            self._room = larger
        self._room[self.size : needed] = more
        self.size = needed

    def truncate(self, size: int) -> None:
        self.size = min(self.size, size)


class MetricHistory:
    """Quantities by ascending step; missing values are NaN.

    Adding a point only appends to a list; `flush` moves many at once into the arrays.
    """

    def __init__(self) -> None:
        """Create an empty history."""
        self._pending: list[tuple[float, Mapping[str, float | None]]] = []
        self._steps = _Growing()
        self._columns: dict[str, _Growing] = {}
        self._curves: dict[str, Curve] = {}

    def __len__(self) -> int:
        self.flush()
        return self._steps.size

    def add(self, step: float, values: Mapping[str, float | None]) -> None:
        """Add a point; a step that isn't after the last one replaces the tail (training resumed)."""
        self._pending.append((step, values))
        if (
            len(self._pending) >= _MOST_PENDING
        ):  # in batches, because a million at once would take a second
            self.flush()

    def fill(self, columns: Mapping[str, MetricColumn]) -> None:
        """Fill an empty history with whole columns."""
        measured = {name: column for name, column in columns.items() if len(column)}
        every = [np.frombuffer(column.steps, np.int64) for column in measured.values()]
        steps = np.unique(np.concatenate(every)) if every else np.empty(0)
        self._steps.extend(steps.astype(np.float64))
        for (name, column), target in zip(measured.items(), every, strict=True):
            values = np.full(len(steps), np.nan)
            values[np.searchsorted(steps, target)] = np.frombuffer(column.values, np.float64)
            self._columns[name] = _Growing()
            self._columns[name].extend(values)

    def clear(self) -> None:
        """Remove all points and quantities; existing curves become empty."""
        self._pending = []
        self._truncate(0)
        self._columns = {}

    def truncate_after(self, step: float) -> None:
        """Remove the points after a step."""
        self._truncate(int(np.searchsorted(self.steps, step, "right")))

    @property
    def steps(self) -> Values:
        """All steps in ascending order."""
        self.flush()
        return self._steps.values

    @property
    def names(self) -> list[str]:
        """Recorded quantities, in order of appearance."""
        self.flush()
        return list(self._columns)

    def values(self, name: str) -> Values:
        """Return one value per step."""
        self.flush()
        column = self._columns.get(name)
        return column.values if column else np.full(self._steps.size, np.nan)

    def get_curve(self, name: str) -> Curve:
        """Return a quantity for drawing."""
        return self._curves.setdefault(name, Curve(self, name))

    def find_nearest(self, step: float) -> int | None:
        """Return the index of the point nearest to a step, None without points."""
        steps = self.steps
        if not len(steps):
            return None
        right = int(np.searchsorted(steps, step))
        around = [index for index in (right - 1, right) if 0 <= index < len(steps)]
        return min(around, key=lambda index: abs(float(steps[index]) - step))

    def flush(self) -> None:
        """Move added points into the arrays."""
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        begin = 0
        for end in range(1, len(pending) + 1):
            if end == len(pending) or pending[end][0] <= pending[end - 1][0]:
                self._extend(pending[begin:end])
                begin = end

    def _extend(self, points: list[tuple[float, Mapping[str, float | None]]]) -> None:
        """Append points with ascending steps."""
        steps = np.array([step for step, _ in points], np.float64)
        if self._steps.size and steps[0] <= self._steps.values[-1]:
            self._truncate(int(np.searchsorted(self._steps.values, steps[0])))
        names = dict.fromkeys(
            name for _, values in points for name, v in values.items() if v is not None
        )
        for name in names:
            if name not in self._columns:
                self._columns[name] = _Growing(size=self._steps.size)
        for name, column in self._columns.items():
            column.extend(_make_column(name, (values for _, values in points), len(points)))
        self._steps.extend(steps)

    def _truncate(self, size: int) -> None:
        self._steps.truncate(size)
        for column in self._columns.values():
            column.truncate(size)
        for curve in self._curves.values():
            curve.truncate(size)


def _make_column(name: str, points: Iterable[Mapping[str, float | None]], count: int) -> Values:
    column = (values.get(name) for values in points)
    return np.fromiter((math.nan if v is None else v for v in column), np.float64, count)


class Curve:
    """One quantity with a pyramid of extremes and running sums, so that drawing is cheap.

    Level k stores the minimum and maximum of blocks of 8^(k+1) points. The mean of any window is
    computed from two entries of the sums. Both grow with the history and are never rebuilt.
    """

    def __init__(self, history: MetricHistory, name: str) -> None:
        """Create the curve; call `MetricHistory.get_curve` instead of this."""
        self.history, self.name = history, name
        self._sums, self._counts = _Growing(0.0, 1), _Growing(0.0, 1)
        self._levels: list[tuple[_Growing, _Growing]] = []

    @property
    def steps(self) -> Values:
        """All steps."""
        return self.history.steps

    @property
    def values(self) -> Values:
        """The value at each step."""
        return self.history.values(self.name)

    def truncate(self, size: int) -> None:
        """Discard values computed from points after `size`."""
        for sums in (self._sums, self._counts):
            sums.truncate(size + 1)
        for number, level in enumerate(self._levels):
            for extremes in level:
                extremes.truncate(size // _FACTOR ** (number + 1))

    def thin(self, low: float, high: float, columns: int) -> tuple[Values, Values]:
        """Return the points to draw between two steps: all, or the extremes per column.

        No peak is lost. One point on each side is included, so that a line continues to the edge.
        """
        steps, values = self.steps, self.values
        first = max(0, int(np.searchsorted(steps, low)) - 1)
        last = min(len(steps), int(np.searchsorted(steps, high, "right")) + 1)
        if last - first <= 2 * columns:
            return steps[first:last], _keep_finite(values[first:last])
        edges = np.linspace(low, high, columns + 1)
        begins, lows, highs = self._compute_extremes(first, last, columns)
        # A block belongs to the column of its first point.
        bounds = np.searchsorted(begins, edges)
        bounds[0], bounds[-1] = 0, len(begins)
        filled = np.flatnonzero(np.diff(bounds) > 0)
        starts = bounds[filled]
        x = np.repeat((edges[filled] + edges[filled + 1]) / 2, 2)
        y = np.empty(2 * len(filled))
        y[0::2], y[1::2] = np.fmin.reduceat(lows, starts), np.fmax.reduceat(highs, starts)
        return x, y

    def smooth(self, low: float, high: float, columns: int, width: int) -> tuple[Values, Values]:
        """Return means over `width` points between two steps, at most one per column.

        The window is narrower at the ends; values that aren't finite are skipped.
        """
        steps = self.steps
        first = max(0, int(np.searchsorted(steps, low)) - 1)
        last = min(len(steps), int(np.searchsorted(steps, high, "right")) + 1)
        if last <= first:
            return np.empty(0), np.empty(0)
        count = min(last - first, columns)
        index = np.unique(np.linspace(first, last - 1, count).astype(np.int64))
        return steps[index], self.compute_mean(index, max(width, (last - first) // columns))

    def condense(self, most: int) -> list[tuple[int, float]]:
        """Return steps and values, or means if there are more than `most`."""
        if not len(self.steps):
            return []
        x, y = self.smooth(self.steps[0], self.steps[-1], most, 1)
        return [(int(step), float(value)) for step, value in zip(x, y, strict=True)]

    def compute_mean(self, index: npt.NDArray[np.int64], width: int) -> Values:
        """Return the mean over `width` points around each of the given points."""
        self._extend_sums()
        half, size = width // 2, len(self.steps)
        low, high = np.maximum(index - half, 0), np.minimum(index + half + 1, size)
        number = self._counts.values[high] - self._counts.values[low]
        result: Values = np.full(len(index), np.nan)
        sums = self._sums.values
        np.divide(sums[high] - sums[low], number, out=result, where=number > 0)
        return result

    def _compute_extremes(
        self, first: int, last: int, columns: int
    ) -> tuple[Values, Values, Values]:
        """Return the first step and the extremes of each block of points."""
        level, block = -1, 1
        while (last - first) >= columns * _BLOCKS_PER_COLUMN * block * _FACTOR:
            level, block = level + 1, block * _FACTOR
        if level < 0:
            part = _keep_finite(self.values[first:last])
            return self.steps[first:last], part, part
        self._extend_levels(level + 1)
        begin, end = first // block, last // block
        lows, highs = (extremes.values[begin:end] for extremes in self._levels[level])
        if end * block < last:
            rest = _keep_finite(self.values[end * block : last])
            lows = np.append(lows, np.fmin.reduce(rest))
            highs = np.append(highs, np.fmax.reduce(rest))
        return self.steps[begin * block : last : block], lows, highs

    def _extend_sums(self) -> None:
        fresh = self.values[self._sums.size - 1 :]
        if len(fresh):
            finite = np.isfinite(fresh)
            self._sums.extend(self._sums.values[-1] + np.cumsum(np.where(finite, fresh, 0.0)))
            self._counts.extend(self._counts.values[-1] + np.cumsum(finite))

    def _extend_levels(self, count: int) -> None:
        while len(self._levels) < count:
            self._levels.append((_Growing(), _Growing()))
        below = (_keep_finite(self.values[self._levels[0][0].size * _FACTOR :]),) * 2
        for number, level in enumerate(self._levels):
            if number:
                covered = level[0].size * _FACTOR
                lower = self._levels[number - 1]
                below = (lower[0].values[covered:], lower[1].values[covered:])
            for extremes, part, reduce in zip(level, below, (np.fmin, np.fmax), strict=True):
                blocks = len(part) // _FACTOR
                extremes.extend(reduce.reduce(part[: blocks * _FACTOR].reshape(blocks, _FACTOR), 1))


def _keep_finite(values: Values) -> Values:
    return np.where(np.isfinite(values), values, np.nan)
