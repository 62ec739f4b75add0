"""The runs of the open project, scanned in a background thread."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from PySide6.QtCore import QObject, Signal

from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.index import RunIndex, RunSummary
from lora_studio.core.runs.names import RunNames
from lora_studio.gui.threads import DetachedThread, ObsoleteResult


class RunLibrary(QObject):
    """Holds the summary of every run; never blocks the window.

    Signals:
        changed: `runs` has changed.
        ready: a scan has finished.
    """

    changed = Signal()
    ready = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        """Start without a project."""
        super().__init__(parent)
        self.runs: list[RunSummary] = []
        self.folder: Path | None = None
        self._index: RunIndex | None = None
        self._scan: _Scan | None = None
        self._needs_rescan = False
        self.is_loaded = True  # False until a project's runs have been scanned
        self._started_at = 0.0
        self.scan_seconds = 0.0  # duration of the latest scan

    def open(self, folder: Path | None) -> None:
        """Switch to another project's runs; call `refresh` to scan them."""
        self.leave()
        self.folder, self.runs = folder, []
        self._index, self.is_loaded = None, folder is None
        self.changed.emit()

    def refresh(self) -> None:
        """Scan the runs now, or again after the scan in progress."""
        if self.folder is None:
            return
        if self._scan is not None:
            self._needs_rescan = True
            return
        self._needs_rescan, self._started_at = False, time.monotonic()
        self._index = self._index or RunIndex(self.folder)
        self._scan = _Scan(self._index)
        self._scan.scanned.connect(self._on_scanned)
        self._scan.over.connect(self._on_finished)
        self._scan.start()

    def get(self, name: str) -> RunSummary | None:
        """Return a run by the name of its folder, None if there is none."""
        return next((run for run in self.runs if run.folder == name), None)

    def get_display_name(self, run: RunSummary) -> str:
        """Return the display name of a run, which is unique among the others."""
        return RunNames(self.runs).get(run)

    def run(self, name: str) -> RunFolder:
        """Return the folder of a run."""
        assert self.folder is not None
        return RunFolder(self.folder / name)

    @property
    def is_scanning(self) -> bool:
        """Whether a scan is in progress."""
        return self._scan is not None

    def leave(self) -> None:
        """Cancel the scan in progress. Can be called repeatedly."""
        if self._scan is not None:
            self._scan.forget()
            self._scan = self._index = None  # the thread may still use the index
        self._needs_rescan = False

    def _on_scanned(self, scan: object, runs: list[RunSummary]) -> None:
        if scan is self._scan and runs != self.runs:
            self.runs = runs
            self.changed.emit()

    def _on_finished(self, scan: object) -> None:
        if scan is not self._scan:  # the queued signal of a canceled scan
            return
        self._scan = None
        self.scan_seconds = time.monotonic() - self._started_at
        if not self.is_loaded:
            self.is_loaded = True
            self.changed.emit()
        self.ready.emit()
        if self._needs_rescan:
            self.refresh()


class _Scan(DetachedThread):
    """One scan: emits the cached runs first, then the current ones.

    Signals:
        scanned(scan, list[RunSummary]): runs, newest first.
        over(scan): the scan has finished.
    """

    scanned = Signal(object, object)
    over = Signal(object)

    def __init__(self, index: RunIndex) -> None:
        super().__init__()
        self._index = index

    def run(self) -> None:
        """Emit lists of runs until the scan is complete or canceled."""
        if cached := self._index.load():
            self.scanned.emit(self, cached)
        with contextlib.suppress(ObsoleteResult):
            for cached in self._index.refresh(self.cooperative_iter):
                if self.silent:
                    return
                self.scanned.emit(self, cached)
        self.over.emit(self)
