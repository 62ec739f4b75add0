"""`lora-studio data lint`: find problems in a dataset, with their rows and repairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

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
from lora_studio.cli.data import findings, sources
from lora_studio.core.dataset.spec import DatasetSpec, Repair
from lora_studio.core.protocol import commands, events

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
        print_json(findings.dump(report))
    else:
        findings.show_contents(report, display)
        findings.show(report, display)
    has_problems = any(each.severity != "hint" and not each.fixed for each in report.findings)
    raise typer.Exit(headless.FAILED if strict and has_problems else 0)
