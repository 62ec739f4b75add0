"""Locks of open files, which the operating system releases when the process ends."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import IO

if sys.platform == "win32":
    import msvcrt

    def try_lock(file: IO[bytes]) -> bool:
        """Lock one byte far beyond the content, so that the content stays readable."""
        try:
            os.lseek(file.fileno(), 1 << 30, os.SEEK_SET)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(file.fileno(), 0, os.SEEK_SET)
        return True

    def is_locked(file: IO[bytes]) -> bool:
        """Return whether another process has locked a file."""
        return not try_lock(file)

    def unlock(file: IO[bytes]) -> None:
        """Do nothing: closing the file unlocks it."""

    def hold_shared(descriptor: int) -> None:
        """Do nothing: Windows refuses to delete an open file."""

    def unlink_if_unlocked(file: Path) -> None:
        """Delete a file; Windows refuses to delete an open one, with an OSError."""
        file.unlink()
else:
    import fcntl

    def try_lock(file: IO[bytes]) -> bool:
        """Lock a file for this process alone; return False if another process has locked it."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def is_locked(file: IO[bytes]) -> bool:
        """Try a shared lock, so that processes that check at the same time don't mistake each other
        for holders.
        """
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        return False

    def unlock(file: IO[bytes]) -> None:
        """Release the lock of a file, also if a child process has inherited it."""
        fcntl.flock(file, fcntl.LOCK_UN)

    def hold_shared(descriptor: int) -> None:
        """Mark an open file as in use until it is closed, where the file system supports it.

        Waits while `unlink_if_unlocked` decides about the file.
        """
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_SH)

    def unlink_if_unlocked(file: Path) -> None:
        """Delete a file unless a living process has marked or locked it; may raise OSError."""
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.unlink()
        finally:
            os.close(descriptor)
