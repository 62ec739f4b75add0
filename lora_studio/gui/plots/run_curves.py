"""The curves of runs: built from events as they come, or read from files in the background."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from functools import partial

from PySide6.QtCore import QObject, Signal

from lora_studio.core.curves.metrics import MetricSeries, build_series
from lora_studio.core.problems import Problem
from lora_studio.core.protocol import events
from lora_studio.core.protocol.training import has_rewards
from lora_studio.core.runs.facts import lost_steps_warning
from lora_studio.core.runs.folder import RunFolder
from lora_studio.gui.plots.history import MetricHistory
from lora_studio.gui.plots.trace import MarkKind
from lora_studio.gui.threads import BackgroundReader


class RunCurves:
    """The metrics of a run for drawing, and marks of events and of the user's notes."""

    def __init__(self, name: str = "", series: MetricSeries | None = None) -> None:
        """Show the metrics of a run called `name`; by default there are none yet."""
        self.name, self.series = name, series or MetricSeries()
        self.steps = MetricHistory(self.series.steps)
        self.evaluations = MetricHistory(self.series.evaluations)
        self._notes: tuple[float, ...] = ()

    def add_event(self, event: object) -> bool:
        """Add the data of an event; return whether it had any."""
        return self.series.on_event(event)

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
