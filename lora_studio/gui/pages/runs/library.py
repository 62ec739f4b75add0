"""The runs of the open project as the window knows them, looked at in a thread of its own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from PySide6.QtCore import QObject, Signal

from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.index import RunIndex, RunSummary
from lora_studio.core.runs.names import RunNames
from lora_studio.gui.threads import DetachedThread, ObsoleteResult

#: Seconds of reading after which the window gets its turn, and how long that is.
_TURN, _REST = 0.003, 0.001


class RunLibrary(QObject):
    """Knows every run; never makes the window wait.

    Signals:
        changed: `runs` is another list.
        ready: a look at all runs has ended.
    """

    changed = Signal()
    ready = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        """Of no project yet."""
        super().__init__(parent)
        self.runs: list[RunSummary] = []
        self.folder: Path | None = None
        self._index: RunIndex | None = None
        self._scan: _Scan | None = None
        self._again = False
        self._begun = 0.0
        self.took = 0.0  # seconds of the latest look

    def open(self, folder: Path | None) -> None:
        """The runs of another project, which are looked at when somebody asks with `refresh`."""
        self.leave()
        self.folder, self.runs = folder, []
        self._index = None
        self.changed.emit()

    def refresh(self) -> None:
        """Looks at the runs now, or once more when a look is under way."""
        if self.folder is None:
            return
        if self._scan is not None:
            self._again = True
            return
        self._again, self._begun = False, time.monotonic()
        self._index = self._index or RunIndex(self.folder)
        self._scan = _Scan(self._index)
        self._scan.found.connect(self._found)
        self._scan.over.connect(self._finished)
        self._scan.start()

    def get(self, name: str) -> RunSummary | None:
        """A run by the name of its folder."""
        return next((run for run in self.runs if run.folder == name), None)

    def called(self, run: RunSummary) -> str:
        """What a run is called among the others."""
        return RunNames(self.runs).of(run)

    def run(self, name: str) -> RunFolder:
        """The folder of a run."""
        assert self.folder is not None
        return RunFolder(self.folder / name)

    @property
    def is_looking(self) -> bool:
        """Whether a look is under way."""
        return self._scan is not None

    def leave(self) -> None:
        """Ends a look that is under way; harmless when done twice."""
        if self._scan is not None:
            self._scan.forget()
            self._scan = self._index = None  # it may have the index in its hands still
        self._again = False

    def _found(self, scan: object, runs: list[RunSummary]) -> None:
        if scan is self._scan and runs != self.runs:
            self.runs = runs
            self.changed.emit()

    def _finished(self, scan: object) -> None:
        if scan is not self._scan:  # one that was forgotten had its last word on the way
            return
        self._scan = None
        self.took = time.monotonic() - self._begun
        self.ready.emit()
        if self._again:
            self.refresh()


class _Scan(DetachedThread):
    """One look: first what the cache knows, then what is true.

    Signals:
        found(scan, list[RunSummary]): newest first.
        over(scan): nothing more comes.
    """

    found = Signal(object, object)
    over = Signal(object)

    def __init__(self, index: RunIndex) -> None:
        super().__init__()
        self._index = index

    def run(self) -> None:
        """Passes lists on; ends early when nobody waits."""
        if known := self._index.load():
            self.found.emit(self, known)
        with contextlib.suppress(ObsoleteResult):
            for known in self._index.refresh(self._cooperative_iter):
                if self.silent:
                    return
                self.found.emit(self, known)
        self.over.emit(self)

    def _cooperative_iter(self, names: Iterable[str]) -> Iterator[str]:
        begun = time.perf_counter()
        for name in names:
            yield name
            if time.perf_counter() - begun > _TURN:
                if self.isInterruptionRequested():
                    raise ObsoleteResult
                time.sleep(_REST)
                begun = time.perf_counter()
