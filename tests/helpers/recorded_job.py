"""A job as the worker makes one, whose events stay in a list."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel

from lora_studio.core.protocol import events
from lora_studio.engine.runtime.channel import Flags, JobContext

Kind = TypeVar("Kind", bound=BaseModel)


class Recorder:
    """Takes the place of the channel to a parent; `on_event` may set flags at a chosen moment."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.on_event: Any = lambda event: None

    def emit(self, event: BaseModel) -> None:
        """Keeps the event as it would go over the wire and come out again."""
        parsed = events.parse(events.to_line(event))
        self.events.append(parsed)
        self.on_event(parsed)

    def of(self, kind: type[Kind]) -> list[Kind]:
        """The events of one kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]


def recorded_job() -> tuple[JobContext, Recorder]:
    """A job and what it emits."""
    recorder = Recorder()
    return JobContext("test", recorder, Flags()), recorder  # type: ignore[arg-type]
