"""`lora-studio data`: the group of its commands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from pydantic import ValidationError
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
from lora_studio.cli.data import findings, sources
from lora_studio.core import formatting
from lora_studio.core.dataset.spec import DatasetSpec, Repair
from lora_studio.core.messages import READABLE
from lora_studio.core.problems import Where, fail
from lora_studio.core.protocol import commands, events

#: How tokens look in a terminal, by state; special ones are underlined as well.
_STYLES = {"trained": "black on green", "context": "", "cut": "dim strike"}

Spans = Sequence[tuple[int, int]]


ModelOption = Annotated[str, typer.Option(help="Folder, .gguf file, Hub ID, or builtin:NAME.")]
RowOption = Annotated[int, typer.Option(min=1, help="Row number, starting at 1.")]
ChatTemplateOption = Annotated[
    str,
    typer.Option(help="Chat template: model, chatml, llama3, gemma, mistral, zephyr, or alpaca."),
]
TrainOnOption = Annotated[str, typer.Option(help="Loss mask: answers, last_answer, or everything.")]
ThinkingOption = Annotated[str, typer.Option(help="Reasoning: train, mask, or remove.")]
SystemPromptOption = Annotated[str, typer.Option(help="System prompt for rows without one.")]


def render(
    file: sources.FileArgument,
    model: ModelOption,
    row: RowOption = 1,
    chat_template: ChatTemplateOption = "model",
    train_on: TrainOnOption = "answers",
    thinking: ThinkingOption = "train",
    system_prompt: SystemPromptOption = "",
    max_length: MaxLengthOption = 2048,
    row_format: sources.FormatOption = "auto",
    mapping: sources.MapOption = None,
    as_json: JsonObjectOption = False,
) -> None:
    """Show the tokens of a row: trained, context, and truncated.

    Exit with 2 if the row can't be used for training.
    """
    display = Display(as_json=as_json)
    with exit_on_problem(display):
        spec = _parse_spec(
            sources=(sources.parse_source(file, row_format, mapping or []),),
            chat_template=chat_template,
            train_on=train_on,
            thinking=thinking,
            system_prompt=system_prompt,
            max_length=max_length,
        )
    command = commands.ShowRow(dataset=spec, model=parse_model(model), row=row)
    shown = ask(command, events.RowShown, display)
    if as_json:
        print_json(_report(shown))
    else:
        _show(shown, display)
    raise typer.Exit(headless.REFUSED if shown.row.fault else 0)


def _parse_spec(**settings: Any) -> DatasetSpec:
    """Return dataset settings from the options; raises ProblemError for an invalid value."""
    try:
        return DatasetSpec.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        choices = get_args(DatasetSpec.model_fields[field].annotation)
        raise fail(
            "dataset.unknown_setting",
            "Invalid value for {option}: {value}.",
            "Choose one of: {choices}." if choices else "{reason}.",
            where=Where(step="dataset", field=field),
            option=f"--{field.replace('_', '-')}",
            value=str(first["input"]),
            choices=choices,
            reason=first["msg"],
        ) from error


# --- as JSON ----------------------------------------------------------------------------------


def _report(shown: events.RowShown) -> dict[str, Any]:
    """Return the row as plain data.

    Character ranges exclude their end. The parts of a pair's rejected answer are in `rejected_*`.
    """
    report: dict[str, Any] = {"row": shown.row.row, "fault": str(shown.row.fault)}
    report |= _dump_side(shown.text, shown.tokens, shown.trained_spans)
    if shown.rejected_tokens:
        rejected = _dump_side(
            shown.rejected_text, shown.rejected_tokens, shown.rejected_trained_spans
        )
        report |= {f"rejected_{name}": value for name, value in rejected.items()}
    if shown.row.label is not None:
        report["label"] = shown.row.label
    report["problems"] = [
        problem.model_dump(mode="json", context=READABLE) for problem in shown.problems
    ]
    return report


def _dump_side(text: str, tokens: Sequence[events.Token], spans: Spans) -> dict[str, Any]:
    return {
        "text": text,
        "tokens": [
            {
                "id": token.id,
                "text": token.text,
                "trained": token.state == "trained",
                "special": token.special,
                "cut": token.state == "cut",
            }
            for token in tokens
        ],
        "trained_spans": [list(span) for span in spans],
        "counts": {
            "tokens": len(tokens),
            "trained": sum(token.state == "trained" for token in tokens),
            "cut": sum(token.state == "cut" for token in tokens),
        },
    }


# --- as text ----------------------------------------------------------------------------------


def _show(shown: events.RowShown, display: Display) -> None:
    for title, tokens in (("", shown.tokens), ("Rejected", shown.rejected_tokens)):
        if not tokens:
            continue
        if title:
            display.print_title(title)
        text = Text()
        for token in tokens:
            style = f"{_STYLES[token.state]} {'underline' if token.special else ''}"
            # A real line break would hide the token's style.
            text.append(token.text.replace("\n", "↵\n"), style.strip())
        display.console.print(text, soft_wrap=True)
        display.print_line(_format_counts(tokens))
    display.print_findings(shown.problems)


def _format_counts(tokens: Sequence[events.Token]) -> str:
    trained = sum(token.state == "trained" for token in tokens)
    cut = sum(token.state == "cut" for token in tokens)
    counts = f"{formatting.format_plural(len(tokens), 'token')}, {formatting.format_number(trained)} trained (green)"
    return (
        f"{counts}, {formatting.format_number(cut)} truncated (struck through)" if cut else counts
    )


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


app = sources.app
app.command()(lint)
app.command()(render)
