"""Starts a worker process, sends it commands, iterates its events. No Qt."""

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
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Protocol

import psutil
from pydantic import ValidationError

from lora_studio import __version__
from lora_studio.core.problems import Problem, ProblemError, Where, fail
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.events import Event
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import paths
from lora_studio.core.system.files import reason_of
from lora_studio.core.system.memory_limits import KillCounter
from lora_studio.setup import engines
from lora_studio.setup.environment import child_environment, frozen

Command = commands.Job | commands.Question | commands.Control

#: Seconds a worker has to heed a cancel before it is killed.
CANCEL_SECONDS = 10.0

#: Seconds between two looks at how many processes were ended for lack of memory.
LOOK_INTERVAL = 10.0

#: Seconds between two looks at the events file of a run that another process started.
WATCH_INTERVAL = 0.2


class Link(Protocol):
    """A worker as its parent sees it, started here or elsewhere."""

    def send(self, command: Command) -> None:
        """Passes a command on; a worker that has gone does not raise, its events say so."""

    def events(self) -> Iterator[Event]:
        """Blocks for the next event; ends with the worker. Every command gets its ending."""

    def cancel(self, target: str) -> None:
        """Asks for the end of a command and enforces it after ten seconds."""

    def close(self) -> None:
        """Tells the worker that no more commands come."""

    def kill(self) -> None:
        """Ends the worker and everything it started, at once."""

    def detach(self) -> None:
        """Lets the worker go on alone: `events` ends without an ending."""


class Worker:
    """A worker process of our own."""

    def __init__(self, process: subprocess.Popen[bytes], run: RunFolder | None) -> None:
        """Use `start`."""
        self._process = process
        self._run = run
        self._kills, self._looked = KillCounter(process.pid), time.monotonic()
        self._open: dict[str, bool] = {}  # commands without an ending -> a cancel was asked for
        self._lock = threading.RLock()  # a signal's handler sends in the middle of anything
        self._incoming: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._detached = False

    @classmethod
    def start(cls, run: RunFolder | None = None, told: Mapping[str, str] | None = None) -> Worker:
        """Starts a worker; its stray output goes to the run's log, else to the program's log.

        `told` goes into its environment.

        The worker is in a session of its own: it outlives this process and a closed terminal.
        Raises ProblemError when there is no engine or it cannot be started.
        """
        log = run.log_file if run else paths.log_folder() / "worker.log"
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab" if run else "wb") as output:
                command, environment = engine_start()
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=output,
                    env=child_environment(environment | {"PYTHONUTF8": "1"} | dict(told or {})),
                    start_new_session=True,
                    creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                )
        except OSError as error:
            raise fail(
                "engine.not_started",
                f"The engine could not be started: {reason_of(error)}.",
                "Check that the disk is not full and that the engine is installed.",
                where=Where(file=str(log)),
            ) from error
        return cls(process, run)

    @property
    def pid(self) -> int:
        """Process number of the worker."""
        return self._process.pid

    def send(self, command: Command) -> None:
        """Passes a command on; a worker that has gone does not raise, its events say so."""
        with self._lock:
            if not isinstance(command, commands.Control):
                self._open[command.id] = False
            assert self._process.stdin is not None
            with contextlib.suppress(OSError, ValueError):
                self._process.stdin.write(commands.to_pipe(command))
                self._process.stdin.flush()

    def events(self) -> Iterator[Event]:
        """Blocks for the next event; ends when the worker has ended. To be iterated once.

        A command that the worker did not live to end gets its `Failed` or `Cancelled` here.
        """
        reader = threading.Thread(target=self._read, name="worker events", daemon=True)
        reader.start()
        assert self._process.stdout is not None
        threading.Thread(target=self._reap, name="worker end", daemon=True).start()
        refused: Problem | None = None
        while (event := self._incoming.get()) is not None:
            if isinstance(event, events.Hello) and _is_other(event):
                refused = engines.other_version(event.app_version)
                self.kill()
                break
            if isinstance(event, events.Ending):
                with self._lock:
                    self._open.pop(event.id, None)
            self._sign_of_life(is_first=isinstance(event, events.Hello))
            yield event
        code = self._exit_status()
        if code is None:
            return
        reader.join(CANCEL_SECONDS)
        self.close()
        _remove_scratch(self._run)
        with self._lock:
            unended, self._open = self._open, {}
        for command_id, cancelled in unended.items():
            if cancelled and refused is None:
                yield events.Cancelled(id=command_id)
            else:
                problem = refused or self._death(code)
                yield events.Failed(id=command_id, problem=problem)

    def cancel(self, target: str) -> None:
        """Asks for the end of a command and kills the worker if it does not heed in ten seconds."""
        with self._lock:
            if target not in self._open:
                return
            self._open[target] = True
        self.send(commands.Cancel(target=target))
        _after(CANCEL_SECONDS, lambda: self.kill() if target in self._open else None)

    def close(self) -> None:
        """Tells the worker that no more commands come: it ends when its current one has ended."""
        with self._lock, contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()

    def kill(self) -> None:
        """Ends the worker and everything it started, at once."""
        kill_tree(self._process.pid)

    def detach(self) -> None:
        """Lets the worker go on alone: it ends when its current command has, `events` ends now."""
        self._detached = True
        self._incoming.put(None)
        self.close()

    def _sign_of_life(self, *, is_first: bool) -> None:
        """Who was ended for lack of memory before now was not this worker."""
        if is_first or time.monotonic() - self._looked > LOOK_INTERVAL:
            self._kills.look()
            self._looked = time.monotonic()

    def _exit_status(self) -> int | None:
        """How the process ended, once it has; None when it was left alone."""
        while not self._detached:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self._process.wait(WATCH_INTERVAL)
        return None

    def _death(self, code: int) -> Problem:
        if code == -getattr(signal, "SIGKILL", 9) and self._kills.has_risen():
            return out_of_memory(self._run)
        return crashed(describe_exit(code), self._run)

    def _read(self) -> None:
        """Passes events on; a thread of its own, since nothing ends a blocking read of a pipe."""
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for event in _parsed(lines):
                self._incoming.put(event)
        self._incoming.put(None)

    def _reap(self) -> None:
        """Ends what a worker that was killed had started: it would hold the pipe open for ever."""
        self._process.wait()
        if hasattr(os, "killpg"):
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)


class Watched:
    """A run that a process of an earlier window, or another program, is at work on."""

    def __init__(self, run: RunFolder) -> None:
        """Takes the run; its events are read from the beginning."""
        self._run = run
        self._detached = threading.Event()

    @property
    def pid(self) -> int | None:
        """Process number of the worker, None when it has ended."""
        return self._run.worker_pid()

    def send(self, command: Command) -> None:
        """Leaves a control in the run's mailbox; raises ProblemError when that is impossible."""
        try:
            with self._run.mailbox_file.open("ab") as file:
                file.write(events.to_line(command).encode() + b"\n")
        except OSError as error:
            raise fail(
                "run.mailbox",
                f"The run could not be reached: {reason_of(error)}.",
                "Check that its folder is writable.",
                where=Where(file=str(self._run.mailbox_file)),
            ) from error

    def events(self) -> Iterator[Event]:
        """Every event of the run so far, then each new one, until no worker is at work on it and nobody
        would start another."""
        unended: str | None = None
        for event in self._tail():
            if isinstance(event, events.Started):
                unended = event.id
            elif isinstance(event, events.Ending):
                unended = None
            yield event
        if unended is not None and not self._detached.is_set():
            problem = (
                out_of_memory(self._run)
                if self._run.died_of_memory()
                else crashed("ended without a word", self._run)
            )
            yield events.Failed(id=unended, problem=problem)

    def cancel(self, target: str) -> None:
        """Asks for the end of a command and kills its worker if it does not heed in ten seconds."""
        pid = self.pid
        self.send(commands.Cancel(target=target))
        if pid is not None:
            _after(CANCEL_SECONDS, lambda: kill_tree(pid) if self.pid == pid else None)

    def close(self) -> None:
        """Nothing to give back: the worker belongs to nobody here."""

    def kill(self) -> None:
        """Ends the worker and everything it started, at once."""
        if (pid := self.pid) is not None:
            kill_tree(pid)

    def detach(self) -> None:
        """Stops looking; the worker goes on."""
        self._detached.set()

    def _tail(self) -> Iterator[Event]:
        position = 0
        while True:
            # Looked at before reading: what a worker wrote before it ended is read after it.
            running = self._run.is_running() or self._run.is_guarded()
            if self._run.events_file.exists():
                with self._run.events_file.open("rb") as file:
                    file.seek(position)
                    whole = (line for line in file if line.endswith(b"\n"))
                    for line in whole:
                        if self._detached.is_set():
                            return
                        position += len(line)
                        yield from _parsed([line])
            if not running or self._detached.wait(WATCH_INTERVAL):
                return


def perform(
    command: commands.Job,
    on_link: Callable[[Link], None] | None = None,
    start: Callable[[RunFolder], Link] = Worker.start,
) -> Iterator[Event]:
    """Runs one heavy job in a fresh worker and yields its events up to and with the ending.

    `on_link` gets the worker before the command is sent, for whoever wants to cancel it; `start`
    makes it. Raises ProblemError when the folder is no run or the engine cannot be started.
    """
    run = RunFolder(Path(command.run))
    run.load_project()
    worker = start(run)
    if on_link:
        on_link(worker)
    worker.send(command)
    yield from until_ended(worker, command.id)


def until_ended(worker: Link, command_id: str) -> Iterator[Event]:
    """Events of a worker up to the ending of one command; then the worker is let go."""
    for event in worker.events():
        if isinstance(event, events.Ending) and event.id == command_id:
            worker.close()
        yield event


def unfinished_command(run: RunFolder, kind: str = "") -> str | None:
    """The id of the command that a worker is carrying out on a run, if it is of that kind."""
    command = unended_command(run, kind)
    return command if run.is_running() else None


def unended_command(run: RunFolder, kind: str = "") -> str | None:
    """The id of the last command on a run if it is of that kind and has not ended; its worker may be
    gone."""
    command: str | None = None
    for event in run.milestones():
        if isinstance(event, events.Started):
            command = event.id if kind in ("", event.command) else None
        elif isinstance(event, events.Ending):
            command = None
    return command


def engine_command() -> list[str]:
    """The command line of a worker; raises ProblemError when no interpreter has the engine."""
    return engine_start()[0]


def engine_start() -> tuple[list[str], dict[str, str]]:
    """The command line of a worker, and the environment that it needs besides.

    The engine that was set up comes first, then the running interpreter if it has torch;
    `LORA_STUDIO_ENGINE` may hold a command line of one's own. Raises ProblemError when there is none,
    or one of another version.
    """
    if chosen := os.environ.get("LORA_STUDIO_ENGINE"):
        return shlex.split(chosen, posix=os.name != "nt"), {}
    if managed := engines.command():
        return managed
    if frozen() or importlib.util.find_spec("torch") is None:
        raise ProblemError(engines.none_there())
    return [sys.executable, "-P", "-m", "lora_studio.engine"], {}


def describe_exit(code: int) -> str:
    """How a process ended, as the rest of a sentence that begins with its name."""
    if code >= 0:
        return "ended without a result" if code == 0 else f"ended with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}"


def out_of_memory(run: RunFolder | None) -> Problem:
    """The problem of a worker that the system ended because there was no memory left."""
    return Problem(
        code="worker.out_of_memory",
        what="The system ended the worker because memory ran out.",
        remedy="What was saved before is intact. Close other programs, or make it smaller: a smaller "
        "micro-batch, shorter rows, gradient checkpointing or 4-bit precision.",
        where=Where(file=str(run.log_file)) if run else Where(),
    )


def crashed(how: str, run: RunFolder | None) -> Problem:
    """The problem of a worker that ended in the middle of a command."""
    goes_on = run is not None and unended_command(run, "train") and run.checkpoint_steps()
    return Problem(
        code="worker.crashed",
        what=f"The worker {how}.",
        remedy="What was saved is intact. Resume the training: it goes on from its last checkpoint."
        if goes_on
        else "What was saved before is intact. Start the step again."
        if run
        else "Try again.",
        where=Where(file=str(run.log_file)) if run else Where(),
    )


def kill_tree(pid: int) -> None:
    """Kills a process and all its descendants."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for victim in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()


def _parsed(lines: IO[bytes] | list[bytes]) -> Iterator[Event]:
    for line in lines:
        with contextlib.suppress(ValidationError):
            yield events.parse(line)


def _is_other(hello: events.Hello) -> bool:
    """Whether a worker belongs to another version of the program."""
    return hello.protocol != events.PROTOCOL or hello.app_version != __version__


def _after(seconds: float, action: Callable[[], object]) -> None:
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()


def _remove_scratch(run: RunFolder | None) -> None:
    with contextlib.suppress(ProblemError):
        if run is not None and not run.is_running():
            shutil.rmtree(run.temporary, ignore_errors=True)
