"""The curves of runs: built from events as they come, or read from files in the background."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QObject, Signal

from lora_studio.core.curves.metrics import MetricSeries, MetricTable, Milestone, build_series
from lora_studio.core.problems import Problem
from lora_studio.core.protocol import events
from lora_studio.core.protocol.training import has_rewards
from lora_studio.core.runs.facts import lost_steps_warning
from lora_studio.core.runs.folder import RunFolder
from lora_studio.gui.threads import BackgroundReader

#: What is marked at a step.
MarkKind = Milestone | Literal["note"]


class RunCurves:
    """The metrics of a run for drawing, and marks of events and of the user's notes."""

    def __init__(self, name: str = "", series: MetricSeries | None = None) -> None:
        """Show the metrics of a run called `name`; by default there are none yet."""
        self.name, self.series = name, series or MetricSeries()
        self.steps = MetricHistory(self.series.steps)
        self.evaluations = MetricHistory(self.series.evaluations)
        self._notes: tuple[float, ...] = ()

    @property
    def has_rewards(self) -> bool:
        """Whether these are the curves of reward training."""
        return has_rewards(self.series.steps.columns)

    @property
    def main(self) -> str:
        """The quantity that shows how well training goes: the loss, or the mean reward."""
        return events.REWARD if self.has_rewards else "loss"

    def clear(self) -> None:
        """Remove everything."""
        self.series.clear()
        self._notes = ()

    @property
    def marks(self) -> list[tuple[float, MarkKind]]:
        """Return events and the user's notes, each with its step."""
        return [*((step, "note") for step in self._notes), *self.series.marks]

    def set_notes(self, steps: Iterable[float]) -> bool:
        """Set the steps with notes; return whether they changed."""
        previous, self._notes = self._notes, tuple(steps)
        return self._notes != previous

    def mark_kinds(self) -> list[MarkKind]:
        """Return the kinds of marks, in order of first occurrence; notes come last."""
        noted: list[MarkKind] = ["note"] if self._notes else []
        return [*dict.fromkeys(kind for _, kind in self.series.marks), *noted]

    def list_marks_near(self, step: float, reach: float) -> list[MarkKind]:
        """Return the kinds of events within `reach` steps of a step, each once."""
        return list(dict.fromkeys(kind for at, kind in self.marks if abs(at - step) <= reach))


#: Minimum seconds between two reads of a run in progress; each reads the whole file.
_REREAD_EVERY = 10.0


class RunCurvesReader(QObject):
    """Reads metrics in one thread per run, and caches them while the run is plotted.

    Signals:
        changed(name): new metrics of a plotted run are available.
        failed(name, problem): a run couldn't be read.
        warned(problem): metrics of a run are missing; once for each run and each number of them.
    """

    changed = Signal(str)
    failed = Signal(str, object)
    warned = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        """Start without runs."""
        super().__init__(parent)
        self._curves: dict[str, RunCurves] = {}
        self._as_of: dict[str, tuple[float, float]] = {}  # time of the change, time of the read
        self._threads: dict[str, BackgroundReader] = {}
        self._warnings: dict[str, Problem] = {}

    def get_curves(self, name: str) -> RunCurves:
        """Return the curves of a run as far as they have been read."""
        return self._curves.setdefault(name, RunCurves(name))

    @property
    def is_reading(self) -> bool:
        """Whether a run is being read."""
        return bool(self._threads)

    def set_runs(self, runs: Sequence[tuple[str, RunFolder, str, float]]) -> None:
        """Set the plotted runs as (name, folder, title, time of its change), and read those that have changed."""
        plotted = {name for name, *_ in runs}
        for name in [name for name in self._curves if name not in plotted]:
            self._drop(name)
            del self._curves[name]
            self._as_of.pop(name, None)
        for name, run, title, changed in runs:
            self.get_curves(name).name = title
            before, read = self._as_of.get(name, (-1.0, 0.0))
            is_due = read == 0.0 or time.monotonic() - read > _REREAD_EVERY
            if name not in self._threads and before != changed and is_due:
                self._as_of[name] = (changed, time.monotonic())
                self._start(name, run)

    def stop_background_work(self) -> None:
        """Stop all threads. Can be called repeatedly."""
        for name in list(self._threads):
            self._drop(name)

    def _start(self, name: str, run: RunFolder) -> None:
        thread = BackgroundReader(partial(read_series, run), self)
        thread.done.connect(partial(self._on_read, name, run))
        thread.failed.connect(partial(self._on_failed, name))
        thread.finished.connect(partial(self._on_finished, name, thread))
        self._threads[name] = thread
        thread.start()

    def _on_read(self, name: str, run: RunFolder, series: object) -> None:
        assert isinstance(series, MetricSeries)
        if name in self._curves:
            self._curves[name] = RunCurves(self._curves[name].name, series)
            self.changed.emit(name)
            warning = lost_steps_warning(run, series.lost)
            if warning is not None and self._warnings.get(name) != warning:
                self._warnings[name] = warning
                self.warned.emit(warning)

    def _on_failed(self, name: str, problem: Problem) -> None:
        self._as_of.pop(name, None)
        self.failed.emit(name, problem)

    def _on_finished(self, name: str, thread: BackgroundReader) -> None:
        if self._threads.get(name) is thread:
            del self._threads[name]
            thread.deleteLater()

    def _drop(self, name: str) -> None:
        if (thread := self._threads.pop(name, None)) is not None:
            thread.drop()
            thread.deleteLater()


def read_series(run: RunFolder, thread: BackgroundReader) -> MetricSeries:
    """Return the metrics of a run; raises OSError."""
    run.events_file.stat()  # raises if the file is missing, which `iter_events` ignores
    return build_series(thread.cooperative_iter(run.iter_events()))


Values = npt.NDArray[np.float64]

#: Values of each step that count instead of measuring; they aren't plotted.
_COUNTERS = ("epoch", "tokens")

#: Number of values in a block of the first level, and of blocks in a block of the next level.
_FACTOR = 8
#: Minimum number of blocks per pixel column in the level that is drawn.
_BLOCKS_PER_COLUMN = 4
#: Minimum number of points that a smoothed line averages over.
_NARROWEST = 5


class MetricHistory:
    """The quantities of a table by step, as arrays.

    They are views, while which exist the table can't grow: use them before the next event.
    """

    def __init__(self, table: MetricTable) -> None:
        """Show a table, which may grow."""
        self.table = table
        self._curves: dict[str, Curve] = {}

    def __len__(self) -> int:
        return len(self.table.steps)

    @property
    def steps(self) -> Values:
        """All steps in ascending order."""
        return np.asarray(self.table.steps)

    @property
    def names(self) -> list[str]:
        """Quantities to plot, in order of appearance."""
        return [name for name in self.table.columns if name not in _COUNTERS]

    def values(self, name: str) -> Values:
        """Return one value per step; those that are missing are NaN."""
        column = self.table.columns.get(name)
        return np.full(len(self), np.nan) if column is None else np.asarray(column)

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


class Curve:
    """One quantity with a pyramid of extremes and running sums, so that drawing is cheap.

    Level k stores the minimum and maximum of blocks of 8^(k+1) points. The mean of any window is
    computed from two entries of the sums. Both grow with the history, and start over when it is rewound.
    """

    def __init__(self, history: MetricHistory, name: str) -> None:
        """Create the curve; call `MetricHistory.get_curve` instead of this."""
        self.history, self.name = history, name
        self._start_over()

    def _start_over(self) -> None:
        self._rewinds = self.history.table.rewinds
        self._sums, self._counts = array("d", [0.0]), array("d", [0.0])
        self._levels: list[tuple[array[float], array[float]]] = []

    @property
    def steps(self) -> Values:
        """All steps."""
        return self.history.steps

    @property
    def values(self) -> Values:
        """The value at each step."""
        return self.history.values(self.name)

    def thin(self, low: float, high: float, columns: int) -> tuple[Values, Values]:
        """Return the points to draw between two steps: all, or the extremes per column.

        No peak is lost. One point on each side is included, so that a line continues to the edge.
        """
        steps, values = self.steps, self.values
        first = max(0, int(np.searchsorted(steps, low)) - 1)
        last = min(len(steps), int(np.searchsorted(steps, high, "right")) + 1)
        if last - first <= 2 * columns:
            return steps[first:last].copy(), _keep_finite(values[first:last])
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

    def get_window(self, share: float) -> int:
        """Return the number of points to average over for a share of all steps; 0 for none."""
        return max(_NARROWEST, round(share * len(self.steps))) if share else 0

    def compute_mean(self, index: npt.NDArray[np.int64], width: int) -> Values:
        """Return the mean over `width` points around each of the given points."""
        self._extend_sums()
        half, size = width // 2, len(self.steps)
        low, high = np.maximum(index - half, 0), np.minimum(index + half + 1, size)
        sums, counts = np.asarray(self._sums), np.asarray(self._counts)
        number = counts[high] - counts[low]
        result: Values = np.full(len(index), np.nan)
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
        lows, highs = (np.asarray(extremes)[begin:end] for extremes in self._levels[level])
        if end * block < last:
            rest = _keep_finite(self.values[end * block : last])
            lows = np.append(lows, np.fmin.reduce(rest))
            highs = np.append(highs, np.fmax.reduce(rest))
        return self.steps[begin * block : last : block], lows, highs

    def _extend_sums(self) -> None:
        if self._rewinds != self.history.table.rewinds:
            self._start_over()
        fresh = self.values[len(self._sums) - 1 :]
        if len(fresh):
            finite = np.isfinite(fresh)
            _extend(self._sums, self._sums[-1] + np.cumsum(np.where(finite, fresh, 0.0)))
            _extend(self._counts, self._counts[-1] + np.cumsum(finite))

    def _extend_levels(self, count: int) -> None:
        if self._rewinds != self.history.table.rewinds:
            self._start_over()
        while len(self._levels) < count:
            self._levels.append((array("d"), array("d")))
        below = (_keep_finite(self.values[len(self._levels[0][0]) * _FACTOR :]),) * 2
        for number, level in enumerate(self._levels):
            if number:
                covered = len(level[0]) * _FACTOR
                lower = self._levels[number - 1]
                below = (np.asarray(lower[0])[covered:], np.asarray(lower[1])[covered:])
            for extremes, part, reduce in zip(level, below, (np.fmin, np.fmax), strict=True):
                blocks = len(part) // _FACTOR
                reduced = reduce.reduce(part[: blocks * _FACTOR].reshape(blocks, _FACTOR), 1)
                _extend(extremes, reduced)


def _extend(numbers: array[float], more: Values) -> None:
    numbers.frombytes(more.astype(np.float64).tobytes())


def _keep_finite(values: Values) -> Values:
    return np.where(np.isfinite(values), values, np.nan)
