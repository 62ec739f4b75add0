"""A job like the worker's whose events stay in a list."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel

from lora_studio.core.protocol import events
from lora_studio.engine.runtime.channel import Flags, JobContext

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
