"""The worker's link to its parent: events out, commands in, and flags that work polls."""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil
from pydantic import BaseModel, ValidationError

from lora_studio.core import limits
from lora_studio.core.messages import Template, Text, text
from lora_studio.core.network.secrets import without_secrets_in
from lora_studio.core.problems import Problem
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import offline
from lora_studio.core.system.foreign_files import iter_lines, open_own, open_regular
from lora_studio.engine.runtime.disk import PinnedFolder
from lora_studio.engine.runtime.failures import CancelledError, PausedError

#: Seconds between two readings of a run's mailbox.
MAILBOX_INTERVAL = 0.25

#: Seconds between two checks of whether a run's folder is still there.
FOLDER_INTERVAL = 0.5

#: Shortest time between two `Progress` events of one stage, in seconds.
PROGRESS_INTERVAL = 0.1


class Channel:
    """Writes events to the parent's pipe and, during a job, to the run's `events.jsonl`.

    The file is authoritative. The pipe has its own thread, so a parent that hangs or has exited never
    blocks the work.
    """

    def __init__(self) -> None:
        """Take over stdout: a stray `print`, even in C, goes to stderr from now on."""
        sys.stdout.flush()
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        pipe = os.fdopen(os.dup(1), "wb", buffering=0)
        self._pump = threading.Thread(target=self._mirror, args=(pipe,), daemon=True)
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        self._file: IO[bytes] | None = None
        self._lock = threading.Lock()
        self._pump.start()

    def open_run(self, run: RunFolder) -> None:
        """Also write to the run's events file, starting on a new line."""
        file = open_own(run.events_file, "ab+", buffering=0)
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        self._file = file

    def close_run(self) -> None:
        """Stop writing to the run's events file."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def emit(self, event: BaseModel) -> None:
        """Send one event; raises OSError only when the run's own file can't be written.

        The parent gets it in any case, so that it learns the reason, and finds it in the file then.
        """
        line = events.to_line(_without_secrets(event)).encode() + b"\n"
        with self._lock:
            try:
                if self._file is not None:
                    _write_all(self._file, line)
            finally:
                self._lines.put(line)

    def drain(self, seconds: float = 10.0) -> None:
        """Wait until everything was sent to the parent, at most `seconds`."""
        self._lines.put(None)
        self._pump.join(seconds)

    def _mirror(self, pipe: IO[bytes]) -> None:
        is_pipe_closed = False
        while (line := self._lines.get()) is not None:
            if not is_pipe_closed:
                try:
                    _write_all(pipe, line)
                except OSError:
                    is_pipe_closed = True


def _without_secrets(event: BaseModel) -> BaseModel:
    """Return an event without what a library or a server may have repeated of a password or a key."""
    if not isinstance(event, events.Warned | events.Failed | events.LogLine | events.ServerLogged):
        return event
    content = events.to_line(event)
    plain = without_secrets_in(json.loads(content))
    return events.parse(json.dumps(plain), is_own=True)


def _write_all(file: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


@dataclass
class Flags:
    """Requests of the parent for the running command; set by reader threads."""

    cancel: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)
    pause: threading.Event = field(default_factory=threading.Event)
    checkpoint: threading.Event = field(default_factory=threading.Event)


class Inbox:
    """Commands from stdin and from a run's mailbox: controls set flags, all others are queued."""

    def __init__(self, on_command: Callable[[commands.Job | commands.Question | None], None]):
        """`on_command` is called from the reader threads, with None after the last command."""
        self._on_command = on_command
        self._flags: dict[str, Flags] = {}
        self._lock = threading.Lock()
        self._running: commands.Job | commands.Question | None = None
        self._parent = os.getppid()
        self._parent_process: psutil.Process | None = None
        with suppress(psutil.Error):
            self._parent_process = psutil.Process(self._parent)
        self._is_winding_up = False
        self._is_parent_gone = False  # the parent has closed its end of the pipe, or has exited
        self._parent_gone_callback: Callable[[], None] | None = None

    def get_flags(self, target: str) -> Flags:
        """Return the flags of a command; they may be set before it starts."""
        with self._lock:
            return self._flags.setdefault(target, Flags())

    def start_command(self, command: commands.Job | commands.Question) -> Flags:
        """Return the flags of the command that runs from now on."""
        flags = self.get_flags(command.id)
        with self._lock:
            self._running = command
            is_unwanted = self._is_parent_gone and command.ends_with_parent
        if self._is_winding_up or is_unwanted:
            self._end(command)
        return flags

    def request_shutdown(self) -> None:
        """End soon: pause a training, cancel anything else, start nothing new."""
        with self._lock:
            self._is_winding_up, command = True, self._running
        if command is not None:
            self._end(command)
        self._on_command(None)

    def _end(self, command: commands.Job | commands.Question) -> None:
        flags = self.get_flags(command.id)
        (flags.pause if isinstance(command, commands.Train) else flags.cancel).set()

    def read_pipe(self, stream: IO[bytes]) -> threading.Thread:
        """Start and return the thread that reads commands until the parent closes its end."""

        def read() -> None:
            for line in stream:
                self._dispatch(line)
            with self._lock:
                self._is_parent_gone, callback = True, self._parent_gone_callback
                command = self._running
            if callback is not None:
                callback()
            if command is not None and command.ends_with_parent:
                self._end(command)
            self._on_command(None)
            if command is not None and command.has_nothing_to_save:
                self._end_orphan(command)

        thread = threading.Thread(target=read, name="commands", daemon=True)
        thread.start()
        return thread

    def _end_orphan(self, command: commands.Job | commands.Question) -> None:
        """End this process if its parent was killed while it reads, which may take forever."""
        time.sleep(limits.READER_CANCEL)
        if self._running is command and self._is_orphan():
            os._exit(1)

    def _is_orphan(self) -> bool:
        """Return whether the parent has ended: other systems than Windows then give the process another one."""
        process = self._parent_process
        return os.getppid() != self._parent or (process is not None and not process.is_running())

    def call_on_parent_exit(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` when the parent closes its end of the pipe, at once if it already has.

        Returns a function that removes the callback.
        """
        with self._lock:
            self._parent_gone_callback, is_gone = callback, self._is_parent_gone
        if is_gone:
            callback()

        def remove() -> None:
            with self._lock:
                self._parent_gone_callback = None

        return remove

    def watch_mailbox(self, path: Path) -> Callable[[], None]:
        """Start the thread that reads controls appended to a file; returns a function that ends it."""
        ended = threading.Event()
        start = path.stat().st_size if path.exists() else 0

        def watch() -> None:
            position = start
            while not ended.wait(MAILBOX_INTERVAL):
                position = self._read_mailbox(path, position)

        threading.Thread(target=watch, name="mailbox", daemon=True).start()
        return ended.set

    def _read_mailbox(self, path: Path, position: int) -> int:
        if not path.is_file():
            return 0
        if path.stat().st_size <= position:
            return path.stat().st_size  # less than before if something has emptied it
        with open_regular(path) as file:
            file.seek(position)
            for line, size in iter_lines(file):
                position += size
                self._dispatch(line, controls_only=True)
        return position

    def _dispatch(self, line: bytes, *, controls_only: bool = False) -> None:
        try:
            command = commands.parse(line)
        except ValidationError as error:
            # Don't include the command: it may contain a token.
            details = error.errors(include_input=False, include_url=False, include_context=False)
            print(f"Invalid command: {details}", file=sys.stderr)
            return
        match command:
            case commands.Cancel():
                self.get_flags(command.target).cancel.set()
            case commands.Stop():
                self.get_flags(command.target).stop.set()
            case commands.Pause():
                self.get_flags(command.target).pause.set()
            case commands.SaveCheckpoint():
                self.get_flags(command.target).checkpoint.set()
            case commands.GoOffline():
                offline.switch(True)  # every later connection is refused (core/network)
            case commands.Shutdown():
                self._on_command(None)
            case _ if not controls_only:
                self._on_command(command)


@dataclass
class JobContext:
    """The command that a step of the engine works for: its events, flags and progress."""

    id: str
    channel: Channel
    flags: Flags
    #: Whether a pause may end the work right here: not in the middle of an optimizer step.
    pausable: bool = False
    #: Whether to report to the parent which files are read, because the command only reads them.
    reports_files: bool = False
    #: The last of the files that somebody else may have prepared.
    file: str = ""
    #: Called with each event after it was sent.
    listeners: list[Callable[[events.Event], None]] = field(default_factory=list)
    #: The folder of the run that the command changes.
    folder: PinnedFolder | None = None
    _folder_checked: float = 0.0
    _location: Path | None = None
    _last_progress: tuple[str | Text, float] = ("", 0.0)
    _began: float = 0.0

    def emit(self, event: events.Event) -> None:
        """Send an event about this job's command."""
        own = event.model_copy(update={"id": self.id})
        if self.folder is not None:
            line = events.to_line(own)
            if (translated := self.folder.translate(line)) != line:
                own = events.parse(translated, is_own=True)
        self.channel.emit(own)
        for listener in tuple(self.listeners):
            listener(event)

    def warn(self, problem: Problem) -> None:
        """Emit a warning."""
        self.emit(events.Warned(problem=problem))

    def log(self, line: Text) -> None:
        """Emit a line of the log."""
        self.emit(events.LogLine(text=line))

    def check(self) -> None:
        """Raise CancelledError or PausedError on request; call it per micro-batch, tensor or token.

        Also raises ProblemError when the run's folder was deleted or moved out of reach.
        """
        if self.flags.cancel.is_set():
            raise CancelledError
        if self.folder is not None and time.monotonic() - self._folder_checked > FOLDER_INTERVAL:
            self._folder_checked = time.monotonic()
            self._follow_folder(self.folder)
        if self.pausable and self.flags.pause.is_set():
            raise PausedError

    def _follow_folder(self, folder: PinnedFolder) -> None:
        """Report a move of the run's folder; raise ProblemError if it is out of reach."""
        if (location := folder.locate()) is None:
            raise folder.gone_error()
        if self._location not in (None, location):
            self.emit(
                events.LogLine(
                    text=text(
                        "The run folder was moved to {path}. The job continues there.",
                        path=str(location),
                    )
                )
            )
        self._location = location

    def open_file(self, path: Path) -> None:
        """Note that a file is about to be read that somebody else may have prepared; raises as `check`
        does.
        """
        self.check()
        if str(path) != self.file:
            self.file = str(path)
            if self.reports_files:
                self.emit(events.FileOpened(file=self.file))

    def report_progress(
        self, stage: Template | Text, done: float, total: float | None, unit: str = ""
    ) -> None:
        """Report the progress of a stage, at most ten times a second; raises as `check` does.

        The remaining time is the elapsed time of the stage, projected onto the rest.
        """
        self.check()
        now = time.monotonic()
        last_stage, last_time = self._last_progress
        if stage != last_stage:
            self._began = now
        elif now - last_time < PROGRESS_INTERVAL and done != total:
            return
        self._last_progress = (stage, now)
        eta = (now - self._began) * (total - done) / done if total and done else None
        self.emit(
            events.Progress(
                stage=Text.model_validate(stage), done=done, total=total, unit=unit, eta_s=eta
            )
        )

    @property
    def stage(self) -> str | Text:
        """Return the stage that was reported last."""
        return self._last_progress[0]

    def show_stage(
        self,
        stage: Template | Text,
        done: float = 0.0,
        total: float | None = None,
        unit: str = "",
        eta_s: float | None = None,
    ) -> None:
        """Report that a stage begins, without looking for requests as `report_progress` does."""
        self._began = time.monotonic()
        self._last_progress = (stage, self._began)
        progress = events.Progress(
            stage=Text.model_validate(stage), done=done, total=total, unit=unit, eta_s=eta_s
        )
        self.emit(progress)
