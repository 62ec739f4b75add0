"""Locks in files, kept by the operating system: free again once the process that held one is gone."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import IO, Any


class FileLock:
    """One file; whoever holds it has written into it who that is."""

    def __init__(self, path: Path) -> None:
        """Takes the path of the lock file; nothing is touched yet."""
        self._path = path
        self._file: IO[bytes] | None = None

    def acquire(self, content: dict[str, Any]) -> bool:
        """Takes the lock and writes who holds it; False when another process does."""
        file = self._path.open("a+b")
        if not _try_lock(file):
            file.close()
            return False
        file.truncate(0)
        file.write(json.dumps(content).encode())
        file.flush()
        self._file = file
        return True

    def release(self) -> None:
        """Gives the lock back; harmless when it is not held."""
        if self._file is not None:
            _unlock(self._file)  # a forked child may have the file open as well
            self._file.close()
            self._file = None

    def holder(self) -> dict[str, Any]:
        """What the process that holds the lock has written; {} while none does, or it is writing."""
        if not self.is_held():
            return {}
        try:
            content = json.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def is_held(self) -> bool:
        """Whether any process holds the lock now."""
        try:
            file = self._path.open("r+b")
        except OSError:
            return False
        with file:
            return not _try_lock(file)


if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[bytes]) -> bool:
        """Locks one byte far behind the content, so that the content stays readable."""
        try:
            os.lseek(file.fileno(), 1 << 30, os.SEEK_SET)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(file.fileno(), 0, os.SEEK_SET)
        return True

    def _unlock(file: IO[bytes]) -> None:
        """Closing it is enough."""
else:
    import fcntl

    def _try_lock(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def _unlock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)
