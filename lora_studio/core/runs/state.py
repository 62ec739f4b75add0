"""Derive the state of a run from the events of its commands."""

from __future__ import annotations

from dataclasses import dataclass
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
