"""File locks held by the operating system, which releases them when the holding process ends.

The package filelock (4.3.1) doesn't fit: it can't test whether another process holds a lock without
acquiring it (`is_locked` is about the object itself), and such a test can make another process fail
to acquire it. On Windows, according to its source, it locks byte 0 with LockFileEx, where the
content about the holder is. It would also be an additional dependency of the window, and its
acquire and release took 625 µs against 55 µs here.
"""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import IO, Any

from lora_studio.core.system.descriptor_locks import is_locked, try_lock, unlock
from lora_studio.core.system.foreign_files import open_own, read_json

#: Seconds between two attempts to acquire a lock.
_INTERVAL = 0.05


class FileLock:
    """A lock file whose content describes the process that holds it."""

    def __init__(self, path: Path) -> None:
        """Set the path of the lock file; the file isn't touched yet."""
        self._path = path
        self._file: IO[bytes] | None = None

    def acquire(self, content: dict[str, Any], seconds: float = 0.0) -> bool:
        """Acquire the lock and write its holder; return False if another process still holds it
        after `seconds`.

        A process that only checks the lock also holds it for a moment.
        """
        until = time.monotonic() + seconds
        file = open_own(self._path, "ab+")
        while not try_lock(file):
            if time.monotonic() >= until:
                file.close()
                return False
            time.sleep(_INTERVAL)
        self._file = file
        try:
            self.note(content)
        except OSError:
            self.release()
            raise
        return True

    def note(self, content: dict[str, Any]) -> None:
        """Replace the content about the holder; call it only while holding the lock."""
        assert self._file is not None
        self._file.truncate(0)
        self._file.write(json.dumps(content).encode())
        self._file.flush()

    def release(self) -> None:
        """Release the lock and erase the content about its holder; does nothing if it isn't held."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.truncate(0)
            unlock(self._file)  # a forked child may have the file open as well
            file, self._file = self._file, None
            with contextlib.suppress(OSError):  # what it couldn't write is about the holder
                file.close()

    def read_holder(self) -> dict[str, Any]:
        """Return the content written by the lock's holder; {} if there is none, or while it writes."""
        return self._content() if self.is_held() else {}

    def read_stale_holder(self) -> dict[str, Any]:
        """Return the content written by a process that died without releasing the lock; {} if none
        did.
        """
        return {} if self.is_held() else self._content()

    def is_held(self) -> bool:
        """Return whether any process holds the lock now."""
        try:
            file = open_own(self._path, "rb+")
        except OSError:
            return False
        with file:
            return is_locked(file)

    def _content(self) -> dict[str, Any]:
        try:
            content = read_json(self._path)
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}
