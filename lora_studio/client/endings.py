"""Explain how a worker ended: its exit status as a problem, and the command it didn't finish."""

from __future__ import annotations

import signal
from pathlib import Path

from lora_studio.core.messages import Text, text
from lora_studio.core.problems import Problem, Where, error
from lora_studio.core.protocol import events
from lora_studio.core.protocol.job import NO_PROCESSES
from lora_studio.core.runs.folder import RunFolder


def find_unfinished_command(run: RunFolder, kind: str = "") -> str | None:
    """Return the ID of the command that a worker is carrying out on a run.

    None if no worker is running, or if the command is of another `kind`.
    """
    command = find_last_open_command(run, kind)
    return command if run.is_running() else None


def find_last_open_command(run: RunFolder, kind: str = "") -> str | None:
    """Return the ID of the last command on a run that has no ending event.

    Its worker may have ended. None if the command is of another `kind`.
    """
    command: str | None = None
    for event in run.iter_milestones():
        if isinstance(event, events.Started):
            command = event.id if kind in ("", event.command) else None
        elif isinstance(event, events.Ending):
            command = None
    return command


def describe_exit(code: int) -> Text:
    """Return a sentence about the exit status of a worker process."""
    if code == 0:
        return text("The worker ended without a result.")
    if code == NO_PROCESSES:
        return text(
            "The worker couldn't start: the system doesn't allow more processes or threads (`ulimit -u`)."
        )
    if code > 0:
        return text("The worker ended with exit status {code:d}.", code=code)
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    if name == "SIGBUS":  # of a file that is mapped into memory
        return text(
            "The worker stopped unexpectedly: a file that it was using can no longer be read. The disk "
            "reported an error, or another program shortened the file."
        )
    return text("The worker stopped unexpectedly (killed by signal {name}).", name=name)


def out_of_memory_problem(run: RunFolder | None) -> Problem:
    """Return the problem for a worker that the system killed because memory ran out."""
    return error(
        "worker.out_of_memory",
        "The system killed the worker because memory ran out.",
        "Everything that was saved is intact. Close other programs, or reduce memory use with a "
        "smaller micro-batch, a smaller maximum sequence length, gradient checkpointing, or 4-bit "
        "precision.",
        where=_locate_log(run),
    )


def crash_problem(what: Text, run: RunFolder | None) -> Problem:
    """Return the problem for a worker that ended in the middle of a command."""
    if run is None:
        remedy = "Try again."
    elif find_last_open_command(run, "train") and run.list_checkpoint_steps():
        remedy = "Everything that was saved is intact. Resume training: it continues from the last checkpoint."
    else:
        remedy = "Everything that was saved is intact. Start the step again."
    return error("worker.crashed", what, remedy, where=_locate_log(run))


def reader_died_problem(reason: Text, file: str) -> Problem:
    """Return the problem for a worker that ended while it was reading a file."""
    return error(
        "worker.reader_died",
        "{file} can't be read. {reason}",
        "LoRA Studio and your project are fine. The file may be damaged or made to use up memory: check "
        "where it comes from, or choose another one.",
        where=Where(file=file),
        file=Path(file).name,
        reason=reason,
    )


def _locate_log(run: RunFolder | None) -> Where:
    return Where(file=str(run.log_file)) if run else Where()
