"""Events that all commands share (start, progress, log, ending), and commands that interrupt
others.
"""

from __future__ import annotations

from typing import Literal

from lora_studio.core.messages import Text
from lora_studio.core.problems import Problem
from lora_studio.core.protocol.base import BaseCommand, BaseEvent

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
PROTOCOL = 2


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
