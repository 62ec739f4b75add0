"""Settings that PyTorch reads from the environment when it is loaded."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from lora_studio.core.messages import Text, counted
from lora_studio.core.protocol import events
from lora_studio.core.system.foreign_files import read_text
from lora_studio.engine.runtime.channel import JobContext

#: Where PyTorch looks for settings of its allocator: the name since 2.9, and the earlier ones.
ALLOCATOR_VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")

#: Segments that grow. Micro-batches differ in length, so blocks of a fixed segment rarely fit the next
#: one's tensors, and memory runs out while parts of each segment are unused.
_ALLOCATOR_SETTINGS = "expandable_segments:True"

#: Exists where NVIDIA's own driver for Linux runs. Windows, its Linux subsystem, and other vendors' drivers
#: can't map memory in this way, or only in part.
_DRIVER = Path("/proc/driver/nvidia/version")


def set_torch_defaults(
    environment: MutableMapping[str, str] | None = None, *, driver: Path = _DRIVER
) -> None:
    """Set what PyTorch does on GPUs, where the environment doesn't: call it before PyTorch is imported.

    Matrix products on CUDA need no compiler, and the segments of its allocator grow. Child processes inherit it.
    """
    variables = os.environ if environment is None else environment
    # WORKAROUND: PyTorch replaces the outer product of every rotary embedding by a Triton kernel, also where
    # Triton lacks the C compiler or Python.h to build it; each model fails then (pytorch/pytorch#196977).
    variables.setdefault("TORCH_DISABLE_NATIVE_JIT", "1")
    if any(name in variables for name in ALLOCATOR_VARIABLES):
        return
    if sys.platform == "linux" and driver.exists():
        for name in ALLOCATOR_VARIABLES[:2]:
            variables[name] = _ALLOCATOR_SETTINGS


#: Parameters of mallopt(3), from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3

#: Bytes of freed memory to keep, and of a tensor whose memory is kept: a micro-batch's activations and logits.
_KEPT_BYTES = 1 << 30

#: The largest values that glibc chooses by itself.
_USUAL_TRIM_THRESHOLD, _USUAL_MMAP_THRESHOLD = 64 << 20, 32 << 20


@contextlib.contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Keep what a training step frees for the next one, on Linux with glibc.

    Otherwise each step returns its activations to the system and gets them back page by page, zeroed and
    outside of the CPU's caches. With kept memory and the worker's huge pages, five steps of SmolLM2 take
    11.3 to 14.3 s of processor time instead of 16.6 to 28.0 (one core of a virtual Xeon with AMX), and their
    peak memory is 1 to 2 % lower. A glibc that refuses a threshold of 1 GB for mmap returns large tensors as usual.
    """
    _set_thresholds(_KEPT_BYTES, _KEPT_BYTES)
    try:
        yield
    finally:
        _set_thresholds(_USUAL_TRIM_THRESHOLD, _USUAL_MMAP_THRESHOLD)
        trim_freed_memory()


def trim_freed_memory() -> None:
    """Return all freed memory to the system, on Linux with glibc."""
    if (libc := _load_glibc()) is not None:
        libc.malloc_trim(0)


def _set_thresholds(trim: int, mmap: int) -> None:
    if (libc := _load_glibc()) is not None:
        libc.mallopt(_TRIM_THRESHOLD, trim)
        libc.mallopt(_MMAP_THRESHOLD, mmap)


def _load_glibc() -> Any:
    """Return the C library if it is glibc, otherwise None."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None


# How many threads compute on the CPU, and whether waiting threads sleep: for machines with other work.
#
# OpenMP's threads wait for each other after each operation. By default they wait actively, which is
# fastest while each has a core of its own. If another program uses one of these cores, all of them wait
# for the one that was interrupted: 30 times slower than a single thread was measured. So a job uses the
# cores that are idle when it starts, and its threads sleep while they wait (OMP_WAIT_POLICY=passive).
# On an idle machine nothing is changed.

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
        job.emit(events.LogLine(text=description))


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
