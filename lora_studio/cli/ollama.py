"""`lora-studio ollama`: the models of an Ollama server, and new ones from runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from lora_studio.cli import headless
from lora_studio.cli.common import ask, print_json
from lora_studio.cli.console import Display
from lora_studio.core import formatting
from lora_studio.core.protocol import commands, events

app = typer.Typer(
    help="List, show, copy and remove models in Ollama, and create them from runs.",
    no_args_is_help=True,
)

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
HostOption = Annotated[
    str,
    typer.Option(
        help="Such as http://127.0.0.1:11434. Left out: as OLLAMA_HOST says. A user name and a password belong into OLLAMA_HOST, "
        "where other users of this computer do not see them.",
    ),
]
NameArgument = Annotated[str, typer.Argument(help="name or name:tag of a model.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace a model of that name.")]


@app.command(name="list")
def list_models(as_json: JsonOption = False, host: HostOption = "") -> None:
    """List the models of a server."""
    found = _server(commands.InspectOllama(host=host), as_json)
    if not as_json:
        _print_models(found)


@app.command()
def show(name: NameArgument, as_json: JsonOption = False, host: HostOption = "") -> None:
    """Show what a server has stored for a model: TEMPLATE, stops, parameters, system prompt."""
    display = Display(as_json=as_json)
    shown = ask(commands.ShowOllama(name=name, host=host), events.OllamaShown, display)
    if as_json:
        print_json(shown)
        return
    display.title(f"{shown.name} at {shown.host}")
    if shown.quantization:
        display.say(f"{shown.family}, {shown.quantization}")
    if shown.system:
        display.say(f"System prompt: {shown.system}")
    for key, value in shown.parameters.items():
        display.say(f"{key} {value}")
    for stop in shown.stops:
        display.say(f"stop {stop!r}")
    display.title("TEMPLATE")
    print(shown.template)


@app.command()
def copy(
    source: NameArgument,
    target: Annotated[str, typer.Argument(help="The second name.")],
    as_json: JsonOption = False,
    host: HostOption = "",
    force: ForceOption = False,
) -> None:
    """Give a model a second name."""
    command = commands.CopyOllama(source=source, target=target, host=host, force=force)
    found = _server(command, as_json)
    if not as_json:
        Display().say(f"{source} is {target} at {found.host}, too.")


@app.command()
def remove(
    name: NameArgument,
    as_json: JsonOption = False,
    host: HostOption = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove a model from a server; asks first on a terminal."""
    display = Display(as_json=as_json)
    if not yes and not as_json and display.console.is_terminal:
        typer.confirm(f"Remove {name}? It cannot be brought back.", abort=True)
    found = _server(commands.RemoveOllama(name=name, host=host), as_json)
    if not as_json:
        display.say(f"{name} was removed from {found.host}.")


@app.command()
def create(
    run: Annotated[Path, typer.Argument(help="Folder of a run that was exported.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print events as JSON lines instead.")
    ] = False,
    host: HostOption = "",
    name: Annotated[str, typer.Option(help="name:tag. Left out: the project's.")] = "",
    quantization: Annotated[
        str, typer.Option(help="Which of the run's files. Left out: the first one chosen.")
    ] = "",
    force: ForceOption = False,
    anyway: Annotated[
        bool,
        typer.Option(
            "--anyway", help="Take a file whose few bits lose more than the self-test allows."
        ),
    ] = False,
) -> None:
    """Create the model of a run, with its proven TEMPLATE, and compare what the server stored."""
    command = commands.CreateOllama(
        run=str(run.resolve()),
        host=host,
        name=name,
        quantization=quantization,
        force=force,
        anyway=anyway,
    )
    ending = headless.perform(command, Display(as_json=as_json))
    raise typer.Exit(headless.exit_status(ending))


def _server(
    command: commands.InspectOllama | commands.CopyOllama | commands.RemoveOllama, as_json: bool
) -> events.OllamaFound:
    """The server and its models after a command."""
    found = ask(command, events.OllamaFound, Display(as_json=as_json))
    if as_json:
        print_json(found)
    return found


def _print_models(found: events.OllamaFound) -> None:
    display = Display()
    display.say(f"Ollama {found.version} at {found.host}")
    if not found.details:
        display.say("There are no models yet.")
        return
    table = Table("Model", "Size", "Quantisation", "Changed", box=None)
    for model in found.details:
        table.add_row(
            model.name, formatting.size(model.bytes), model.quantization, model.modified[:16]
        )
    display.console.print(table)
