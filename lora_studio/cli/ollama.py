"""`lora-studio ollama`: manage the models of an Ollama server and create them from runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lora_studio.cli import headless
from lora_studio.cli.common import JsonLinesOption, JsonObjectOption, ask, print_json
from lora_studio.cli.console import Display, write_out
from lora_studio.core import formatting
from lora_studio.core.messages import Text, text
from lora_studio.core.protocol import commands, events

app = typer.Typer(
    help="List, show, verify, copy, remove, and create Ollama models.",
    no_args_is_help=True,
)

HostOption = Annotated[
    str,
    typer.Option(
        help="Server address, such as http://127.0.0.1:11434. Default: OLLAMA_HOST. Put user names and passwords in OLLAMA_HOST, where other users of this computer can't see them.",
    ),
]
NameArgument = Annotated[str, typer.Argument(help="Model name: NAME or NAME:TAG.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace an existing model.")]


@app.command(name="list")
def list_models(as_json: JsonObjectOption = False, host: HostOption = "") -> None:
    """List the models of an Ollama server."""
    server = _ask_server(commands.InspectOllama(host=host), as_json)
    if not as_json:
        _print_models(server)


@app.command()
def show(name: NameArgument, as_json: JsonObjectOption = False, host: HostOption = "") -> None:
    """Show the template, stop tokens, parameters, and system prompt of a model."""
    display = Display(as_json=as_json)
    shown = ask(commands.ShowOllama(name=name, host=host), events.OllamaShown, display)
    if as_json:
        print_json(shown)
        return
    display.print_title(f"{shown.name} at {shown.host}")
    if shown.quantization:
        display.print_line(f"{shown.family}, {shown.quantization}")
    if shown.system:
        display.print_line(f"System prompt: {shown.system}")
    for key, value in shown.parameters.items():
        display.print_line(f"{key} {value}")
    for stop in shown.stops:
        display.print_line(f"stop {stop!r}")
    display.print_title("TEMPLATE")
    write_out(shown.template + "\n")
    if shown.chat_template:
        display.print_title("Chat template that the server uses instead")
        write_out(shown.chat_template + "\n")


@app.command()
def prove(
    name: NameArgument,
    model: Annotated[
        Path, typer.Option(help="Model folder that the model was made from (Hugging Face format).")
    ],
    as_json: JsonObjectOption = False,
    host: HostOption = "",
    system: Annotated[
        str | None,
        typer.Option(help="System prompt that the model should have. Default: the run's, or none."),
    ] = None,
) -> None:
    """Verify that a model answers prompts as a model folder defines them. Weights aren't compared.

    Compares prompts, token counts, the ends of answers, sampling parameters, and the system prompt. Exit
    with 0 if all are equal, 1 if something differs, 3 if nothing differs but the server didn't show or run
    its prompts, or 4 if only prompts with tools, reasoning, or two messages of one role in a row differ and
    the model isn't known to be trained on them.
    """
    display = Display(as_json=as_json)
    command = commands.ProveOllama(
        name=name, folder=str(model.expanduser().resolve()), host=host, system=system
    )
    proven = ask(command, events.OllamaProven, display)
    if as_json:
        print_json(proven, outcome=proven.outcome)
    else:
        _print_proof(proven, display)
    raise typer.Exit(headless.PROOF_STATUSES[proven.outcome])


def _print_proof(proven: events.OllamaProven, display: Display) -> None:
    proof = proven.proof
    display.print_line(proof.verdict)
    display.print_line(
        text(
            "Prompts come from {path}: {reason}.",
            path=proof.path.description,
            reason=proof.reason,
        )
    )
    if proof.unasked:
        display.print_line(text("The server didn't answer: {reason}", reason=proof.unasked))
    if not proven.is_file_read:
        display.print_line(
            text(
                "The model's file isn't on this computer: token IDs are those of the folder's "
                "tokenizer, and the server's are compared by their number."
            )
        )
    if proven.system:
        display.print_line(
            text("The server adds the system prompt {system}.", system=repr(proven.system))
        )
    for difference in proof.differences:
        display.print_line(
            text(
                "Differs for {kind}: {details}.",
                kind=difference.kind.description,
                details=difference.details,
            )
        )
    for setting in proven.settings:
        display.print_line(text("Differs: {setting}.", setting=setting))
    if proven.outcome == "proven_in_part":
        display.print_line(_describe_data(proven))


def _describe_data(proven: events.OllamaProven) -> Text:
    """Return whether the model was trained on conversations whose prompts differ."""
    if proven.trained_kinds is None:
        return text(
            "The folder isn't part of a run with held-out conversations, so it isn't known whether the "
            "model was trained on such conversations."
        )
    return text("No held-out conversation of the run is of such a kind.")


@app.command()
def copy(
    source: NameArgument,
    target: Annotated[str, typer.Argument(help="New name.")],
    as_json: JsonObjectOption = False,
    host: HostOption = "",
    force: ForceOption = False,
) -> None:
    """Copy a model to a new name."""
    command = commands.CopyOllama(source=source, target=target, host=host, force=force)
    server = _ask_server(command, as_json)
    if not as_json:
        Display().print_line(
            text(
                "Copied {source} to {target} at {host}.",
                source=source,
                target=target,
                host=server.host,
            )
        )


@app.command()
def remove(
    name: NameArgument,
    as_json: JsonObjectOption = False,
    host: HostOption = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask for confirmation.")] = False,
) -> None:
    """Remove a model from an Ollama server. Asks first on a terminal."""
    display = Display(as_json=as_json)
    if not yes and not as_json and display.notes.is_terminal:
        typer.confirm(
            str(text("Remove {name}? You can't undo this.", name=name)), abort=True, err=True
        )
    server = _ask_server(commands.RemoveOllama(name=name, host=host), as_json)
    if not as_json:
        display.print_line(text("Removed {name} from {host}.", name=name, host=server.host))


@app.command()
def create(
    run: Annotated[Path, typer.Argument(help="Folder of an exported run.")],
    as_json: JsonLinesOption = False,
    host: HostOption = "",
    name: Annotated[
        str, typer.Option(help="Model name: NAME:TAG. Default: the project's setting.")
    ] = "",
    quantization: Annotated[
        str, typer.Option(help="Quantization to use. Default: the project's first one.")
    ] = "",
    force: ForceOption = False,
    anyway: Annotated[
        bool,
        typer.Option(
            "--anyway", help="Use a file even if its self-test shows a large quality loss."
        ),
    ] = False,
) -> None:
    """Create the model of a run with its verified template, and check what the server stored."""
    command = commands.CreateOllama(
        run=str(run.resolve()),
        host=host,
        name=name,
        quantization=quantization,
        force=force,
        anyway=anyway,
    )
    ending = headless.perform(command, Display(as_json=as_json))
    raise typer.Exit(headless.get_exit_status(ending))


def _ask_server(
    command: commands.InspectOllama | commands.CopyOllama | commands.RemoveOllama, as_json: bool
) -> events.OllamaFound:
    """Return the server and its models after a command."""
    server = ask(command, events.OllamaFound, Display(as_json=as_json))
    if as_json:
        print_json(server)
    return server


def _print_models(server: events.OllamaFound) -> None:
    display = Display()
    display.print_line(f"Ollama {server.version} at {server.host}")
    if not server.details:
        display.print_line("No models yet.")
        return
    display.print_table(
        ("Model", "Size", "Quantization", "Changed"),
        (
            (one.name, formatting.format_size(one.bytes), one.quantization, one.modified[:16])
            for one in server.details
        ),
    )
