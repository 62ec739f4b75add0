"""`lora-studio model`: list, search, download, and inspect base models."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import SecretStr

from lora_studio.cli import headless
from lora_studio.cli.common import (
    JsonLinesOption,
    JsonObjectOption,
    ask,
    ask_all,
    collect_answers,
    exit_on_problem,
    parse_model,
    print_json,
)
from lora_studio.cli.console import Display
from lora_studio.core import formatting
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.memory import model_fit
from lora_studio.core.messages import READABLE, text
from lora_studio.core.model import folders as model_folders
from lora_studio.core.model.catalog import LOCAL, ModelEntry
from lora_studio.core.problems import ProblemError, fail
from lora_studio.core.protocol import commands, events

app = typer.Typer(help="List, search, download, and inspect base models.", no_args_is_help=True)

#: Suffixes of parameter counts on the command line.
_SCALES = {"K": 1_000, "M": 1_000_000, "B": 1_000_000_000}


@app.command(name="list")
def list_(
    folder: Annotated[
        list[Path] | None,
        typer.Option(help="Additional folder to search. Can be repeated."),
    ] = None,
    location: Annotated[
        str, typer.Option(help=f"Only list this location: {formatting.join_names(LOCAL, 'or')}.")
    ] = "",
    old_location: Annotated[str, typer.Option("--place", hidden=True)] = "",
    as_json: JsonObjectOption = False,
) -> None:
    """List models on this computer, and why some can't be used as base models."""
    display = Display(as_json=as_json)
    named = (str(path.expanduser().resolve()) for path in folder or [])
    folders = tuple(dict.fromkeys((*model_folders.list_added_folders(), *named)))
    with exit_on_problem(display):
        selected = location or old_location
        if selected and selected not in LOCAL:
            raise fail(
                "command.invalid",
                "Unknown location: {name}.",
                "Choose one of: {locations}.",
                name=selected,
                locations=LOCAL,
            )
    locations = [selected] if selected else [name for name in LOCAL if name != "folder" or folders]
    questions = [
        commands.ListModels.model_validate({"location": name, "folders": folders})
        for name in locations
    ]
    with exit_on_problem(display):
        answers = ask_all(questions, display)
    models = [x for event in answers if isinstance(event, events.ModelsFound) for x in event.models]
    _show(models, display, as_json=as_json, nothing="No models on this computer yet.")


@app.command()
def search(
    text: Annotated[
        str, typer.Argument(help="Search text. Without it, lists the most downloaded models.")
    ] = "",
    smallest: Annotated[str, typer.Option(help="Minimum number of parameters, such as 500M.")] = "",
    largest: Annotated[str, typer.Option(help="Maximum number of parameters, such as 8B.")] = "",
    license_: Annotated[
        str, typer.Option("--license", help="License ID on the Hub, such as apache-2.0.")
    ] = "",
    old_license: Annotated[str, typer.Option("--licence", hidden=True)] = "",
    gated: Annotated[bool, typer.Option(help="Include gated models.")] = True,
    sort: Annotated[str, typer.Option(help="Sort by downloads, likes, or updated.")] = "downloads",
    limit: Annotated[int, typer.Option(help="Maximum number of models to list.")] = 30,
    as_json: JsonObjectOption = False,
) -> None:
    """Search the Hugging Face Hub for base models. Models that fit this device come first."""
    display = Display(as_json=as_json)
    with exit_on_problem(display):
        command = commands.SearchModels.model_validate(
            {
                "text": text,
                "smallest": parse_parameter_count(smallest),
                "largest": parse_parameter_count(largest),
                "license": license_ or old_license,
                "gated": gated,
                "sort": sort,
                "limit": limit,
            }
        )
    models = ask(command, events.ModelsFound, display).models
    _show(models, display, as_json=as_json, nothing="No models found on the Hub.")


@app.command()
def download(
    source: Annotated[str, typer.Argument(help="Hub ID, such as org/name.")],
    revision: Annotated[str, typer.Option(help="Branch, tag, or commit.")] = "main",
    as_json: JsonObjectOption = False,
) -> None:
    """Download a model into the Hugging Face cache, or resume a download. Ctrl+C keeps partial files."""
    display = Display(as_json=as_json)
    model = parse_model(source).model_copy(update={"revision": revision})
    downloaded = ask(commands.DownloadModel(model=model), events.ModelDownloaded, display)
    if as_json:
        print_json(downloaded)
    else:
        display.print_line(
            text(
                "Downloaded {model}: {size:size} in {folder}",
                model=downloaded.source,
                size=downloaded.bytes,
                folder=downloaded.folder,
            )
        )


@app.command()
def inspect(
    source: Annotated[str, typer.Argument(help="Folder, .gguf file, Hub ID, or builtin:NAME.")],
    rank: Annotated[int, typer.Option(help="Rank for the adapter parameter count.")] = 16,
    as_json: JsonLinesOption = False,
) -> None:
    """Show details of a model without loading or downloading its weights."""
    display = Display(as_json=as_json)
    with exit_on_problem(display):
        command = commands.InspectModel(model=parse_model(source), lora=LoraSpec(rank=rank))
    for event in collect_answers(command, display):
        display.show(event)
        if isinstance(event, events.Failed):
            raise typer.Exit(headless.FAILED)
        if isinstance(event, events.ModelInspected) and not as_json:
            display.print_facts(_list_facts(event))
            if event.export_problem is not None:
                display.show(events.Warned(problem=event.export_problem))


@app.command()
def login(as_json: JsonObjectOption = False) -> None:
    """Sign in to the Hub with a token from a prompt or stdin. The Hugging Face library stores the token."""
    display = Display(as_json=as_json)
    token = (
        typer.prompt("Token", hide_input=True, err=True)
        if sys.stdin.isatty()
        else sys.stdin.readline()
    )
    _print_account(commands.SignIn(token=SecretStr(token)), display, as_json=as_json)


@app.command()
def logout(as_json: JsonObjectOption = False) -> None:
    """Sign out of the Hub and delete the stored token."""
    _print_account(commands.SignOut(), Display(as_json=as_json), as_json=as_json)


@app.command()
def whoami(as_json: JsonObjectOption = False) -> None:
    """Show the account of the current Hub token."""
    _print_account(commands.InspectAccount(), Display(as_json=as_json), as_json=as_json)


def _print_account(command: commands.Question, display: Display, *, as_json: bool) -> None:
    account = ask(command, events.AccountFound, display)
    if as_json:
        print_json(account)
    elif not account.has_token:
        display.print_line("Not signed in.")
    else:
        account_line = f"Signed in as {account.name}." if account.name else "A token is stored, but the Hub didn't return the account."  # fmt: skip
        display.print_line(
            account_line + (" The token comes from HF_TOKEN." if account.from_environment else "")
        )


def parse_parameter_count(text: str) -> int:
    """Return a parameter count written like 500M or 1.5B; 0 if empty. Raises ProblemError."""
    if not text.strip():
        return 0
    number, scale = text.strip().upper(), 1
    if number[-1] in _SCALES:
        number, scale = number[:-1], _SCALES[number[-1]]
    try:
        value = float(number) * scale
    except ValueError:
        value = -1.0
    if not 0 < value < 1e16:
        raise fail(
            "command.invalid",
            "Invalid number of parameters: {value}.",
            "Use a number such as 500M or 8B.",
            value=text,
        )
    return round(value)


def _show(
    models: list[ModelEntry] | tuple[ModelEntry, ...],
    display: Display,
    *,
    as_json: bool,
    nothing: str,
) -> None:
    device = _find_device(display)
    settings = model_fit.build_default_settings(device) if device else None
    fits = [
        (entry, model_fit.estimate_fit(entry, settings) if settings else None) for entry in models
    ]
    usable = [pair for pair in fits if pair[0].is_usable]
    usable.sort(key=lambda pair: model_fit.get_fit_sort_key(pair[1]))
    unusable = [pair for pair in fits if not pair[0].is_usable]
    if as_json:
        print_json([_dump_json(entry, fit) for entry, fit in (*usable, *unusable)])
        return
    if not fits:
        display.console.print(nothing)
        return
    display.print_table(
        ("Model", "Parameters", "Size", "License", "Fits"),
        (
            (
                entry.title + (" (gated)" if entry.gated else ""),
                formatting.format_count(entry.parameters) if entry.parameters else "",
                formatting.format_size(entry.bytes) if entry.bytes else "",
                entry.license,
                entry.refusal
                or (_describe_incomplete(entry) if entry.missing else describe_verdict(fit)),
            )
            for entry, fit in (*usable, *unusable)
        ),
    )


def _dump_json(entry: ModelEntry, fit: model_fit.ModelFit | None) -> dict[str, Any]:
    about = None
    if fit is not None:
        about = {"precision": fit.precision, "needed": fit.needed, "fits": fit.fits}
    return entry.model_dump(mode="json", context=READABLE) | {"fit": about}


def _describe_incomplete(entry: ModelEntry) -> str:
    return str(
        text(
            "incomplete: run `lora-studio model download {model}` to finish the download",
            model=entry.source,
        )
    )


def describe_verdict(fit: model_fit.ModelFit | None) -> str:
    """Return whether training fits, and in which precision."""
    if fit is None:
        return ""
    template = (
        "yes, in {bits}-bit: {needed:memory}"
        if fit.fits
        else "no: needs {needed:memory} in {bits}-bit"
    )
    if fit.eased and fit.fits:
        template = "yes, in {bits}-bit with the smallest micro-batch: {needed:memory}"
    elif fit.eased:
        template = "no: needs {needed:memory} in {bits}-bit with the smallest micro-batch"
    bits = {"auto": 16, "8bit": 8, "4bit": 4}[fit.precision]
    return str(text(template, bits=bits, needed=fit.needed))


def _find_device(display: Display) -> events.Device | None:
    """Return the device that `auto` selects, or None if the engine can't tell."""
    try:
        replies = [
            event
            for event in collect_answers(commands.InspectDevices(), display)
            if isinstance(event, events.DevicesFound)
        ]
    except ProblemError:
        return None
    return replies[0].devices[0] if replies and replies[0].devices else None


def _list_facts(event: events.ModelInspected) -> list[tuple[str, object]]:
    """Return what is known about a model by name, "" for what doesn't apply."""
    file = formatting.format_size(event.gguf_bytes) if event.gguf_bytes else ""
    return [
        ("Model", event.source),
        ("Architecture", event.architecture),
        ("Parameters", formatting.format_count(event.parameters)),
        ("Layers", event.layers),
        ("Vocabulary", formatting.format_plural(event.vocabulary, "token")),
        ("Context", f"{event.context} tokens" if event.context else "unknown"),
        ("License", event.license or "unknown"),
        ("GGUF file", f"{event.gguf_type}, {file}" if file and event.gguf_type else file),
        (
            "Unpacked for training" if file else "Precision",
            event.prequantized or event.stored_dtype,
        ),
        ("Chat template", "present" if event.has_chat_template else "none (ChatML is added)"),
        ("Terms", "must be accepted on the Hub" if event.gated else ""),
        ("On disk", formatting.format_size(event.disk_bytes) if event.disk_bytes else ""),
        ("To download", formatting.format_size(event.missing_bytes) if event.missing_bytes else ""),
        *(
            (f"Weights in {precision}", formatting.format_memory(size))
            for precision, size in event.weight_bytes.items()
        ),
        ("Adapter", _format_adapter(event.adapter) if event.adapter else ""),
    ]


def _format_adapter(adapter: events.ParametersCounted) -> str:
    share = formatting.format_percent(adapter.percent / 100)
    return f"{formatting.format_count(adapter.trainable)} parameters ({share})"
