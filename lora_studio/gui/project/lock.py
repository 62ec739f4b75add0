"""The lock of an open project, which only one window may write to."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from PySide6.QtCore import QFileSystemWatcher, QObject, Signal

from lora_studio.core.problems import Problem, Where, warning
from lora_studio.core.project.project import Draft
from lora_studio.core.system.locks import FileLock

CODE = "project.open_elsewhere"


class ProjectLock(QObject):
    """A hidden file next to the project file, locked by the window that has the project open.

    Signals:
        called: bring this window to the front; another one was asked to open its project.
    """

    called = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        """Create it without a lock."""
        super().__init__(parent)
        self._lock: FileLock | None = None
        self._file: Path | None = None
        self._watcher = QFileSystemWatcher(self)
        self._watcher.fileChanged.connect(self._on_changed)

    def acquire(self, project: Path | None) -> Problem | None:
        """Lock a project file instead of the previous one; return a problem if it is locked.

        A read-only folder, or a disk without locks, is not a problem.
        """
        self.release()
        if project is None:
            return None
        file = _get_lock_file(project)
        lock = FileLock(file)
        try:
            acquired = lock.acquire({"pid": os.getpid()})
        except OSError:
            return None
        if not acquired:
            return _problem(project) if lock.read_holder() else None
        self._lock, self._file = lock, file
        self._watcher.addPath(str(file))
        return None

    def is_held_elsewhere(self, project: Path) -> bool:
        """Return whether another window has a project open."""
        file = _get_lock_file(project)
        return file != self._file and bool(FileLock(file).read_holder())

    def release(self) -> None:
        """Release the lock; safe to call without one."""
        if self._file is not None:
            self._watcher.removePath(str(self._file))
        if self._lock is not None:
            self._lock.release()
        self._lock = self._file = None

    def call(self, project: Path) -> None:
        """Ask the window that has a project open to come to the front, through the lock file that it watches."""
        with contextlib.suppress(OSError):
            os.utime(_get_lock_file(project))

    def _on_changed(self, name: str) -> None:
        if self._file is not None and name == str(self._file):
            self.called.emit()


def is_guest(draft: Draft) -> bool:
    """Return whether another window has the project open for editing, and so is in charge of its jobs."""
    return draft.read_only is not None and draft.read_only.code == CODE


def _get_lock_file(project: Path) -> Path:
    return project.with_name(f".{project.name}.lock")


def _problem(project: Path) -> Problem:
    return warning(
        CODE,
        "{name} is open in another window, so it is read-only here.",
        "Continue in that window, or close it and reopen the project. You can save changes you make "
        "here under another name.",
        where=Where(file=str(project)),
        name=project.stem,
    )
