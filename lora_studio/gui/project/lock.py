"""One window writes a project: who has it open, and how to bring that window before the others."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from PySide6.QtCore import QFileSystemWatcher, QObject, Signal

from lora_studio.core.problems import Problem, Where
from lora_studio.core.system.locks import FileLock
from lora_studio.gui.language import mark, tr

_WHAT = mark("{name} is open in another window, so it cannot be changed here.")
_REMEDY = mark(
    "Go on in that window, or close it and open the project again. What you change here can be saved "
    "under another name."
)
CODE = "project.open_elsewhere"


class ProjectLock(QObject):
    """A hidden file beside the project's, locked by the operating system while a window has it open.

    Signals:
        called: another window was asked to show this one.
    """

    called = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        """Nothing is held."""
        super().__init__(parent)
        self._lock: FileLock | None = None
        self._file: Path | None = None
        self._watcher = QFileSystemWatcher(self)
        self._watcher.fileChanged.connect(self._changed)

    def acquire(self, project: Path | None) -> Problem | None:
        """Takes the lock of a project file and gives back the one before; the problem when it is held.

        A folder that cannot be written to, or a disk that knows no locks, is no obstacle.
        """
        self.release()
        if project is None:
            return None
        file = _lock_file(project)
        lock = FileLock(file)
        try:
            acquired = lock.acquire({"pid": os.getpid()})
        except OSError:
            return None
        if not acquired:
            return _problem(project) if lock.holder() else None
        self._lock, self._file = lock, file
        self._watcher.addPath(str(file))
        return None

    def release(self) -> None:
        """Gives the lock back; harmless when none is held."""
        if self._file is not None:
            self._watcher.removePath(str(self._file))
        if self._lock is not None:
            self._lock.release()
        self._lock = self._file = None

    def call(self, project: Path) -> None:
        """Asks the window that has a project open to come forward: it watches its lock file."""
        with contextlib.suppress(OSError):
            os.utime(_lock_file(project))

    def _changed(self, name: str) -> None:
        if self._file is not None and name == str(self._file):
            self.called.emit()


def _lock_file(project: Path) -> Path:
    return project.with_name(f".{project.name}.lock")


def _problem(project: Path) -> Problem:
    return Problem(
        code=CODE,
        what=tr(_WHAT).format(name=project.stem),
        remedy=tr(_REMEDY),
        where=Where(file=str(project)),
        severity="warning",
    )
