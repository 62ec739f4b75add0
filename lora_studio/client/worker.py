"""Start a worker process, send it commands, and yield its events, without Qt."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import queue
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Protocol

from pydantic import ValidationError

from lora_studio import __version__
from lora_studio.core import limits
from lora_studio.core.messages import Text, text
from lora_studio.core.problems import Problem, ProblemError, Where, error, fail
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.base import NO_PROCESSES
from lora_studio.core.protocol.events import Event
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import paths
from lora_studio.core.system.files import create_folder, describe_os_error
from lora_studio.core.system.foreign_files import open_own
from lora_studio.core.system.memory_limits import KillCounter
from lora_studio.core.system.programs import get_empty_folder
from lora_studio.setup import engines
from lora_studio.setup.tools import build_child_environment, is_frozen, kill_tree

#: Seconds between reads of the system's count of processes killed for lack of memory.
KILL_COUNT_INTERVAL = 10.0
#: Seconds between checks of whether the worker was detached while it runs.
_WAIT_INTERVAL = 0.2


Command = commands.Job | commands.Question | commands.Control


class Link(Protocol):
    """A connection to a worker that this process or another one started."""

    def send(self, command: Command) -> None:
        """Send a command. If the worker has ended, `iter_events` reports it; nothing is raised."""

    def iter_events(self) -> Iterator[Event]:
        """Yield events until the worker ends. Blocks; every command gets its ending event."""

    def cancel(self, target: str) -> None:
        """Ask the worker to cancel a command, and kill it if it doesn't respond."""

    def close(self) -> None:
        """Tell the worker that no more commands follow."""

    def kill(self) -> None:
        """Kill the worker and all processes it started."""

    def detach(self) -> None:
        """Let the worker continue on its own: `iter_events` ends without an ending event."""


def get_worker_variables() -> dict[str, str]:
    """Return the variables that every worker needs in its environment.

    glibc gets huge pages where Linux leaves the choice to programs: tensors are then allocated with a few page
    faults instead of one for each 4 KB. It reads this only when a process starts.
    """
    huge_pages = os.environ.get("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    return paths.get_folder_variables() | {"PYTHONUTF8": "1", "GLIBC_TUNABLES": huge_pages}


class Worker:
    """A worker process that this process started; use `start` to create one."""

    def __init__(self, process: subprocess.Popen[bytes], run: RunFolder | None) -> None:
        """Wrap a running worker process."""
        self._process = process
        self._run = run
        self._kills, self._counted_at = KillCounter(process.pid), time.monotonic()
        self._open: dict[str, bool] = {}  # ID of each open command -> whether it was canceled
        self._killable_early: set[str] = set()  # IDs of the open commands that have nothing to save
        self._files: dict[str, str] = {}  # ID of each open command -> the file that it reads
        self._lock = threading.RLock()  # reentrant: a signal handler may call `send` at any time
        self._incoming: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._detached = False

    @classmethod
    def start(
        cls, run: RunFolder | None = None, environment: Mapping[str, str] | None = None
    ) -> Worker:
        """Start a worker, with additional variables in its environment.

        Output other than events goes to the run's log, or to the app's log without a run. The worker
        gets its own process session, so it outlives this process and a closed terminal. Raises
        ProblemError if no engine is installed or it can't start.
        """
        log = run.log_file if run else paths.get_log_folder() / "worker.log"
        try:
            with _open_log(log, run) as output:
                command, engine_environment = get_launch_settings()
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=output,
                    cwd=get_empty_folder(),
                    env=build_child_environment(
                        engine_environment | get_worker_variables() | dict(environment or {})
                    ),
                    start_new_session=True,
                    creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                )
        except OSError as error:
            raise fail(
                "engine.not_started",
                "The engine couldn't be started: {reason}.",
                "Check that the disk isn't full and that the engine is installed.",
                where=Where(file=str(log)),
                reason=describe_os_error(error),
            ) from error
        return cls(process, run)

    @property
    def pid(self) -> int:
        """Process ID of the worker."""
        return self._process.pid

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the process to exit, at most `timeout` seconds; return its exit status.

        Raises subprocess.TimeoutExpired.
        """
        return self._process.wait(timeout)

    def send(self, command: Command) -> None:
        """Send a command. If the worker has ended, `iter_events` reports it; nothing is raised."""
        with self._lock:
            if not isinstance(command, commands.Control):
                self._open[command.id] = False
                if command.has_nothing_to_save:
                    self._killable_early.add(command.id)
            assert self._process.stdin is not None
            with contextlib.suppress(OSError, ValueError):
                self._process.stdin.write(commands.to_pipe(command))
                self._process.stdin.flush()

    def iter_events(self) -> Iterator[Event]:
        """Yield events until the worker ends. Blocks; can be iterated once.

        A command that the worker didn't finish gets its `Failed` or `Cancelled` event here.
        """
        reader = threading.Thread(target=self._read, name="worker events", daemon=True)
        reader.start()
        assert self._process.stdout is not None
        threading.Thread(target=self._reap, name="worker end", daemon=True).start()
        mismatch: Problem | None = None
        while (event := self._incoming.get()) is not None:
            if isinstance(event, events.Hello) and _has_other_version(event):
                mismatch = engines.version_mismatch_problem(event.app_version)
                self.kill()
                break
            if isinstance(event, events.FileOpened):
                self._files[event.id] = event.file
                continue
            if isinstance(event, events.Ending):
                self._files.pop(event.id, None)
                with self._lock:
                    self._open.pop(event.id, None)
                    self._killable_early.discard(event.id)
            self._update_kill_count(is_first=isinstance(event, events.Hello))
            yield event
        code = self._exit_status()
        if code is None:
            return
        reader.join(limits.CANCEL_SECONDS)
        self.close()
        _remove_scratch(self._run)
        with self._lock:
            unfinished, self._open = self._open, {}
        for command_id, cancelled in unfinished.items():
            if cancelled and mismatch is None:
                yield events.Cancelled(id=command_id)
            else:
                problem = mismatch or self._exit_problem(code, self._files.get(command_id, ""))
                yield events.Failed(id=command_id, problem=problem)

    def cancel(self, target: str) -> None:
        """Ask the worker to cancel a command, and kill it if it doesn't respond."""
        with self._lock:
            if target not in self._open:
                return
            self._open[target] = True
        self.send(commands.Cancel(target=target))
        seconds = limits.READER_CANCEL if target in self._killable_early else limits.CANCEL_SECONDS
        call_later(seconds, lambda: self.kill() if target in self._open else None)

    def close(self) -> None:
        """Tell the worker that no more commands follow: it exits after the current one."""
        with self._lock, contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()

    def kill(self) -> None:
        """Kill the worker and all processes it started."""
        kill_tree(self._process.pid)

    def detach(self) -> None:
        """Let the worker finish its current command on its own; `iter_events` ends now."""
        self._detached = True
        self._incoming.put(None)
        self.close()

    def _update_kill_count(self, *, is_first: bool) -> None:
        """Record that processes killed for lack of memory until now were not this worker."""
        if is_first or time.monotonic() - self._counted_at > KILL_COUNT_INTERVAL:
            self._kills.update()
            self._counted_at = time.monotonic()

    def _exit_status(self) -> int | None:
        """Wait for the process and return its exit status, or None if it was detached."""
        while not self._detached:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.wait(_WAIT_INTERVAL)
        return None

    def _exit_problem(self, code: int, file: str) -> Problem:
        if file:
            return reader_died_problem(describe_exit(code), file)
        if code == -getattr(signal, "SIGKILL", 9) and self._kills.has_risen():
            return out_of_memory_problem(self._run)
        return crash_problem(describe_exit(code), self._run)

    def _read(self) -> None:
        """Read events in a thread, since a blocking read of a pipe can't be interrupted."""
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for event in parse_events(lines, is_own=True):
                self._incoming.put(event)
        self._incoming.put(None)

    def _reap(self) -> None:
        """Kill the child processes of a worker that was killed: they would keep the pipe open forever."""
        self.wait()
        if hasattr(os, "killpg"):
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)


def _open_log(log: Path, run: RunFolder | None) -> IO[Any]:
    """Open the log of a worker; raises OSError.

    Without a run, the log is discarded if its folder can't be written to.
    """
    try:
        create_folder(log.parent)
        return open_own(log, "ab" if run else "wb")
    except OSError:
        if run is not None:
            raise
        return Path(os.devnull).open("wb")


def perform(
    command: commands.Job,
    on_link: Callable[[Link], None] | None = None,
    start: Callable[[RunFolder], Link] = Worker.start,
) -> Iterator[Event]:
    """Run one job in a new worker and yield its events, including the ending event.

    `on_link` receives the worker before the command is sent, so that the caller can cancel it.
    `start` creates the worker. Raises ProblemError if the folder isn't a run or the engine can't
    start.
    """
    run = RunFolder(Path(command.run))
    run.load_project()
    worker = start(run)
    if on_link:
        on_link(worker)
    worker.send(command)
    yield from iter_until_ended(worker, command.id)


def get_engine_command() -> list[str]:
    """Return the command line of a worker; raises ProblemError if no engine is installed."""
    return get_launch_settings()[0]


def get_launch_settings() -> tuple[list[str], dict[str, str]]:
    """Return the command line of a worker and the variables it needs in its environment.

    `LORA_STUDIO_ENGINE` (a command line) takes precedence, then the managed engine, then the
    running interpreter if it has torch. Raises ProblemError if no engine is installed, or only one
    of another version.
    """
    if chosen := os.environ.get("LORA_STUDIO_ENGINE"):
        return shlex.split(chosen, posix=os.name != "nt"), {}
    if managed := engines.get_command():
        return managed
    if is_frozen() or importlib.util.find_spec("torch") is None:
        raise ProblemError(engines.no_engine_problem())
    return [sys.executable, "-P", "-m", "lora_studio.engine"], {}


def _has_other_version(hello: events.Hello) -> bool:
    """Return whether a worker belongs to another version of the app."""
    return hello.protocol != events.PROTOCOL or hello.app_version != __version__


def _remove_scratch(run: RunFolder | None) -> None:
    with contextlib.suppress(ProblemError):
        if run is not None and not run.is_running():
            shutil.rmtree(run.temporary, ignore_errors=True)


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


def iter_until_ended(link: Link, command_id: str) -> Iterator[Event]:
    """Yield a worker's events up to the ending of one command, then close the connection."""
    for event in link.iter_events():
        if isinstance(event, events.Ending) and event.id == command_id:
            link.close()
        yield event


def parse_events(lines: Iterable[bytes], *, is_own: bool = False) -> Iterator[Event]:
    """Yield the event in each JSON line, skipping lines that aren't events; `is_own` for those of a pipe."""
    for line in lines:
        with contextlib.suppress(ValidationError):
            yield events.parse(line, is_own=is_own)


def call_later(seconds: float, action: Callable[[], object]) -> None:
    """Call `action` from a daemon thread after some seconds."""
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()
