"""`lora-studio template`: derive, verify, and render Ollama templates."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from lora_studio.cli import headless
from lora_studio.cli.common import JsonObjectOption, ask, exit_on_problem, print_json
from lora_studio.cli.console import Display, write_out
from lora_studio.core.messages import READABLE, text
from lora_studio.core.problems import Where, fail
from lora_studio.core.protocol import commands, events
from lora_studio.core.system.files import describe_os_error
from lora_studio.core.system.foreign_files import read_text
from lora_studio.core.templates.ollama_template import DerivedTemplate
from lora_studio.core.templates.server.terms import RenderRequest

app = typer.Typer(
    help="Derive, verify, and render Ollama templates.",
    no_args_is_help=True,
)

DayOption = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Date to use as today.")
]


@app.command()
def derive(
    source: Annotated[Path, typer.Argument(help="Model folder, or a file with a chat template.")],
    as_json: JsonObjectOption = False,
    bos: Annotated[
        str | None,
        typer.Option(help="BOS token. Default: from tokenizer_config.json."),
    ] = None,
    eos: Annotated[
        str | None,
        typer.Option(help="EOS token. Default: from tokenizer_config.json."),
    ] = None,
    server_adds_bos: Annotated[
        bool | None,
        typer.Option(
            "--server-adds-bos/--template-keeps-bos",
            help="Whether Ollama adds the BOS token. Default: as the tokenizer does.",
        ),
    ] = None,
    frozen_date: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Use this date instead of the current one."),
    ] = None,
) -> None:
    """Derive the template and its stop tokens. Exit with 1 if it can't be verified."""
    display = Display(as_json=as_json)
    command = commands.DeriveTemplate(
        path=str(source.expanduser().resolve()),
        bos=bos,
        eos=eos,
        adds_bos=server_adds_bos,
        frozen_date=frozen_date.date() if frozen_date else None,
    )
    derived = ask(command, events.TemplateDerived, display).derived
    assert derived is not None
    if as_json:
        print_json(derived.model_dump(mode="json", context=READABLE))
    else:
        _print(derived, display)
    raise typer.Exit(0 if derived.proven else headless.FAILED)


@app.command()
def render(
    template: Annotated[Path, typer.Argument(help="File with a template, or - for stdin.")],
    messages: Annotated[
        Path,
        typer.Argument(
            help="JSON: a list of messages, or an object with messages, tools, system, think; or "
            "with prompt and suffix."
        ),
    ],
    as_json: JsonObjectOption = False,
    system: Annotated[str, typer.Option(help="System prompt of the model (SYSTEM).")] = "",
    think: Annotated[
        bool | None, typer.Option("--think/--no-think", help="The think option of the request.")
    ] = None,
    today: DayOption = None,
) -> None:
    """Render a template exactly as Ollama does."""
    display = Display(as_json=as_json)
    with exit_on_problem(display):
        command = commands.RenderTemplate(
            template=_read(template),
            request=_request(messages, system, think),
            today=(today or datetime.now()).date(),
        )
    prompt = ask(command, events.TemplateRendered, display).text
    if as_json:
        print_json({"text": prompt})
        return
    # The output is the prompt itself, so no newline is added.
    write_out(prompt)


def _request(file: Path, system: str, think: bool | None) -> RenderRequest:
    try:
        data: Any = json.loads(_read(file))
        data = {"messages": data} if isinstance(data, list) else data
        if isinstance(data, dict):
            data = data | ({"system": system} if system else {})
            data = data | ({"think": think} if think is not None else {})
        return RenderRequest.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        cause = first["msg"].removeprefix("Value error, ")
        reason = text("{field}: {reason}", field=field, reason=cause) if field else text(cause)
    except ValueError as error:
        reason = text("not JSON: {error}", error=str(error))
    raise fail(
        "template.bad_messages",
        "The messages are invalid: {reason}.",
        'Use [{"role": "user", "content": "Hello"}], or an object with "messages" and "tools".',
        where=Where(file=str(file)),
        reason=reason,
    )


def _read(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else read_text(file)
    except (OSError, UnicodeDecodeError) as error:
        raise fail(
            "template.unreadable",
            "Couldn't read {file}: {reason}.",
            "Use a UTF-8 text file.",
            where=Where(file=str(file)),
            file=str(file),
            reason=describe_os_error(error),
        ) from None


def _print(derived: DerivedTemplate, display: Display) -> None:
    display.print_line(str(derived.verdict))
    for note in derived.notes:
        display.print_line(text("Note: {note}.", note=note))
    for need in derived.needs:
        display.print_line(text("Requires {feature}.", feature=need.description))
    for limit in derived.limits:
        display.print_line(text("Differs from the chat template for {cases}.", cases=limit))
    if difference := derived.first_difference:
        display.print_line(
            text("First difference at character {position}:", position=difference.position)
        )
        display.print_line(f"  chat template: {difference.expected!r}")
        display.print_line(f"  TEMPLATE:      {difference.actual!r}")
    if derived.alternative is not None:
        display.print_line(
            text("Closest verified alternative: {change}.", change=derived.alternative.what)
        )
    if derived.template:
        display.print_title("TEMPLATE")
        write_out(derived.template + "\n")
    if derived.stops:
        display.print_title("Stops")
        for stop in derived.stops:
            display.print_line(repr(stop))
