"""Derive the state of a run, and missing steps, from the events of its commands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from lora_studio.core.protocol import events
from lora_studio.core.protocol.commands import COMMANDS

State = Literal[
    "new", "running", "paused", "stopped", "interrupted", "failed", "trained", "merged", "exported"
]  # fmt: skip

#: State of a run after each command that changes it, by the command's kind.
_STATE_AFTER: dict[str, State] = {
    kind: command.state_after for kind, command in COMMANDS.items() if command.state_after
}


@dataclass
class StateFold:
    """Follows the events of a run; `changing` is the running command, if it changes the state."""

    state: State = "new"
    changing: str = ""

    def on_event(self, event: object) -> None:
        """Follow an event. A command without an ending is interrupted, unless a worker runs it."""
        match event:
            case events.Started():
                self.changing = event.command if event.command in _STATE_AFTER else ""
                self.state = "interrupted" if self.changing else self.state
            case events.Failed() if self.changing:
                self.state = "failed"
            case events.Cancelled() if self.changing:
                self.state = "stopped"
            case events.Done() if self.changing:
                self.state = "paused" if event.paused else _STATE_AFTER[self.changing]


@dataclass
class LostSteps:
    """Follows the steps of a run; `ranges` are the first and last step of each gap up to step `last`."""

    ranges: list[tuple[int, int]] = field(default_factory=list)
    last: int = 0

    def on_event(self, event: object) -> None:
        """Follow an event, in the order of the file."""
        match event:
            case events.TrainingStarted() | events.Recovered():
                self.rewind(event.step)
            case events.StepDone():
                self.on_step(event.step)

    def on_step(self, step: int) -> None:
        """Follow the event of a step."""
        if step <= self.last:
            self.rewind(step - 1)
        self.expect(step - 1)
        self.last = step

    def expect(self, step: int) -> None:
        """Add a gap up to a step that training is known to have done."""
        if step > self.last:
            self.ranges.append((self.last + 1, step))
            self.last = step

    def rewind(self, step: int) -> None:
        """Drop what follows a step, since training continues from it."""
        self.last = min(self.last, step)
        self.ranges = [(first, min(last, step)) for first, last in self.ranges if first <= step]
