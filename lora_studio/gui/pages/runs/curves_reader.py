"""Reader for the metrics of plotted runs, in background threads."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from PySide6.QtCore import QObject, Signal

from lora_studio.core.curves import metrics
from lora_studio.core.problems import Problem
from lora_studio.core.runs.facts import lost_steps_warning
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.index import RunSummary
from lora_studio.gui.plots.run_curves import RunCurves
from lora_studio.gui.threads import BackgroundReader

#: Minimum seconds between two reads of a run in progress; each reads the whole file.
_REREAD_EVERY = 10.0


class RunCurvesReader(QObject):
    """Reads metrics in one thread per run, and caches them while the run is plotted.

    Signals:
        changed: new metrics of a plotted run are available.
        failed(name, problem): a run couldn't be read.
        warned(problem): metrics of a run are missing; once for each run and each number of them.
    """

    changed = Signal()
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

    def set_runs(self, runs: Sequence[tuple[RunFolder, RunSummary, str]]) -> None:
        """Set the plotted runs as (folder, summary, name), and read those that have changed."""
        folders = {summary.folder for _, summary, _ in runs}
        for name in [name for name in self._curves if name not in folders]:
            self._drop(name)
            del self._curves[name]
            self._as_of.pop(name, None)
        for run, summary, title in runs:
            name = summary.folder
            self.get_curves(name).name = title
            changed, read = self._as_of.get(name, (-1.0, 0.0))
            is_due = read == 0.0 or time.monotonic() - read > _REREAD_EVERY
            if name not in self._threads and changed != summary.changed and is_due:
                self._as_of[name] = (summary.changed, time.monotonic())
                self._start(name, run)

    def leave(self) -> None:
        """Stop all threads. Can be called repeatedly."""
        for name in list(self._threads):
            self._drop(name)

    def _start(self, name: str, run: RunFolder) -> None:
        thread = BackgroundReader(partial(_read_series, run), self)
        thread.done.connect(partial(self._on_read, name, run))
        thread.failed.connect(partial(self._on_failed, name))
        thread.finished.connect(partial(self._on_finished, name, thread))
        self._threads[name] = thread
        thread.start()

    def _on_read(self, name: str, run: RunFolder, series: object) -> None:
        assert isinstance(series, metrics.MetricSeries)
        if name in self._curves:
            self._curves[name] = RunCurves.from_series(self._curves[name].name, series)
            self.changed.emit()
            self._warn(name, lost_steps_warning(run, series.lost))

    def _warn(self, name: str, warning: Problem | None) -> None:
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


def _read_series(run: RunFolder, thread: BackgroundReader) -> metrics.MetricSeries:
    run.events_file.stat()  # raises if the file is missing, which `iter_events` ignores
    return metrics.build_series(thread.cooperative_iter(run.iter_events()))
