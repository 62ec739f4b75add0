"""Allow one job per GPU at a time, with a lock file for each device in the user's data folder.

A worker holds the locks of its devices for as long as it uses them. Other windows, projects and
command lines can see the holder; the operating system frees a lock when its worker dies.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_studio.core.messages import Text
from lora_studio.core.problems import Problem, Where, warning
from lora_studio.core.system import paths
from lora_studio.core.system.locks import FileLock

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
