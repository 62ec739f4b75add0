"""The protocol of a connection to a worker, and helpers for reading its events."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from pydantic import ValidationError

from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.events import Event

Command = commands.Job | commands.Question | commands.Control


class Link(Protocol):
    """A connection to a worker that this process or another one started."""

    def send(self, command: Command) -> None:
        """Send a command. If the worker has ended, `iter_events` reports it; nothing is raised."""

    def iter_events(self) -> Iterator[Event]:
        """Yield events until the worker ends. Blocks; every command gets its ending event."""

    def cancel(self, target: str) -> None:
        """Ask the worker to cancel a command, and kill it if it doesn't respond."""

    def close(self) -> None:
        """Tell the worker that no more commands follow."""

    def kill(self) -> None:
        """Kill the worker and all processes it started."""

    def detach(self) -> None:
        """Let the worker continue on its own: `iter_events` ends without an ending event."""


def iter_until_ended(link: Link, command_id: str) -> Iterator[Event]:
    """Yield a worker's events up to the ending of one command, then close the connection."""
    for event in link.iter_events():
        if isinstance(event, events.Ending) and event.id == command_id:
            link.close()
        yield event


def parse_events(lines: Iterable[bytes], *, is_own: bool = False) -> Iterator[Event]:
    """Yield the event in each JSON line, skipping lines that aren't events; `is_own` for those of a pipe."""
    for line in lines:
        with contextlib.suppress(ValidationError):
            yield events.parse(line, is_own=is_own)


def call_later(seconds: float, action: Callable[[], object]) -> None:
    """Call `action` from a daemon thread after some seconds."""
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()
