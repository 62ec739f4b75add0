"""The base classes of commands and events."""

from __future__ import annotations

import time
import uuid
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from lora_studio.core.messages import NO_TEXT, Text
from lora_studio.core.problems import Step

#: State of a run after a command that changed it has succeeded.
RunState = Literal["trained", "merged", "exported"]

#: Workers that answer questions side by side, each one question after another. Reading a whole
#: dataset takes minutes, the hub may not answer for long, and sizes and templates take seconds in a
#: process of their own; meanwhile a page of rows has to arrive at once.
Lane = Literal["common", "scanner", "reader", "finder", "hub", "downloads", "sizes"]


class BaseCommand(BaseModel):
    """A request to a worker.

    What a command is stands on its class, so that no table has to repeat it: see the attributes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: What a progress line calls the work: "Training".
    title: ClassVar[Text] = NO_TEXT
    #: The step of the project that the command and its problems belong to.
    step: ClassVar[Step | None] = None
    #: Whether it writes into a run. It may run only while no other worker writes into that run, holds
    #: the run's lock meanwhile, and its events are recorded in the run.
    changes_run: ClassVar[bool] = False
    #: State of the run afterwards; None leaves the state as it was.
    state_after: ClassVar[RunState | None] = None
    #: The worker that answers it in the window.
    lane: ClassVar[Lane] = "common"
    #: Whether it only shows more of what is known, so that its failure keeps no job from starting.
    is_optional: ClassVar[bool] = False
    #: Whether it is about the open project, so that it ends when another one is opened.
    in_project: ClassVar[bool] = True

    id: str = Field(default_factory=lambda: uuid.uuid4().hex[:12])


class BaseEvent(BaseModel):
    """A report from a worker.

    `id` is that of the command that it is about, `time` is in seconds since 1970 (UTC).
    """

    # A diverged loss is worth reporting: JSON has no NaN, so it travels as a string.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    id: str = ""
    time: float = Field(default_factory=time.time)
