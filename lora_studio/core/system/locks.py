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
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lora_studio.core.messages import Text
from lora_studio.core.problems import Problem, Where, warning
from lora_studio.core.system import paths
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


# Allow one job per GPU at a time, with a lock file for each device in the user's data folder.
#
# A worker holds the locks of its devices for as long as it uses them. Other windows, projects and
# command lines can see the holder; the operating system frees a lock when its worker dies.

#: Seconds between two attempts.
_EVERY = 0.5
_UNSAFE = re.compile(r"[^\w.-]+")


@dataclass(frozen=True)
class DeviceIdentity:
    """A device: a key that is unique on this machine, and a title for people."""

    key: str
    title: Text | str


@dataclass(frozen=True)
class LockHolder:
    """The holder of a device lock: its run, its job, and its process."""

    run: str = ""
    doing: str = ""
    pid: int = 0

    @classmethod
    def from_content(cls, content: dict[str, object]) -> LockHolder:
        """Return the holder from the content of a lock file, even if it is invalid."""
        pid = content.get("pid", 0)
        return cls(
            str(content.get("run", "")),
            str(content.get("doing", "")),
            pid if isinstance(pid, int) else 0,
        )


def get_lock(device: DeviceIdentity) -> FileLock:
    """Return the lock of a device."""
    return FileLock(_get_folder() / f"{_UNSAFE.sub('-', device.key)}.lock")


def find_holder(device: DeviceIdentity) -> LockHolder | None:
    """Return the current holder of a device, None if it is free."""
    content = get_lock(device).read_holder()
    return LockHolder.from_content(content) if content else None


def lock_devices(
    devices: Sequence[DeviceIdentity],
    holder_info: LockHolder,
    waits: Callable[[DeviceIdentity, LockHolder], object],
) -> list[FileLock]:
    """Wait until all devices are free and lock them; release the locks to free them.

    `waits` is called repeatedly with the busy device; what it raises ends the wait with nothing locked.
    Every job locks devices in the same order, so that no two jobs wait for each other.
    """
    locks: list[FileLock] = []
    content = {
        "pid": holder_info.pid or os.getpid(),
        "run": holder_info.run,
        "doing": holder_info.doing,
        "since": time.time(),
    }
    try:
        _get_folder().mkdir(parents=True, exist_ok=True)
        for device in sorted(set(devices), key=lambda device: device.key):
            lock = get_lock(device)
            while not lock.acquire(content):
                if holder := find_holder(device):  # None: locked only for a check or just now
                    waits(device, holder)
                time.sleep(_EVERY if holder else _EVERY / 10)
            locks.append(lock)
    except OSError:  # a read-only data folder doesn't prevent training
        return locks
    except BaseException:
        for lock in locks:
            lock.release()
        raise
    return locks


@contextlib.contextmanager
def hold_devices(
    devices: Sequence[DeviceIdentity],
    holder_info: LockHolder,
    waits: Callable[[DeviceIdentity, LockHolder], object],
) -> Iterator[None]:
    """Hold devices while the block runs, after waiting for them as `lock_devices` does."""
    locks = lock_devices(devices, holder_info, waits)
    try:
        yield
    finally:
        for lock in locks:
            lock.release()


def device_busy_problem(device: DeviceIdentity, holder: LockHolder) -> Problem:
    """Return the problem that a job waits for a device."""
    run = Path(holder.run) if holder.run else None
    what = (
        "{device} is in use by {run} in {folder}." if run else "{device} is in use by another job."
    )
    return warning(
        "device.busy",
        what,
        "This job starts automatically when the other one ends. You can also cancel one of the jobs, "
        "or choose another device on the Model page.",
        where=Where(file=holder.run or None),
        device=device.title,
        run=run.name if run else "",
        folder=str(run.parent.parent) if run else "",
    )


def _get_folder() -> Path:
    return paths.get_data_folder() / "devices"
