"""Reads the curves of ticked runs in threads of their own and keeps them while they are ticked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from PySide6.QtCore import QObject, Signal

from lora_studio.core.curves import metrics
from lora_studio.core.problems import Problem
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.index import RunSummary
from lora_studio.gui.plots.run_curves import RunCurves
from lora_studio.gui.threads import BackgroundReader

#: Seconds between two readings of a run that goes on: the whole of it is read each time.
_AGAIN = 10.0


class RunCurvesReader(QObject):
    """One thread for each run that is read.

    Signals:
        changed: curves of a ticked run are there, or are other ones.
        failed(name, problem): a run could not be read.
    """

    changed = Signal()
    failed = Signal(str, object)

    def __init__(self, parent: QObject | None = None) -> None:
        """Nothing is ticked."""
        super().__init__(parent)
        self._curves: dict[str, RunCurves] = {}
        self._as_of: dict[str, tuple[float, float]] = {}  # change of the run, moment of reading
        self._threads: dict[str, BackgroundReader] = {}

    def curves(self, name: str) -> RunCurves:
        """The curves of a run as far as they are read."""
        return self._curves.setdefault(name, RunCurves(name))

    def want(self, runs: Sequence[tuple[RunFolder, RunSummary, str]]) -> None:
        """The ticked runs as they are now, with their names: those new or gone on with are read."""
        wanted = {summary.folder for _, summary, _ in runs}
        for name in [name for name in self._curves if name not in wanted]:
            self._drop(name)
            del self._curves[name]
            self._as_of.pop(name, None)
        for run, summary, said in runs:
            name = summary.folder
            self.curves(name).name = said
            changed, read = self._as_of.get(name, (-1.0, 0.0))
            is_due = read == 0.0 or time.monotonic() - read > _AGAIN
            if name not in self._threads and changed != summary.changed and is_due:
                self._as_of[name] = (summary.changed, time.monotonic())
                self._begin(name, run)

    def leave(self) -> None:
        """Ends every reading; harmless when done twice."""
        for name in list(self._threads):
            self._drop(name)

    def _begin(self, name: str, run: RunFolder) -> None:
        thread = BackgroundReader(partial(_series_of, run), self)
        thread.done.connect(partial(self._was_read, name))
        thread.failed.connect(partial(self._not_read, name))
        thread.finished.connect(partial(self._ended, name, thread))
        self._threads[name] = thread
        thread.start()

    def _was_read(self, name: str, found: object) -> None:
        assert isinstance(found, metrics.MetricSeries)
        if name in self._curves:
            self._curves[name] = RunCurves.of_series(self._curves[name].name, found)
            self.changed.emit()

    def _not_read(self, name: str, problem: Problem) -> None:
        self._as_of.pop(name, None)
        self.failed.emit(name, problem)

    def _ended(self, name: str, thread: BackgroundReader) -> None:
        if self._threads.get(name) is thread:
            del self._threads[name]
            thread.deleteLater()

    def _drop(self, name: str) -> None:
        if (thread := self._threads.pop(name, None)) is not None:
            thread.drop()
            thread.deleteLater()


def _series_of(run: RunFolder, thread: BackgroundReader) -> metrics.MetricSeries:
    run.events_file.stat()  # a run that cannot be read says so; `events` passes it over
    return metrics.series(thread.cooperative_iter(run.events()))
