"""`lora-studio template`: derive Ollama templates, and verify and render chat templates."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from lora_studio.cli import headless
from lora_studio.cli.common import JsonObjectOption, ask, exit_on_problem, print_json
from lora_studio.cli.console import Display, write_out
from lora_studio.core.messages import READABLE, counted, text
from lora_studio.core.problems import Where, fail
from lora_studio.core.protocol import commands, events
from lora_studio.core.system.files import describe_os_error
from lora_studio.core.system.foreign_files import read_text
from lora_studio.core.templates.ollama_template import DerivedTemplate
from lora_studio.core.templates.server.terms import RenderRequest

app = typer.Typer(
    help="Derive Ollama templates, and verify and render chat templates.",
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


TemplateArgument = Annotated[
    Path,
    typer.Argument(
        help="Model folder, chat template, or Ollama TEMPLATE; - for stdin.", metavar="SOURCE"
    ),
]
ConversationArgument = Annotated[
    Path | None, typer.Argument(help="The same as --messages.", hidden=True)
]
MessagesOption = Annotated[
    Path | None,
    typer.Option(
        help="JSON: a list of messages, or an object with messages, tools, system, think; for a "
        "TEMPLATE also with prompt and suffix. Default: built-in conversations."
    ),
]
ToolsOption = Annotated[Path | None, typer.Option(help="JSON: a list of tools.")]
SystemOption = Annotated[str, typer.Option(help="System prompt of the model (SYSTEM).")]
ThinkOption = Annotated[
    bool | None, typer.Option("--think/--no-think", help="The think option of the request.")
]


@app.command()
def render(
    source: TemplateArgument,
    conversation: ConversationArgument = None,
    messages: MessagesOption = None,
    tools: ToolsOption = None,
    as_json: JsonObjectOption = False,
    system: SystemOption = "",
    think: ThinkOption = None,
    today: DayOption = None,
) -> None:
    """Render conversations: a chat template as in training, or a TEMPLATE exactly as Ollama does.

    For a model folder, --json includes the token IDs.
    """
    display = Display(as_json=as_json)
    with exit_on_problem(display):
        file = messages or conversation
        request = _request(file, tools, system, think) if file else None
        template = "" if source.is_dir() else _read(source)
        if template and _is_go_template(source, template):
            prompt = _render_template(template, request, today, display)
            if as_json:
                print_json({"text": prompt})
            else:  # the output is the prompt itself, so no newline is added
                write_out(prompt)
            return
        command = commands.RenderChat(
            path="-" if str(source) == "-" else str(source.expanduser().resolve()),
            template=template if str(source) == "-" else "",
            messages=tuple(request.conversation) if request else (),
            tools=request.tools if request else (),
            think=request.think if request else think,
        )
    renderings = ask(command, events.ChatRendered, display).renderings
    if as_json:
        _print_renderings_as_json(renderings, is_single=file is not None)
    elif file is not None:
        write_out(renderings[0].text)
    else:
        _print_renderings(renderings, display)


def _is_go_template(source: Path, template: str) -> bool:
    """Return whether a file has a TEMPLATE: it has neither Jinja's statements nor its name of messages."""
    if source.suffix in (".jinja", ".jinja2", ".json"):
        return False
    return not re.search(r"\{%|\bmessages\b", template)


def _render_template(
    template: str, request: RenderRequest | None, today: datetime | None, display: Display
) -> str:
    if request is None:
        raise fail(
            "template.no_messages",
            "A TEMPLATE is rendered for a conversation, and there is none.",
            "Add `{option}`.",
            option="--messages FILE",
        )
    command = commands.RenderTemplate(
        template=template, request=request, today=(today or datetime.now()).date()
    )
    return ask(command, events.TemplateRendered, display).text


def _print_renderings_as_json(
    renderings: Sequence[events.ChatRendering], *, is_single: bool
) -> None:
    if is_single:
        print_json(renderings[0].model_dump(mode="json", include={"text", "ids"}))
    else:
        print_json([rendering.model_dump(mode="json") for rendering in renderings])


def _print_renderings(renderings: Sequence[events.ChatRendering], display: Display) -> None:
    for rendering in renderings:
        assert rendering.probe is not None
        title = text(
            "{kind}: {question}",
            kind=rendering.probe.description,
            question=repr(rendering.messages[-1]["content"]),
        )
        display.print_title(str(title))
        if rendering.refused:
            display.print_line(text("Rejected: {reason}", reason=rendering.refused))
            continue
        write_out(rendering.text + "\n")
        if rendering.ids is not None:
            display.print_line(
                counted(
                    len(rendering.ids),
                    "{n} token: {ids}",
                    "{n} tokens: {ids}",
                    ids=" ".join(map(str, rendering.ids)),
                )
            )


@app.command()
def prove(
    source: Annotated[Path, typer.Argument(help="Model folder.", metavar="FOLDER")],
    llama_server: Annotated[
        Path | None,
        typer.Option(
            "--llama-server",
            help="llama-server, or the folder of a llama.cpp build. Default: the one on PATH.",
        ),
    ] = None,
    gguf: Annotated[
        Path | None,
        typer.Option(
            help="GGUF file of the model, for llama-server. Default: one with the folder's vocabulary is "
            "written to a temporary folder."
        ),
    ] = None,
    as_json: JsonObjectOption = False,
) -> None:
    """Compare the prompts of a chat template with llama.cpp's and with those of its Ollama TEMPLATE.

    Exit with 0 if plain conversations have equal prompts, 1 if they differ or no TEMPLATE can be
    verified, or 3 if nothing differs but llama-server wasn't asked.
    """
    display = Display(as_json=as_json)
    command = commands.ProveTemplate(
        path=str(source.expanduser().resolve()),
        llama_server=str(llama_server.expanduser().resolve()) if llama_server else "",
        gguf=str(gguf.expanduser().resolve()) if gguf else "",
    )
    proven = ask(command, events.TemplateProven, display)
    if as_json:
        print_json(proven, outcome=proven.outcome)
    else:
        _print_proof(proven, display)
    raise typer.Exit(headless.PROOF_STATUSES[proven.outcome])


def _print_proof(proven: events.TemplateProven, display: Display) -> None:
    by_server = [one for one in proven.differences if one.by == "llama_server"]
    values = {"n": proven.conversations, "equal": proven.conversations - len(by_server)}
    if proven.unasked:
        display.print_line(text("llama-server wasn't asked: {reason}.", reason=proven.unasked))
    elif by_server:
        display.print_line(
            text("llama-server builds the same prompt in {equal} of {n} conversations.", **values)
        )
    else:
        display.print_line(text("Verified by llama-server on {n} conversations.", **values))
    if proven.has_other_template:
        display.print_line("The GGUF file contains another chat template than the folder.")
    display.print_line(str(proven.derived.verdict))
    for one in proven.differences:
        display.print_line("")
        display.print_line(
            text(
                "{judge} differs for {kind}: {details}.",
                judge="llama-server" if one.by == "llama_server" else "The TEMPLATE",
                kind=one.difference.kind.description,
                details=one.difference.details,
            )
        )
        for cause in one.causes:
            display.print_line(text("  Cause: {cause}.", cause=cause))
        if one.line:
            display.print_line(
                text(
                    "  Line {line:d} of the chat template: {source}",
                    line=one.line,
                    source=one.source,
                )
            )


def _request(file: Path, tools: Path | None, system: str, think: bool | None) -> RenderRequest:
    try:
        data: Any = json.loads(_read(file))
        data = {"messages": data} if isinstance(data, list) else data
        if isinstance(data, dict) and tools is not None:
            data = data | {"tools": json.loads(_read(tools))}
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
