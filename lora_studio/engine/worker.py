"""The worker: runs commands one after another and ends each in Done, Failed or Cancelled."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from lora_studio import __version__
from lora_studio.core.network import connections
from lora_studio.core.network.secrets import print_exception
from lora_studio.core.problems import Problem, ProblemError, Where, fail
from lora_studio.core.project import access_requests
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import guard as run_guard
from lora_studio.core.runs import leftovers, manifest
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import foreign_files, memory_limits
from lora_studio.core.system.locks import FileLock
from lora_studio.core.system.programs import delete_private_folders
from lora_studio.engine import jobs
from lora_studio.engine.runtime import fast_imports, memory_guard
from lora_studio.engine.runtime.channel import Channel, Inbox, JobContext
from lora_studio.engine.runtime.disk import PinnedFolder
from lora_studio.engine.runtime.failures import (
    CancelledError,
    is_device_lost,
    is_out_of_memory,
    to_problem,
)
from lora_studio.engine.runtime.torch_settings import set_torch_defaults

#: Seconds to keep trying to acquire the lock of a run.
_LOCK_TIMEOUT = 2.0

#: Seconds between two readings of how many processes were killed for lack of memory.
_KILL_COUNT_INTERVAL = 10.0

#: Carries out a command and returns how it ended.
RunCommand = Callable[[commands.Job | commands.Question, JobContext], events.Ending]


def main(run_command: RunCommand = jobs.run_command) -> None:
    """Run commands until stdin ends or a shutdown is requested; exits without joining threads."""
    channel = Channel()
    channel.emit(events.Hello(app_version=__version__, pid=os.getpid()))
    pending: queue.Queue[commands.Job | commands.Question | None] = queue.Queue()
    inbox = Inbox(pending.put)
    inbox.read_pipe(os.fdopen(os.dup(0), "rb", buffering=0))
    call_on_sigterm(inbox.request_shutdown)
    memory_guard.make_memory_countable()
    set_torch_defaults()
    fast_imports.hide_rarely_used_packages()
    while (command := pending.get()) is not None:
        if handle(command, channel, inbox, run_command):
            break  # the parent starts a new worker for the commands that follow
    channel.drain()
    sys.stderr.flush()
    delete_private_folders()
    os._exit(0)


def call_on_sigterm(request_shutdown: Callable[[], None]) -> None:
    """Call `request_shutdown` instead of exiting on SIGTERM, which is sent at the end of a session.

    Python runs signal handlers between two bytecode instructions only, and a forward pass in C takes
    seconds: the signal's number is written to a socket at once, and a thread acts on it.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda *_: None)

    def watch() -> None:
        while numbers := reader.recv(64):
            if signal.SIGTERM in numbers:
                request_shutdown()

    _OPEN_SOCKETS.append(writer)
    threading.Thread(target=watch, name="signals", daemon=True).start()


#: The sockets that signals are written to; they stay open as long as the process runs.
_OPEN_SOCKETS: list[socket.socket] = []


def handle(
    command: commands.Job | commands.Question,
    channel: Channel,
    inbox: Inbox,
    run_command: RunCommand = jobs.run_command,
) -> bool:
    """Carry out one command from `Started` to its ending event.

    Returns whether the worker has to end: the command used up the memory that it is allowed, or the GPU
    can't be used in this process anymore.
    """
    allowance = memory_guard.get_allowance(command)
    flags, reports_files = inbox.start_command(command), command.reads_foreign_files
    job = JobContext(command.id, channel, flags, reports_files=reports_files)
    must_end = False
    try:
        with _hold_run(command, job, channel, inbox) as (held, warnings):
            try:
                ending = _carry_out(held, warnings, job, allowance, run_command)
            except BaseException as error:
                ending = _to_ending(error, command, job)
                must_end = is_device_lost(error)
                if allowance is not None and is_out_of_memory(error):
                    must_end = True
                    ending = events.Failed(
                        problem=memory_guard.exceeded_problem(job.file, allowance)
                    )
            connections.save()
            # Still under the run's lock: once it is free, the record says how the command ended. The
            # parent gets the ending even if the disk can't take the record.
            with contextlib.suppress(OSError):
                job.emit(ending)
    except BaseException as error:
        job.emit(_to_ending(error, command, job))
    finally:
        if job.folder is not None:
            job.folder.close()
    return must_end


def _carry_out(
    command: commands.Job | commands.Question,
    warnings: Sequence[Problem],
    job: JobContext,
    allowance: int | None,
    run_command: RunCommand,
) -> events.Ending:
    """Run a command under its limit of memory in bytes, and return its ending."""

    job.emit(events.Started(command=command.kind))
    job.check()
    for problem in warnings:
        job.emit(events.Warned(problem=problem))
    with memory_guard.limit_memory(
        allowance, lambda: memory_guard.end_process(job, allowance or 0)
    ):
        ending = run_command(command, job)
    for problem in foreign_files.collect_notices():
        job.emit(events.Warned(problem=problem))
    return ending


def _to_ending(
    error: BaseException, command: commands.Job | commands.Question, job: JobContext
) -> events.Failed | events.Cancelled:
    if isinstance(error, CancelledError):
        return events.Cancelled()
    if isinstance(error, OSError) and job.folder is not None and job.folder.locate() is None:
        error = job.folder.gone_error()
    with contextlib.suppress(OSError):  # the log may be on the full disk that caused the error
        print_exception(error)
    problem = to_problem(error, command.title, trains=command.trains)
    return events.Failed(problem=_name_disk(problem, job))


def _name_disk(problem: Problem, job: JobContext) -> Problem:
    """Return a problem of the disk with the file that names it.

    An error while writing to an open file has no name. Then the full disk is named, or else that of the run, which is
    where jobs write.
    """
    folder = job.folder.locate() if job.folder is not None else None
    if not problem.code.startswith("disk.") or problem.where.file or folder is None:
        return problem
    if problem.code == "disk.full":
        folder = next(filter(_is_full, (folder, Path(tempfile.gettempdir()))), folder)
    where = problem.where.model_copy(update={"file": str(folder)})
    return problem.model_copy(update={"where": where})


#: Bytes below which a disk is full: less than the smallest write that fails.
_FULL = 1 << 20


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < _FULL
    except OSError:
        return False


@contextmanager
def _hold_run(
    command: commands.Job | commands.Question, job: JobContext, channel: Channel, inbox: Inbox
) -> Iterator[tuple[commands.Job | commands.Question, list[Problem]]]:
    """Hold the run's lock and record its events while a command changes it.

    Yields the command with a path that leads to the run even after a move, and what was damaged. Deletes
    what killed workers left, and repairs the record of the run. A training that resumes after the system
    killed its worker for lack of memory, which no parent may have seen, starts lower.
    """
    if not command.changes_run:
        _require_access(command)
        yield command, []
        return
    named = RunFolder(Path(getattr(command, "run", "")))
    # Raises for a folder that is not a run, before anything is written into it.
    access_requests.require_run_allowed(named.path, named.load_project())
    named.require_no_links()
    job.folder = PinnedFolder(named.path)
    run = RunFolder(job.folder.path)
    changes: dict[str, Any] = {"run": str(run.path)}
    if isinstance(command, commands.Train) and run.has_run_out_of_memory():
        changes["lower"] = command.resume
    lock, content = FileLock(run.lock_file), _describe_holder(command)
    if not lock.acquire(content, _LOCK_TIMEOUT):
        raise fail(
            "run.busy",
            "Another process is working on this run.",
            "Wait until it finishes, or watch the run.",
            where=Where(file=str(named.path)),
        )
    with contextlib.ExitStack() as undo:
        undo.callback(lock.release)
        undo.callback(channel.close_run)
        warnings = _repair(run)
        channel.open_run(run)
        undo.callback(inbox.watch_mailbox(run.mailbox_file))
        undo.callback(_record_kill_count(lock, content))
        guarded = job.folder if isinstance(command, commands.Train) else None
        undo.callback(inbox.call_on_parent_exit(partial(_start_guard, guarded)))
        yield command.model_copy(update=changes), warnings


def _describe_holder(command: commands.Job | commands.Question) -> dict[str, Any]:
    """Return what the lock of a run says about this process."""
    return {"pid": os.getpid(), "command": command.id, "since": time.time()}


def _require_access(command: commands.Job | commands.Question) -> None:
    """Raise ProblemError if a question is about a run that asks for something that isn't allowed."""
    for run in (RunFolder(Path(path)) for path in command.list_runs()):
        try:
            frozen = run.load_project()
        except ProblemError:
            continue  # the question's own answer
        access_requests.require_run_allowed(run.path, frozen)


def _repair(run: RunFolder) -> list[Problem]:
    """Delete what killed workers left, and repair the record; return what was damaged."""
    leftovers.sweep(run)
    damage = manifest.repair(run.manifest_file)
    return [] if damage is None else [damage]


def _start_guard(folder: PinnedFolder | None) -> None:
    """Start a guard that restarts this worker if the system kills it to free memory.

    Needed because the parent, which would otherwise do so, has ended.
    """
    location = folder.locate() if folder is not None else None
    if location is not None and (guard := run_guard.from_environment()) is not None:
        try:
            guard.start(RunFolder(location))
        except OSError as error:
            print_exception(error)


def _record_kill_count(lock: FileLock, content: dict[str, Any]) -> Callable[[], None]:
    """Record in the lock how many processes the system has killed to free memory.

    The next process that takes the lock can tell from it whether this worker was one of them. The
    recorded count is the reading before the last: a process with gigabytes takes seconds to end,
    and is counted when its end starts. Returns a function that stops the recording.
    """
    stopped = threading.Event()
    last = memory_limits.read_kill_counts()
    lock.note(content | {"kills": last})

    def record() -> None:
        nonlocal last
        while not stopped.wait(_KILL_COUNT_INTERVAL):
            with contextlib.suppress(OSError):
                lock.note(content | {"kills": last})
            last = memory_limits.read_kill_counts()

    thread = threading.Thread(target=record, name="kills", daemon=True)
    thread.start()

    def stop() -> None:
        stopped.set()
        thread.join()

    return stop
