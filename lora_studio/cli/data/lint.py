"""`lora-studio data lint`: find problems in a dataset, with their rows and repairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.padding import Padding
from rich.text import Text

from lora_studio.cli import headless
from lora_studio.cli.common import (
    JsonObjectOption,
    MaxLengthOption,
    ask,
    exit_on_problem,
    parse_model,
    print_json,
)
from lora_studio.cli.console import Display
from lora_studio.cli.data import sources
from lora_studio.core import formatting
from lora_studio.core.dataset.spec import DatasetSpec, Repair
from lora_studio.core.messages import READABLE, counted, text
from lora_studio.core.protocol import commands, events

_SHOWN_ROWS = 8
_COLORS = {"error": "red", "warning": "yellow", "hint": "cyan"}


SourcesArgument = Annotated[
    list[str], typer.Argument(help="Files, folders, or Hub datasets.", metavar="FILE...")
]
TokenizerOption = Annotated[
    str | None,
    typer.Option(help="Model whose tokenizer is used: folder, Hub ID, or builtin:NAME."),
]
ValidationOption = Annotated[
    Path | None, typer.Option(help="Validation file to check for leakage.")
]
FixOption = Annotated[
    list[str] | None, typer.Option(help="Apply this repair first. Can be repeated.")
]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="Exit with 1 if there are warnings or errors.")
]


def lint(
    source: SourcesArgument,
    model: TokenizerOption = None,
    max_length: MaxLengthOption = 2048,
    validation: ValidationOption = None,
    fix: FixOption = None,
    strict: StrictOption = False,
    as_json: JsonObjectOption = False,
) -> None:
    """Find problems in a dataset. Your files aren't changed: repairs are project settings."""
    display = Display(as_json=as_json)
    repairs = {name: name for name in get_args(Repair)}
    if wrong := [name for name in fix or () if name not in repairs]:
        raise typer.BadParameter(
            f"Unknown repair: {wrong[0]}. Choose one of: {', '.join(repairs)}."
        )
    with exit_on_problem(display):
        dataset = DatasetSpec(
            sources=tuple(sources.parse_source(each) for each in source),
            validation_file=str(validation.expanduser().resolve()) if validation else "",
            fixes=tuple(repairs[name] for name in fix or ()),
            max_length=max_length,
        )
    command = commands.LintDataset(dataset=dataset, model=parse_model(model) if model else None)
    report = ask(command, events.DatasetLinted, display)
    if as_json:
        print_json(report.model_dump(mode="json", context=READABLE, include={"rows", "findings"}))
    else:
        _print(report, display)
    has_problems = any(each.severity != "hint" and not each.fixed for each in report.findings)
    raise typer.Exit(headless.FAILED if strict and has_problems else 0)


def _print(report: events.DatasetLinted, display: Display) -> None:
    say = display.console.print
    for each in report.findings:
        state = "fixed" if each.fixed else each.severity
        color = "green" if each.fixed else _COLORS[each.severity]
        say(f"[{color}]{state:8}[/] [bold]{each.title}[/]  [dim]{each.code}[/]")
        details = [_format_rows(each)]
        if each.fix and not each.fixed:
            details.append(f"Repair: {each.fix}")
        if each.change:
            details.append(f"Try: {each.change[0]} = {each.change[1]}")
        body = Text(str(each.what)).append("".join(f"\n{line}" for line in details), style="dim")
        say(Padding(body, (0, 0, 0, 9)))
    rows = counted(report.rows, "{n} row", "{n} rows")
    problems = sum(not each.fixed for each in report.findings)
    say(
        str(
            counted(
                problems,
                "Checked {rows}: {n} problem found.",
                "Checked {rows}: {n} problems found.",
                rows=rows,
            )
            if problems
            else text("Checked {rows}: no problems found.", rows=rows)
        )
    )


def _format_rows(finding: events.Finding) -> str:
    several = any(source for source, _ in finding.rows)
    named = [f"{source + 1}:{row}" if several else f"{row}" for source, row in finding.rows]
    shown = ", ".join(named[:_SHOWN_ROWS])
    more = finding.count - min(len(named), _SHOWN_ROWS)
    heading = "Rows (source:row)" if several else "Rows" if finding.count > 1 else "Row"
    return f"{heading} {shown}{f' and {formatting.format_number(more)} more' if more else ''}"
