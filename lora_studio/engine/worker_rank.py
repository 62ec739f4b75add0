"""A rank other than 0, started by a worker: computes its share and reports nothing."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from lora_studio.core.network.secrets import print_exception
from lora_studio.core.protocol import commands
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.files import write_atomic
from lora_studio.engine.runtime import fast_imports
from lora_studio.engine.runtime.channel import Flags, JobContext
from lora_studio.engine.runtime.failures import to_problem

#: Linux: the signal that a process gets when its parent ends (prctl).
_PR_SET_PDEATHSIG = 1


class NullChannel:
    """A channel that discards events, for a rank that does not report."""

    def emit(self, event: Any) -> None:
        """Discard the event."""

    def drain(self, seconds: float = 0.0) -> None:
        """Return at once."""


def create_silent_job() -> JobContext:
    """Return a job whose events are discarded and that is never canceled."""
    return JobContext("", NullChannel(), Flags())  # type: ignore[arg-type]  # as much of a channel as a job uses


def main() -> None:
    """Wait for a line on stdin with the decision about sharding, train, and exit without joining threads."""
    _end_with_parent()
    ignore_signals()
    fast_imports.hide_rarely_used_packages()
    with fast_imports.speed_up_imports():
        from lora_studio.engine.training import train_run
        from lora_studio.engine.training.distributed.launch import (
            EXIT_PEER_LOST,
            Rendezvous,
            is_peer_lost,
        )

    rendezvous = Rendezvous(**json.loads(sys.argv[1]))
    sharding: Any = sys.stdin.readline().strip()
    if sharding not in ("shard", "replicate"):
        os._exit(1)
    threading.Thread(target=_exit_with_worker, daemon=True).start()
    try:
        run = RunFolder(Path(rendezvous.run))
        train_run.follow(
            run,
            rendezvous.connect_process_group(sharding),
            create_silent_job(),
            resume=rendezvous.resume,
        )
    except BaseException as error:
        print_exception(error)
        sys.stderr.flush()
        if is_peer_lost(error):
            os._exit(EXIT_PEER_LOST)
        with contextlib.suppress(OSError):
            problem = to_problem(error, commands.Train.title, trains=True)
            write_atomic(rendezvous.problem_file, problem.model_dump_json())
        os._exit(1)
    os._exit(0)


def ignore_signals() -> None:
    """Ignore SIGINT and SIGTERM: the first rank receives them and agrees with the others."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _end_with_parent() -> None:
    """Ask the kernel to end this process with its parent; if the parent is gone already, stdin is closed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _exit_with_worker() -> None:
    """Exit when the worker's end of the pipe is closed."""
    while sys.stdin.read(1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
