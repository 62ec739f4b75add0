"""How much memory a process may have here, and whether the system has ended one for taking more.

Linux alone tells: control groups (https://docs.kernel.org/admin-guide/cgroup-v2.html and
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

#: What version 1 of control groups writes where there is no limit is about this, in bytes.
_NONE = 1 << 60

_PROC = Path("/proc")


@dataclass(frozen=True)
class ControlGroup:
    """A control group that accounts for memory; every question answers None where nobody can tell."""

    folder: Path
    version: Literal[1, 2]

    def limit(self) -> int | None:
        """Most bytes that its processes may have together."""
        found = _number(
            self.folder / ("memory.max" if self.version == 2 else "memory.limit_in_bytes")
        )
        return found if found is not None and found < _NONE else None

    def charged(self) -> int | None:
        """Bytes that count against the limit, with cached files."""
        return _number(
            self.folder / ("memory.current" if self.version == 2 else "memory.usage_in_bytes")
        )

    def held(self) -> int | None:
        """Bytes that cannot be dropped: what is charged without cached files."""
        charged, facts = self.charged(), _entries(self.folder / "memory.stat")
        if charged is None:
            return None
        prefix = "" if self.version == 2 else "total_"
        cached = sum(facts.get(f"{prefix}{name}_file", 0) for name in ("active", "inactive"))
        return max(0, charged - cached)

    def kills(self) -> int | None:
        """Processes of it that were ended because memory ran out, since it exists."""
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        return _entries(self.folder / name).get("oom_kill")


def groups(pid: int | str = "self") -> list[ControlGroup]:
    """The groups that a process is in, the innermost first; all their limits hold."""
    found: list[ControlGroup] = []
    with contextlib.suppress(OSError, ValueError):
        mounts = dict(_mounts())
        for line in (_PROC / str(pid) / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            version: Literal[1, 2] = 2 if not controllers else 1
            if version in mounts and (version == 2 or "memory" in controllers.split(",")):
                found += _upwards(*mounts[version], path, version)
    return [group for group in found if group.charged() is not None]


def address_space() -> int | None:
    """Limit on this process's address space in bytes (`ulimit -v`), None without one."""
    if sys.platform == "win32":
        return None
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY or soft >= _NONE else soft


def mapped() -> int:
    """Bytes of address space that this process has; 0 where nobody can tell."""
    try:
        return int((_PROC / "self" / "statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return 0


class KillCounter:
    """Whether the system has ended processes in the group of a worker of late.

    That is since the look before the last one: a process with gigabytes takes seconds to end, and
    counts as ended from their beginning.
    """

    def __init__(self, pid: int) -> None:
        """Takes a first look."""
        self._pid = pid
        self._group: ControlGroup | None = None
        self._before: int | None = None
        self._last: int | None = None
        self.look()
        self._before = self._last

    def look(self) -> None:
        """Forgets what was before the last look; not oftener than every few seconds."""
        own = groups(self._pid)
        if own:
            group = next((group for group in own if group.kills() is not None), None)
            if group != self._group:  # it has moved: another count
                self._group, self._last = group, self._count_of(group)
        self._before, self._last = self._last, self._count_of(self._group)

    def has_risen(self) -> bool:
        """Whether there was such an end."""
        now = self._count_of(self._group)
        return now is not None and self._before is not None and now > self._before

    @staticmethod
    def _count_of(group: ControlGroup | None) -> int | None:
        """Of the innermost group; of the whole machine where it is in none."""
        if group is not None and (found := group.kills()) is not None:
            return found
        return _entries(_PROC / "vmstat").get("oom_kill")


def tally() -> dict[str, Any]:
    """How many processes were ended for lack of memory until now, of this one's group and of all: to be
    compared (`has_risen`) by another process, after the end of this one."""
    group = next((each for each in groups() if each.kills() is not None), None)
    return {
        "boot": _boot(),
        "group": None if group is None else [str(group.folder), group.version, group.kills()],
        "all": _entries(_PROC / "vmstat").get("oom_kill"),
    }


def has_risen(before: Any) -> bool:
    """Whether there was such an end since a `tally`, in its group where that is still there; False for
    what is no tally, or one from before the computer was started."""
    try:
        if before["boot"] != _boot():
            return False
        if before["group"] is not None:
            folder, version, count = before["group"]
            if (now := ControlGroup(Path(folder), version).kills()) is not None:
                return now > int(count)
        now = _entries(_PROC / "vmstat").get("oom_kill")
        return now is not None and before["all"] is not None and now > int(before["all"])
    except (KeyError, TypeError, ValueError):
        return False


def _boot() -> str:
    """Another one each time that the computer is started; empty where nobody can tell."""
    with contextlib.suppress(OSError):
        return (_PROC / "sys" / "kernel" / "random" / "boot_id").read_text().strip()
    return ""


def _mounts() -> Iterator[tuple[int, tuple[Path, str]]]:
    """Version -> where its memory controller is mounted, and which group that place is."""
    for line in (_PROC / "self" / "mountinfo").read_text().splitlines():
        place, _, kind = line.partition(" - ")
        root, point = place.split(" ")[3:5]
        system, _, options = kind.split(" ", 2)
        if system == "cgroup2":
            yield 2, (Path(point), root)
        elif system == "cgroup" and "memory" in options.split(","):
            yield 1, (Path(point), root)


def _upwards(point: Path, root: str, path: str, version: Literal[1, 2]) -> Iterator[ControlGroup]:
    inside = path.removeprefix(root) if root != "/" else path
    folder = point / inside.lstrip("/")
    if not folder.is_dir():
        folder = point  # a container that sees the names outside of it
    while True:
        yield ControlGroup(folder, version)
        if folder in (point, folder.parent):
            return
        folder = folder.parent


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # "max" is no number
        return None


def _entries(file: Path) -> dict[str, int]:
    """Lines of a name and a number."""
    found: dict[str, int] = {}
    with contextlib.suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            name, _, value = line.partition(" ")
            if value.isdigit():
                found[name] = int(value)
    return found
