"""One kind of work, piece by piece, in as many processes as there are processors.

The processes are spawned or come from a fork server, never forked: this one has threads and perhaps
CUDA, and a fork of a process in which a thread holds a lock hangs. They heed a cancel, and they end
when the process that they work for does, however that ended.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.synchronize import Event
from typing import Any, TypeVar

from lora_studio.core.problems import Where, fail
from lora_studio.engine.channel import Job

P = TypeVar("P")
R = TypeVar("R")

#: Seconds between two looks at a cancel while processes work.
_PATIENCE = 0.1


def cores() -> int:
    """Processors that this program may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def in_processes(
    work: Callable[[P], R],
    pieces: Iterable[P],
    processes: int,
    job: Job,
    *,
    doing: str,
    preload: str = "",
) -> Iterator[R]:
    """What `work` makes of each piece, in order; raises CancelledError.

    `work` goes to every process once. What it raises there is raised here; where a process is ended
    from outside, that is a ProblemError, in which `doing` completes "A process that …". A module that
    takes seconds to import can be had once for all processes by `preload`, where there are fork
    servers.
    """
    method = "forkserver" if preload and sys.platform != "win32" else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload([preload])
    cancelled = context.Event()
    pool = ProcessPoolExecutor(processes, context, _begin, (work, cancelled))
    try:
        waiting = iter(pieces)
        # Few at a time, so that results never pile up in memory.
        futures: deque[Future[R]] = deque(
            pool.submit(_do, piece) for piece in islice(waiting, 2 * processes)
        )
        while futures:
            while not wait([futures[0]], _PATIENCE).done:
                job.check()
            found = futures.popleft().result()
            futures.extend(pool.submit(_do, piece) for piece in islice(waiting, 1))
            yield found
    except BrokenProcessPool as error:
        raise fail(
            "dataset.process_died",
            f"A process that {doing} was ended from outside, most likely for lack of memory.",
            "Close other programs and try again.",
            where=Where(step="dataset", field="sources"),
        ) from error
    finally:
        cancelled.set()
        pool.shutdown(cancel_futures=True)


def is_cancelled() -> bool:
    """In a process of `in_processes`: whether nobody waits for the piece under way any more."""
    return _cancelled is not None and _cancelled.is_set()


# --- in the processes -----------------------------------------------------------------------------

_work: Callable[[Any], Any] | None = None
_cancelled: Event | None = None


def _begin(work: Callable[[Any], Any], cancelled: Event) -> None:
    """What a process does first. Its tokenizer starts no threads: every core has a process."""
    global _work, _cancelled
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _work, _cancelled = work, cancelled


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _do(piece: Any) -> Any:
    assert _work is not None
    return _work(piece)
