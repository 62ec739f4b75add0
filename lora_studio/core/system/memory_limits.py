"""The memory limits of a process, and whether the system has killed one for exceeding them.

Only on Linux: control groups (https://docs.kernel.org/admin-guide/cgroup-v2.html and
…/cgroup-v1/memory.html), the limit on address space, /proc/vmstat. Elsewhere nothing is known.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

#: Control groups version 1 report about this many bytes for "unlimited".
_NONE = 1 << 60

_PROC = Path("/proc")


@dataclass(frozen=True)
class ControlGroup:
    """A control group that accounts for memory; every method returns None if unknown."""

    folder: Path
    version: Literal[1, 2]

    def read_limit(self) -> int | None:
        """Return the limit on the total memory of its processes, in bytes."""
        limit = _read_number(
            self.folder / ("memory.max" if self.version == 2 else "memory.limit_in_bytes")
        )
        return limit if limit is not None and limit < _NONE else None

    def read_charged(self) -> int | None:
        """Return the bytes that count against the limit, including cached files."""
        return _read_number(
            self.folder / ("memory.current" if self.version == 2 else "memory.usage_in_bytes")
        )

    def read_held(self) -> int | None:
        """Return the bytes that can't be dropped: those charged without cached files."""
        charged, facts = self.read_charged(), _read_entries(self.folder / "memory.stat")
        if charged is None:
            return None
        prefix = "" if self.version == 2 else "total_"
        cached = sum(facts.get(f"{prefix}{name}_file", 0) for name in ("active", "inactive"))
        return max(0, charged - cached)

    def read_kills(self) -> int | None:
        """Return how many of its processes have been killed for lack of memory."""
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        return _read_entries(self.folder / name).get("oom_kill")


def list_control_groups(pid: int | str = "self") -> list[ControlGroup]:
    """Return the control groups of a process, the innermost first; all their limits hold."""
    limited: list[ControlGroup] = []
    with contextlib.suppress(OSError, ValueError):
        mounts = dict(_iter_mounts())
        for line in (_PROC / str(pid) / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            version: Literal[1, 2] = 2 if not controllers else 1
            if version in mounts and (version == 2 or "memory" in controllers.split(",")):
                limited += _iter_upwards(*mounts[version], path, version)
    return [group for group in limited if group.read_charged() is not None]


def get_address_space_limit() -> int | None:
    """Return the limit on this process's address space in bytes (`ulimit -v`), None without one."""
    if sys.platform == "win32":
        return None
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY or soft >= _NONE else soft


def get_mapped_bytes() -> int:
    """Return the bytes of address space of this process, 0 if unknown."""
    try:
        return int((_PROC / "self" / "statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return 0


class KillCounter:
    """Tells whether the system has recently killed a process in the control group of a worker.

    The baseline is the sample before the last one: a process with gigabytes takes seconds to end,
    and is counted when its end starts.
    """

    def __init__(self, pid: int) -> None:
        """Take the first sample."""
        self._pid = pid
        self._group: ControlGroup | None = None
        self._before: int | None = None
        self._last: int | None = None
        self.update()
        self._before = self._last

    def update(self) -> None:
        """Take a new sample as the baseline, at most every few seconds."""
        groups = list_control_groups(self._pid)
        if groups:
            group = next((group for group in groups if group.read_kills() is not None), None)
            if group != self._group:  # moved to another group, which has its own count
                self._group, self._last = group, self._count_of(group)
        self._before, self._last = self._last, self._count_of(self._group)

    def has_risen(self) -> bool:
        """Return whether a process has been killed since the baseline."""
        now = self._count_of(self._group)
        return now is not None and self._before is not None and now > self._before

    @staticmethod
    def _count_of(group: ControlGroup | None) -> int | None:
        """Return the count of the innermost group, or of the whole machine without one."""
        if group is not None and (count := group.read_kills()) is not None:
            return count
        return _read_entries(_PROC / "vmstat").get("oom_kill")


def read_kill_counts() -> dict[str, Any]:
    """Return how many processes have been killed for lack of memory, in this one's group and in
    total.

    Another process can compare the counts (`has_risen`) after this one has ended.
    """
    group = next((each for each in list_control_groups() if each.read_kills() is not None), None)
    return {
        "boot": _read_boot_id(),
        "group": None if group is None else [str(group.folder), group.version, group.read_kills()],
        "all": _read_entries(_PROC / "vmstat").get("oom_kill"),
    }


def has_risen(before: Any) -> bool:
    """Return whether the system has killed a process for lack of memory since `read_kill_counts`.

    Compares the count of the same control group if it still exists, else the total. False for
    invalid counts, or counts from before the last boot.
    """
    try:
        if before["boot"] != _read_boot_id():
            return False
        if before["group"] is not None:
            folder, version, count = before["group"]
            if (now := ControlGroup(Path(folder), version).read_kills()) is not None:
                return now > int(count)
        now = _read_entries(_PROC / "vmstat").get("oom_kill")
        return now is not None and before["all"] is not None and now > int(before["all"])
    except (KeyError, TypeError, ValueError):
        return False


def _read_boot_id() -> str:
    """Return an ID that changes with each boot, empty if unknown."""
    with contextlib.suppress(OSError):
        return (_PROC / "sys" / "kernel" / "random" / "boot_id").read_text().strip()
    return ""


def _iter_mounts() -> Iterator[tuple[int, tuple[Path, str]]]:
    """Return version -> mount point of its memory controller, and the control group mounted there."""
    for line in (_PROC / "self" / "mountinfo").read_text().splitlines():
        mount, _, kind = line.partition(" - ")
        root, point = mount.split(" ")[3:5]
        system, _, options = kind.split(" ", 2)
        if system == "cgroup2":
            yield 2, (Path(point), root)
        elif system == "cgroup" and "memory" in options.split(","):
            yield 1, (Path(point), root)


def _iter_upwards(
    point: Path, root: str, path: str, version: Literal[1, 2]
) -> Iterator[ControlGroup]:
    inside = path.removeprefix(root) if root != "/" else path
    folder = point / inside.lstrip("/")
    if not folder.is_dir():
        folder = point  # a container that sees the host's group names
    while True:
        yield ControlGroup(folder, version)
        if folder in (point, folder.parent):
            return
        folder = folder.parent


def _read_number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # "max" is not a number
        return None


def _read_entries(file: Path) -> dict[str, int]:
    """Return the numbers in lines of a name and a number."""
    entries: dict[str, int] = {}
    with contextlib.suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            name, _, value = line.partition(" ")
            if value.isdigit():
                entries[name] = int(value)
    return entries
