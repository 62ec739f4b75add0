"""Limit the memory of a worker while it reads files that somebody else may have prepared.

The bounds of `core/limits.py` keep reading below 1 GB. This is for what they don't cover, such as a
compressed page whose size is known only after it was unpacked: an allocation beyond the limit fails
(Linux), or the worker ends (elsewhere). The window and all other workers are unaffected.

`LORA_STUDIO_READER_MEMORY` sets the limit in bytes.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lora_studio.core import limits
from lora_studio.core.dataset.spec import DataSource
from lora_studio.core.problems import Problem, ProblemError, Where, error
from lora_studio.core.protocol import commands, events
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import is_out_of_memory

VARIABLE = "LORA_STUDIO_READER_MEMORY"

#: Commands that need little more than a scan of their dataset.
_SCANNING = (
    commands.InspectDataset, commands.ReadRows, commands.ShowRow, commands.LintDataset,
)  # fmt: skip

#: Seconds between two looks at the memory of this process where the system has no limit for it.
_INTERVAL = 0.1

_DATA = re.compile(r"^VmData:\s*(\d+) kB$", re.MULTILINE)


def make_memory_countable() -> None:
    """Let Arrow allocate only what it needs: what its default allocator reserves would count against the limit.

    Call it before Arrow is imported. Child processes inherit it.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


def get_allowance(command: commands.Job | commands.Question) -> int | None:
    """Return the bytes that a command may add to the memory of its worker, None without a limit."""
    if not command.reads_foreign_files:
        return None
    return _get_reading_allowance(
        command.dataset.sources if isinstance(command, _SCANNING) else None
    )


def _get_reading_allowance(sources: Sequence[DataSource] | None) -> int:
    """Return the bytes that reading may take, less if it is only a scan of sources."""
    if chosen := os.environ.get(VARIABLE, ""):
        with contextlib.suppress(ValueError):
            return int(float(chosen))
    import psutil

    most = min(limits.READER_MEMORY, psutil.virtual_memory().total // 2)
    sizes = [None] if sources is None else [_get_size(Path(source.path)) for source in sources]
    if None in sizes:
        return most
    # a scan needs a few blocks, and an index of the rows
    return min(most, limits.SCAN_MEMORY + sum(size or 0 for size in sizes))


def _get_size(path: Path) -> int | None:
    """Return the size of a file, None for anything else."""
    try:
        return path.stat().st_size if path.is_file() else None
    except (OSError, ValueError):
        return None


def exceeded_problem(file: str, allowance: int) -> Problem:
    """Return the problem of a command that needs more memory than it may use."""
    return error(
        "worker.memory_limit",
        "Reading {file} needs more than {limit:memory} of memory, so it was stopped."
        if file
        else "Reading needs more than {limit:memory} of memory, so it was stopped.",
        "LoRA Studio and your project are fine. The file may be damaged or made to use up memory: check "
        "where it comes from. If you trust it, save its rows as JSON lines.",
        where=Where(file=file or None),
        file=Path(file).name,
        limit=allowance,
    )


@contextlib.contextmanager
def limit_reading(source: DataSource, job: JobContext) -> Iterator[None]:
    """Let the block, which reads data for a training or another job, add as much memory as a scan may.

    Raises ProblemError beyond that. A command that only reads foreign files has its limit already.
    """
    with ScanMemoryLimit(source, job).enter():
        yield


class ScanMemoryLimit:
    """Lets the reading of a source in several turns add as much memory in all as a scan may.

    What other code adds between the turns, such as a model that works on the rows, doesn't count.
    """

    def __init__(self, source: DataSource, job: JobContext) -> None:
        """Measure the memory of this process."""
        self._job, self._allowance = job, _get_reading_allowance([source])
        self._start = self._last = _read_memory()

    @contextlib.contextmanager
    def enter(self) -> Iterator[None]:
        """Let the block read; raises ProblemError if this and earlier blocks need too much memory."""
        if self._job.reports_files:
            yield
            return
        used = _read_memory()
        self._start += max(0, used - self._last)
        remaining = max(0, self._start + self._allowance - used)
        try:
            with limit_memory(remaining, lambda: end_process(self._job, self._allowance)):
                yield
        except Exception as exception:
            if is_out_of_memory(exception):
                problem = exceeded_problem(self._job.file, self._allowance)
                raise ProblemError(problem) from exception
            raise
        finally:
            self._last = _read_memory()


def end_process(job: JobContext, allowance: int) -> None:
    """End this process because a job needs more memory than it may use; called from another thread."""
    job.emit(events.Failed(problem=exceeded_problem(job.file, allowance)))
    job.channel.drain()
    os._exit(1)


@contextlib.contextmanager
def limit_memory(allowance: int | None, on_exceeded: Callable[[], None]) -> Iterator[None]:
    """Let the block add at most `allowance` bytes to the memory of this process.

    Beyond that, allocations raise MemoryError on Linux. Elsewhere `on_exceeded` is called from
    another thread, and has to end the process.
    """
    if allowance is None:
        yield
    elif sys.platform == "linux" and (used := _read_data_size()):
        with _limit_data(used + allowance):
            yield
    else:
        with watch_memory(allowance, on_exceeded):
            yield


@contextlib.contextmanager
def _limit_data(size: int) -> Iterator[None]:
    """Limit the private writable memory of this process, which mapped files don't belong to."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bounds = [bound for bound in (size, soft, hard) if bound != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(bounds), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _read_data_size() -> int:
    """Return the private writable memory of this process in bytes, 0 if unknown."""
    try:
        match = _DATA.search(Path("/proc/self/status").read_text("ascii"))
    except (OSError, ValueError):
        return 0
    return 1024 * int(match[1]) if match else 0


def _read_memory() -> int:
    """Return the memory of this process that `limit_memory` limits, in bytes."""
    import psutil

    used = _read_data_size() if sys.platform == "linux" else 0
    return used or int(psutil.Process().memory_info().rss)


@contextlib.contextmanager
def watch_memory(allowance: int, on_exceeded: Callable[[], None]) -> Iterator[None]:
    """Call `on_exceeded` from another thread once the block has added more than `allowance` bytes."""
    import psutil

    process = psutil.Process()
    most = process.memory_info().rss + allowance
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_INTERVAL):
            if process.memory_info().rss > most:
                on_exceeded()
                return

    thread = threading.Thread(target=watch, name="memory", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
