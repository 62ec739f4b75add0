"""The registry of handlers: which function carries out which command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from lora_studio.core.protocol import commands, events
from lora_studio.engine.runtime.channel import JobContext

#: Carries out a command. Returns how it ended, or None for a plain `Done`.
Handler = Callable[[Any, JobContext], events.Done | None]

_HandlerT = TypeVar("_HandlerT", bound=Handler)

_HANDLERS: dict[type[commands.Job | commands.Question], Handler] = {}


def handles(
    *command_types: type[commands.Job | commands.Question],
) -> Callable[[_HandlerT], _HandlerT]:
    """Register the decorated function as the handler of these commands.

    Raises ValueError for a command that already has a handler.
    """

    def register(handler: _HandlerT) -> _HandlerT:
        for command_type in command_types:
            if command_type in _HANDLERS:
                raise ValueError(f"{command_type.__name__} already has a handler")
            _HANDLERS[command_type] = handler
        return handler

    return register


def get_handler(command_type: type[commands.Job | commands.Question]) -> Handler:
    """Return the handler of a command; raises KeyError when it has none."""
    return _HANDLERS[command_type]


def get_registered_commands() -> frozenset[type[commands.Job | commands.Question]]:
    """Return the classes of all commands that have a handler."""
    return frozenset(_HANDLERS)


def run_command(command: commands.Job | commands.Question, job: JobContext) -> events.Done:
    """Carry out a command with its handler and return how it ended; raises what the handler raises."""
    return get_handler(type(command))(command, job) or events.Done()
