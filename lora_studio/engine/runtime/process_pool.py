"""A pool of processes that run one function on many pieces, one process per core.

The processes are spawned or come from a fork server, never forked: this process has threads and
perhaps CUDA, and a fork hangs if a thread holds a lock. They stop on a cancel, and they end with
the process that they work for, however it ends.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.context import BaseContext
from multiprocessing.synchronize import Event
from typing import Any, TypeVar

from lora_studio.core.problems import Where, fail
from lora_studio.engine.runtime.channel import JobContext

P = TypeVar("P")
R = TypeVar("R")

#: Seconds between two checks for a cancel while processes work.
_POLL_SECONDS = 0.1


def map_in_processes(
    work: Callable[[P], R],
    pieces: Iterable[P],
    processes: int,
    job: JobContext,
    *,
    preload: Sequence[str] = (),
    helping: bool = False,
) -> Iterator[R]:
    """Yield the result of `work` for each piece, in order; raises CancelledError.

    `work` is pickled once per process, and what it raises there is raised here. A process that is
    killed raises ProblemError. Where there are fork servers, the modules in `preload` are imported
    once for all processes. With `helping` this process works on pieces itself until the first of the
    others has finished one; those results stay in memory, so they must be small.
    """
    context = _create_process_context(preload)
    try:
        cancelled = context.Event()
        pool = ProcessPoolExecutor(processes, context, _init_process, (work, cancelled))
    except OSError:  # the system doesn't provide what processes share, as with a full /dev/shm
        return (yield from _map_here(work, pieces, job))
    try:
        remaining = iter(pieces)
        first = [*islice(remaining, 2 * processes)]  # few, so that results don't pile up in memory
        with ThreadPoolExecutor(1) as starter:  # submitting waits for the fork server
            submission = starter.submit(lambda: [pool.submit(_run_piece, piece) for piece in first])
            local_results = [*_compute_here(work, remaining, submission, job)] if helping else []
            futures: deque[Future[R]] = deque([*submission.result(), *local_results])
        while futures:
            while not wait([futures[0]], _POLL_SECONDS).done:
                job.check()
            result = futures.popleft().result()
            futures.extend(pool.submit(_run_piece, piece) for piece in islice(remaining, 1))
            yield result
    except BrokenProcessPool as error:
        raise (
            fail(
                "dataset.process_died",
                "A worker process stopped unexpectedly, most likely because memory ran out.",
                "Close other programs and try again.",
                where=Where(step="dataset", field="sources"),
            )
        ) from error
    finally:
        cancelled.set()
        pool.shutdown(cancel_futures=True)


def _map_here(work: Callable[[P], R], pieces: Iterable[P], job: JobContext) -> Iterator[R]:
    """Yield the result of `work` for each piece, computed in this process; raises CancelledError."""
    for piece in pieces:
        job.check()
        yield work(piece)


def _create_process_context(preload: Sequence[str]) -> BaseContext:
    """Return the context of a fork server with these modules, or of spawned processes."""
    method = "forkserver" if preload and sys.platform != "win32" else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload([*preload])
    return context


def _compute_here(
    work: Callable[[P], R],
    remaining: Iterator[P],
    submission: Future[list[Future[R]]],
    job: JobContext,
) -> Iterator[Future[R]]:
    """Yield results that this process computes until another process has finished one."""
    while not (submission.done() and any(future.done() for future in submission.result())):
        job.check()
        mine = [*islice(remaining, 1)]
        if not mine:
            return
        future: Future[R] = Future()
        future.set_result(work(mine[0]))
        yield future


def is_cancelled() -> bool:
    """Return, in a worker process, whether the result of the current piece is no longer wanted."""
    return _cancelled is not None and _cancelled.is_set()


# --- in the processes -----------------------------------------------------------------------------

_work: Callable[[Any], Any] | None = None
_cancelled: Event | None = None


def _init_process(work: Callable[[Any], Any], cancelled: Event) -> None:
    """Initialize a worker process. Its tokenizer starts no threads, since every core has a process."""
    global _work, _cancelled
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _work, _cancelled = work, cancelled


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run_piece(piece: Any) -> Any:
    assert _work is not None
    return _work(piece)
