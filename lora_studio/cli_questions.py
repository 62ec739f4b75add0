"""Questions that verbs ask a worker: the answer as a list of events, or an exit with the reason."""

from __future__ import annotations

import typer

from lora_studio import client, headless
from lora_studio.console import Display
from lora_studio.core import commands, events
from lora_studio.core.problems import ProblemError


def answers(command: commands.Question) -> list[events.Event]:
    """All events about one question; an engine that cannot start answers with `Failed`."""
    try:
        worker = client.Worker.start()
    except ProblemError as error:
        return [events.Failed(problem=error.problems[0])]
    worker.send(command)
    return list(client.until_ended(worker, command.id))


def ask(command: commands.Question, display: Display) -> list[events.Event]:
    """The same, for verbs that print a result of their own; a failure is shown and exits."""
    found = answers(command)
    for event in found:
        match event:
            case events.Failed():
                display.problems([event.problem])
                raise typer.Exit(headless.FAILED)
            case events.Cancelled():
                raise typer.Exit(headless.INTERRUPTED)
            case events.Warned():
                display.problem(event.problem)
    return found
