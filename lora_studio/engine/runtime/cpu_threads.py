"""How many threads compute on the CPU, and whether waiting threads sleep: for machines with other work.

OpenMP's threads wait for each other after each operation. By default they wait actively, which is
fastest while each has a core of its own. If another program uses one of these cores, all of them wait
for the one that was interrupted: 30 times slower than a single thread was measured. So a job uses the
cores that are idle when it starts, and its threads sleep while they wait (OMP_WAIT_POLICY=passive).
On an idle machine nothing is changed.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from lora_studio.core.messages import Text, counted
from lora_studio.core.protocol import events
from lora_studio.core.system.foreign_files import read_text
from lora_studio.engine.runtime.channel import JobContext

#: Seconds over which the load of the processors is measured.
_INTERVAL = 0.4

#: Cores in use by other programs from which the machine counts as shared.
_BUSY = 0.5

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


@dataclass(frozen=True)
class ThreadChoice:
    """`threads` to compute with, None for the library's default, on `cores`, of which others use `busy`."""

    cores: int
    busy: float = 0.0
    threads: int | None = None
    is_passive: bool = False

    def describe(self) -> Text | None:
        """Return what was chosen and why, None for the default."""
        if self.threads is None:
            return None
        if not self.is_passive:
            return counted(
                self.threads,
                "Computing with {n} thread, because this program may use that many processors.",
                "Computing with {n} threads, because this program may use that many processors.",
            )
        return counted(
            self.threads,
            "Computing with {n} thread: other programs use {busy:.1f} of {cores} processors.",
            "Computing with {n} threads: other programs use {busy:.1f} of {cores} processors.",
            busy=self.busy,
            cores=self.cores,
        )


def count_cores() -> int:
    """Return how many processors this program may use, by its affinity and by its cgroup's quota."""
    allowed = len(_get_allowed_cores())
    quota = read_quota()
    return max(1, min(allowed, int(quota))) if quota is not None else allowed


def read_quota(groups: Path = _CGROUPS, own: Path = _OWN_CGROUP) -> float | None:
    """Return the processors that the cgroup of this process may use on average, None without a limit.

    Containers are limited this way, which no count of processors shows. Each group above the own one
    limits it as well.
    """
    try:
        entries = read_text(own).splitlines()
    except OSError:
        return None
    quotas: list[float] = []
    for entry in entries:
        _, controllers, path = entry.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = groups / controllers if controllers else groups
        folder = root / path.lstrip("/")
        # In a container the path is that of the host, and the root is the own group.
        for group in (folder, *folder.parents):
            if (quota := _read_quota_of(group)) is not None:
                quotas.append(quota)
            if group == root:
                break
    return min(quotas, default=None)


def _read_quota_of(group: Path) -> float | None:
    """Return the quota of one cgroup of version 2 or 1."""
    try:
        if (group / "cpu.max").is_file():
            allowed, period = read_text(group / "cpu.max").split()
        else:
            allowed = read_text(group / "cpu.cfs_quota_us").strip()
            period = read_text(group / "cpu.cfs_period_us")
        microseconds = -1.0 if allowed == "max" else float(allowed)
        return microseconds / float(period) if microseconds > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


def choose_threads(cores: int, allowed: int, busy: float, sustained: float) -> ThreadChoice:
    """Return the choice for `cores` processors, of `allowed` that this program may run on.

    `busy` is the number of the allowed processors that other programs use now, `sustained` that of the
    last minute: a short burst must not halve the speed of a training that takes hours.
    """
    if busy < _BUSY:
        return ThreadChoice(cores, busy, cores if cores < allowed else None)
    idle = max(1, min(cores, round(allowed - min(busy, sustained))))
    return ThreadChoice(cores, busy, idle, is_passive=True)


def choose_for_job(job: JobContext, threads: int | None = None) -> None:
    """Choose threads for this process before PyTorch is loaded, and say so in the log of the job.

    Without effect once PyTorch is loaded, or if OMP_NUM_THREADS is set. `threads` is the number that an
    earlier part of the job used: another one would round sums differently.
    """
    if "torch" in sys.modules or os.environ.get("OMP_NUM_THREADS"):
        return
    cores = count_cores()
    busy = measure_busy_cores()
    choice = choose_threads(cores, len(_get_allowed_cores()), busy, read_load(busy))
    if threads is not None and threads <= cores:
        choice = ThreadChoice(cores, choice.busy, threads, is_passive=choice.is_passive)
    if choice.threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(choice.threads)
    if choice.is_passive:
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if (description := choice.describe()) is not None:
        job.emit(events.Log(text=description))


def measure_busy_cores(interval: float = _INTERVAL) -> float:
    """Return how many of the processors of this program other programs use, over some time."""
    before, own, started = _read_busy_seconds(), time.process_time(), time.monotonic()
    time.sleep(interval)
    elapsed = time.monotonic() - started
    used = _read_busy_seconds() - before - (time.process_time() - own)
    return max(0.0, used / elapsed)


def read_load(default: float) -> float:
    """Return the load of the last minute in processors; `default` where the system has no such number."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else default


def _read_busy_seconds() -> float:
    cores = psutil.cpu_times(percpu=True)
    allowed = _get_allowed_cores()
    return sum(
        sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)
        for number, times in enumerate(cores)
        if number in allowed
    )


def _get_allowed_cores() -> set[int]:
    if sys.platform == "linux":
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))
