"""Engine jobs in this process: the worker's own command handling with a recording channel."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.events import Event
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.files import write_atomic
from lora_studio.engine import worker
from lora_studio.engine.runtime.channel import Flags, Inbox, JobContext

E = TypeVar("E", bound=BaseModel)


class RecordingChannel:
    """Record every event and, during a job, write the run's events file like the worker does.

    `on_event` is called with each event as it arrives and may set flags of the job.
    """

    def __init__(self, on_event: Callable[[Event], None] | None = None) -> None:
        """Start with no events."""
        self.events: list[Any] = []
        self._on_event = on_event
        self._file: Path | None = None

    def open_run(self, run: RunFolder) -> None:
        """Also write events to the run's events file."""
        self._file = run.events_file

    def close_run(self) -> None:
        """Stop writing to the run's events file."""
        self._file = None

    def emit(self, event: Event) -> None:
        """Record the event as a parent receives it: through its JSON line."""
        line = events.to_line(event)
        self.events.append(events.parse(line, is_own=True))
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        if self._on_event is not None:
            self._on_event(self.events[-1])

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of one kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    def last(self, kind: type[E]) -> E:
        """Return the last event of a kind; fail if there is none."""
        matching = self.of(kind)
        assert matching, f"no {kind.__name__} among {[event.kind for event in self.events]}"
        return matching[-1]


def make_job(channel: RecordingChannel | None = None) -> JobContext:
    """Return a job with a recording channel."""
    return JobContext("test", channel or RecordingChannel(), Flags())


def handle(
    command: commands.Job | commands.Question,
    on_event: Callable[[Event, Flags], None] | None = None,
) -> RecordingChannel:
    """Carry out a command like the worker does; return the channel with all its events."""
    inbox = _create_inbox()
    flags = inbox.get_flags(command.id)
    channel = RecordingChannel(on_event and (lambda event: on_event(event, flags)))
    worker.handle(command, channel, inbox)
    return channel


def handle_on(command: commands.Job | commands.Question, channel: RecordingChannel) -> None:
    """Carry out a command like the worker does, on a channel of the test's own."""
    worker.handle(command, channel, _create_inbox())


def _create_inbox() -> Inbox:
    waiting: queue.Queue[Any] = queue.Queue()
    return Inbox(lambda command: waiting.put(command))


def train(
    run: RunFolder,
    on_event: Callable[[Event, Flags], None] | None = None,
    resume: bool = False,
    **options: bool,
) -> RecordingChannel:
    """Train a run like the worker does; return the channel with all its events."""
    return handle(commands.Train(run=str(run.path), resume=resume, **options), on_event)


def new_run(folder: Path, **specs: dict[str, Any]) -> RunFolder:
    """Return a run with the given settings, such as model={"source": …}.

    Sample prompts are off by default, because they take most of the time of a tiny training.
    """
    specs["training"] = {"sample_rows": 0} | specs.get("training", {})
    project = Project.model_validate({"name": "test", **specs})
    return run_folder.create_run(folder / "runs", project, folder)


def write_rows(file: Path, rows: list[Any]) -> Path:
    """Write rows to a JSONL file and return its path."""
    import json

    write_atomic(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return file


Kind = TypeVar("Kind", bound=BaseModel)


class Recorder:
    """A channel that records events; `on_event` may set flags at a chosen moment."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.on_event: Any = lambda event: None

    def emit(self, event: BaseModel) -> None:
        """Record the event after a round trip through its JSON line."""
        parsed = events.parse(events.to_line(event), is_own=True)
        self.events.append(parsed)
        self.on_event(parsed)

    def of(self, kind: type[Kind]) -> list[Kind]:
        """Return the events of one kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]


def recorded_job() -> tuple[JobContext, Recorder]:
    """Return a job and its recorder."""
    recorder = Recorder()
    return JobContext("test", recorder, Flags()), recorder


#: Seconds in which even a busy machine ends a killed worker.
_PATIENCE = 120.0


def wait_until_free(run: RunFolder) -> None:
    """Wait until no process has a run's lock; raises TimeoutError with the process that still has it."""
    until = time.monotonic() + _PATIENCE
    while run.is_running():
        if time.monotonic() > until:
            raise TimeoutError(f"{run.path} is still in use: {run.lock_file.read_text()}")
        time.sleep(0.005)
