"""The worker's line to its parent: events out, commands in, flags that work looks at."""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ValidationError

from lora_studio.core.messages import Text
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.runtime.failures import CancelledError, PausedError

#: Seconds between two looks into the mailbox of a run.
MAILBOX_INTERVAL = 0.25

#: Shortest time between two `Progress` events of one stage, in seconds.
PROGRESS_INTERVAL = 0.1


class Channel:
    """Writes events to the parent's pipe and, during a job, to the run's `events.jsonl`.

    The file is the truth. The pipe has a thread of its own: a parent that hangs or has gone never
    holds the work up.
    """

    def __init__(self) -> None:
        """Takes over stdout: from now on a stray `print`, in C too, goes to stderr."""
        sys.stdout.flush()
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        pipe = os.fdopen(os.dup(1), "wb", buffering=0)
        self._pump = threading.Thread(target=self._mirror, args=(pipe,), daemon=True)
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        self._file: BinaryIO | None = None
        self._lock = threading.Lock()
        self._pump.start()

    def open_run(self, run: RunFolder) -> None:
        """Also writes to the run's events file, from a line of its own on."""
        file = run.events_file.open("ab+", buffering=0)
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        self._file = file

    def close_run(self) -> None:
        """Ends writing to a run's events file."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def emit(self, event: BaseModel) -> None:
        """Sends one event; raises OSError only when the run's own file cannot be written."""
        line = events.to_line(event).encode() + b"\n"
        with self._lock:
            if self._file is not None:
                _write_all(self._file, line)
            self._lines.put(line)

    def drain(self, seconds: float = 10.0) -> None:
        """Waits until the parent has been sent everything, or that long."""
        self._lines.put(None)
        self._pump.join(seconds)

    def _mirror(self, pipe: BinaryIO) -> None:
        gone = False
        while (line := self._lines.get()) is not None:
            if not gone:
                try:
                    _write_all(pipe, line)
                except OSError:
                    gone = True


def _write_all(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


@dataclass
class Flags:
    """What a parent has asked of the command under way; set by reader threads."""

    cancel: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)
    pause: threading.Event = field(default_factory=threading.Event)
    checkpoint: threading.Event = field(default_factory=threading.Event)


class Inbox:
    """Commands from stdin and from a run's mailbox; controls set flags, the rest waits in line."""

    def __init__(self, on_command: Callable[[commands.Job | commands.Question | None], None]):
        """`on_command` is called from the reader threads; None means that no more will come."""
        self._on_command = on_command
        self._flags: dict[str, Flags] = {}
        self._lock = threading.Lock()
        self._under_way: commands.Job | commands.Question | None = None
        self._over = False
        self._is_alone = False  # the parent has closed its end, or is gone
        self._when_alone: Callable[[], None] | None = None

    def flags(self, target: str) -> Flags:
        """The flags of a command; they may be set before it begins."""
        with self._lock:
            return self._flags.setdefault(target, Flags())

    def begin(self, command: commands.Job | commands.Question) -> Flags:
        """The flags of the command that is carried out from now on."""
        flags = self.flags(command.id)
        with self._lock:
            self._under_way = command
        if self._over:
            self._end(command)
        return flags

    def wind_up(self) -> None:
        """Ends everything soon: a training is paused, all else is cancelled, nothing new begins."""
        with self._lock:
            self._over, command = True, self._under_way
        if command is not None:
            self._end(command)
        self._on_command(None)

    def _end(self, command: commands.Job | commands.Question) -> None:
        flags = self.flags(command.id)
        (flags.pause if isinstance(command, commands.Train) else flags.cancel).set()

    def read_pipe(self, stream: BinaryIO) -> None:
        """Starts the thread that reads commands until the parent closes its end."""

        def read() -> None:
            for line in stream:
                self._take(line)
            with self._lock:
                self._is_alone, act = True, self._when_alone
            if act is not None:
                act()
            self._on_command(None)

        threading.Thread(target=read, name="commands", daemon=True).start()

    def when_alone(self, act: Callable[[], None]) -> Callable[[], None]:
        """Calls `act` when the parent has closed its end of the pipe, or at once if it has; returns the
        end of that."""
        with self._lock:
            self._when_alone, is_alone = act, self._is_alone
        if is_alone:
            act()

        def end() -> None:
            with self._lock:
                self._when_alone = None

        return end

    def watch_mailbox(self, path: Path) -> Callable[[], None]:
        """Starts the thread that reads controls appended to a file from now on; returns its end."""
        ended = threading.Event()
        start = path.stat().st_size if path.exists() else 0

        def watch() -> None:
            position = start
            while not ended.wait(MAILBOX_INTERVAL):
                position = self._read_mailbox(path, position)

        threading.Thread(target=watch, name="mailbox", daemon=True).start()
        return ended.set

    def _read_mailbox(self, path: Path, position: int) -> int:
        if not path.exists() or path.stat().st_size <= position:
            return position
        with path.open("rb") as file:
            file.seek(position)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                position += len(line)
                self._take(line, controls_only=True)
        return position

    def _take(self, line: bytes, *, controls_only: bool = False) -> None:
        try:
            command = commands.parse(line)
        except ValidationError as error:
            # Without what was sent: it may hold a token.
            found = error.errors(include_input=False, include_url=False, include_context=False)
            print(f"A command was not understood: {found}", file=sys.stderr)
            return
        match command:
            case commands.Cancel():
                self.flags(command.target).cancel.set()
            case commands.Stop():
                self.flags(command.target).stop.set()
            case commands.Pause():
                self.flags(command.target).pause.set()
            case commands.SaveCheckpoint():
                self.flags(command.target).checkpoint.set()
            case commands.Shutdown():
                self._on_command(None)
            case _ if not controls_only:
                self._on_command(command)


@dataclass
class JobContext:
    """What a step of the engine needs of the world around it."""

    id: str
    channel: Channel
    flags: Flags
    #: Whether a pause may end the work right here: not in the middle of an optimizer step.
    pausable: bool = False
    #: Called with each event after it was sent.
    listeners: list[Callable[[events.Event], None]] = field(default_factory=list)
    _last_progress: tuple[str | Text, float] = ("", 0.0)
    _began: float = 0.0

    def emit(self, event: events.Event) -> None:
        """Sends an event in the name of this job's command."""
        self.channel.emit(event.model_copy(update={"id": self.id}))
        for listener in tuple(self.listeners):
            listener(event)

    def check(self) -> None:
        """Called per micro-batch, tensor, token or chunk; raises CancelledError or PausedError."""
        if self.flags.cancel.is_set():
            raise CancelledError
        if self.pausable and self.flags.pause.is_set():
            raise PausedError

    def progress(self, stage: str | Text, done: float, total: float | None, unit: str = "") -> None:
        """Tells how far a stage is, at most ten times a second, and heeds a cancel.

        The time left is what the stage took so far, projected onto the rest.
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
        self.emit(events.Progress(stage=str(stage), done=done, total=total, unit=unit, eta_s=eta))
