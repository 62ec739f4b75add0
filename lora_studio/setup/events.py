"""Events of a setup: one closed union, shared by the window and the command line."""

from __future__ import annotations

import time
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from lora_studio.core.protocol.base import LazyUnion
from lora_studio.core.protocol.events import Cancelled, Done, Failed, LogLine, Progress, Warned
from lora_studio.setup.detect import Accelerator


class SetupMessage(BaseModel):
    """Base of setup events; `time` is in seconds since 1970 (UTC)."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    time: float = Field(default_factory=time.time)


class MachineFound(SetupMessage):
    """The device that the engine will use."""

    kind: Literal["machine_found"] = "machine_found"
    accelerator: Accelerator


class SetupPlanned(SetupMessage):
    """The plan: what will be downloaded and where to; nothing has been changed yet.

    Sizes in bytes. `download` is what is still missing of `total`; `needed` is what the disk must
    have free. `reused` packages come from the current engine.
    """

    kind: Literal["engine_planned"] = "engine_planned"
    variant: str
    folder: str
    python: str
    torch: str
    packages: int
    reused: int = 0
    download: int
    total: int
    needed: int
    free: int


class EngineReady(SetupMessage):
    """An engine was installed and checked, and is now the current one."""

    kind: Literal["engine_ready"] = "engine_ready"
    name: str
    folder: str
    python: str
    bytes: int
    seconds: float


class WheelhouseReady(SetupMessage):
    """A folder that an engine can be installed from without a network; size in bytes."""

    kind: Literal["wheelhouse_ready"] = "wheelhouse_ready"
    folder: str
    files: int
    bytes: int


Ending = Done | Failed | Cancelled
Event = (
    Progress | LogLine | Warned | Done | Failed | Cancelled
    | MachineFound | SetupPlanned | EngineReady | WheelhouseReady
)  # fmt: skip

_UNION: LazyUnion[Event] = LazyUnion(Event)


def parse(line: str | bytes) -> Event:
    """Return the event in one JSON line; raises pydantic.ValidationError."""
    return _UNION.parse(line)
