"""What all commands and events share: base classes, progress, log and ending, and commands that interrupt others."""

from __future__ import annotations

import re
import time
import uuid
from functools import cached_property
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from lora_studio.core.messages import NO_TEXT, Text
from lora_studio.core.problems import Problem, Step

#: State of a run after a successful command that changes it.
RunState = Literal["trained", "merged", "exported"]

#: Workers that run in parallel, each of which answers one command after another. Reading a whole
#: dataset takes minutes, the Hub may be slow, and sizes and templates take seconds in a separate
#: process; a page of rows must not wait for any of them.
Lane = Literal["common", "scanner", "reader", "finder", "hub", "downloads", "sizes"]

#: A clock that also counts while the computer sleeps and that can't be set: on Linux, then on macOS;
#: None where `time.monotonic` is such a clock (Windows).
_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


def _read_clock() -> float:
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


#: The time in seconds since 1970 at which that clock was 0, as known when this process started.
_EPOCH = time.time() - _read_clock()


def read_event_time() -> float:
    """Return the time in seconds since 1970 (UTC), as if the clock were never set in this process.

    So the difference between two events of a worker is a duration.
    """
    return _EPOCH + _read_clock()


class BaseCommand(BaseModel):
    """A request to a worker.

    Class attributes describe the command, so that no other table needs to list it.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    #: What a progress line calls the work: "Training".
    title: ClassVar[Text] = NO_TEXT
    #: The step of the project that the command and its problems belong to.
    step: ClassVar[Step | None] = None
    #: Whether it writes into a run. If so, it needs exclusive access: it holds the run's lock while
    #: it works, and its events are recorded in the run.
    changes_run: ClassVar[bool] = False
    #: State of the run afterwards; None leaves the state unchanged.
    state_after: ClassVar[RunState | None] = None
    #: The worker that handles it in the window.
    lane: ClassVar[Lane] = "common"
    #: Whether it only shows additional information, so that its failure doesn't prevent a job.
    is_optional: ClassVar[bool] = False
    #: Codes of its problems that prevent a job nevertheless, because the job would have them too.
    prevents_jobs: ClassVar[tuple[str, ...]] = ()
    #: Whether it is about the open project and is therefore canceled when another one is opened.
    in_project: ClassVar[bool] = True

    #: Whether it is canceled when the process that sent it ends, instead of running to its end.
    ends_with_parent: ClassVar[bool] = False
    #: Whether it only reads files that somebody else may have prepared. If so, the worker's memory is
    #: limited while it works.
    reads_foreign_files: ClassVar[bool] = False
    #: Whether it only queries a server or a program, and changes nothing.
    only_queries: ClassVar[bool] = False
    #: Whether it trains a model, so that its memory also depends on the micro-batch size.
    trains: ClassVar[bool] = False

    id: str = Field(default_factory=lambda: uuid.uuid4().hex[:12])

    @property
    def has_nothing_to_save(self) -> bool:
        """Return whether its worker may be ended soon after a cancel, even if it waits for a server forever."""
        return self.reads_foreign_files or self.only_queries

    def list_runs(self) -> list[str]:
        """Return the runs that it works on, which need the user's consent if they come from somebody else."""
        run: str = getattr(self, "run", "")
        return [run] if run else []


class BaseEvent(BaseModel):
    """A report from a worker.

    `id` is the ID of its command, `time` is in seconds since 1970 (UTC).
    """

    # A diverged loss is worth reporting: JSON has no NaN, so it is sent as a string.
    model_config = ConfigDict(
        defer_build=True, frozen=True, extra="forbid", ser_json_inf_nan="strings"
    )

    id: str = ""
    time: float = Field(default_factory=read_event_time)


T = TypeVar("T")

#: The first kind in a line. It may be that of a nested object, so it is only a guess.
_KIND = re.compile(rb'"kind": ?"(\w+)"')


class LazyUnion(Generic[T]):
    """Parses JSON into one of the models of a union, told apart by their `kind`."""

    def __init__(self, union: Any) -> None:
        """Create it for a union of models, each with a default `kind`."""
        models: list[type[BaseModel]] = list(get_args(union))
        self._union = union
        self._models = {model.model_fields["kind"].default: model for model in models}

    def parse(self, line: str | bytes, context: dict[str, bool] | None = None) -> T:
        """Parse one JSON object with a validation context; raises pydantic.ValidationError.

        If the guessed model refuses the line, the whole union decides, and reports what is wrong.
        """
        if (model := self._guess(line)) is not None:
            try:
                parsed: Any = model.model_validate_json(line, context=context)
            except ValidationError:
                pass
            else:
                return parsed  # type: ignore[no-any-return]  # one of the union
        return self._adapter.validate_json(line, context=context)

    def _guess(self, line: str | bytes) -> type[BaseModel] | None:
        kind = _KIND.search(line.encode("utf-8", "replace") if isinstance(line, str) else line)
        return self._models.get(kind[1].decode("ascii", "replace")) if kind else None

    @cached_property
    def _adapter(self) -> TypeAdapter[T]:
        union: Any = Annotated[self._union, Field(discriminator="kind")]
        return TypeAdapter(union)


#: Exit status of a worker that could not start its threads.
NO_PROCESSES = 75


class Cancel(BaseCommand):
    """Cancel the command `target`, without a result; enforced after ten seconds."""

    kind: Literal["cancel"] = "cancel"
    target: str


class Stop(BaseCommand):
    """End the training `target` after the current step and keep the adapter."""

    kind: Literal["stop"] = "stop"
    target: str


class Pause(BaseCommand):
    """Pause the training `target` after the current step and save a checkpoint to resume from."""

    kind: Literal["pause"] = "pause"
    target: str


class SaveCheckpoint(BaseCommand):
    """Save a checkpoint of the training `target` after the current step."""

    kind: Literal["checkpoint"] = "checkpoint"
    target: str


class Shutdown(BaseCommand):
    """End the worker after its current command."""

    kind: Literal["shutdown"] = "shutdown"


class GoOffline(BaseCommand):
    """Turn on offline mode for a running job. A job can't be switched back, since anyone who can write to
    its mailbox can send this.
    """

    kind: Literal["go_offline"] = "go_offline"


#: Protocol version, incremented whenever a command or an event changes its meaning.
PROTOCOL = 3


class Hello(BaseEvent):
    """The first line of every worker. Parsed leniently; it never changes."""

    kind: Literal["hello"] = "hello"
    protocol: int = PROTOCOL
    app_version: str
    pid: int


class Started(BaseEvent):
    """The worker starts a command."""

    kind: Literal["started"] = "started"
    command: str


class Progress(BaseEvent):
    """The progress of a stage. `total` is None while unknown; `eta_s` in seconds."""

    kind: Literal["progress"] = "progress"
    stage: Text
    done: float = 0.0
    total: float | None = None
    unit: str = ""
    eta_s: float | None = None


class FileOpened(BaseEvent):
    """The command starts to read a file that somebody else may have prepared.

    If the worker dies, its parent knows which file it was reading. Parents don't show this event.
    """

    kind: Literal["file_opened"] = "file_opened"
    file: str


class LogLine(BaseEvent):
    """A line for the log of the run."""

    kind: Literal["log"] = "log"
    text: Text


class Warned(BaseEvent):
    """The command reported a problem and continues."""

    kind: Literal["warned"] = "warned"
    problem: Problem


class Done(BaseEvent):
    """The command succeeded. `stopped`: ended on request, with a usable result; `paused`: ended on
    request, to resume from its checkpoint, if there was one yet.
    """

    kind: Literal["done"] = "done"
    stopped: bool = False
    paused: bool = False


class Failed(BaseEvent):
    """The command ended with a problem."""

    kind: Literal["failed"] = "failed"
    problem: Problem


class Cancelled(BaseEvent):
    """The command was canceled, without a result."""

    kind: Literal["cancelled"] = "cancelled"
