"""`lora-studio data`: inspect files, folders, and Hub datasets before training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from pydantic import ValidationError
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lora_studio.cli import headless
from lora_studio.cli.common import (
    JsonObjectOption,
    MaxLengthOption,
    ask,
    collect_answers,
    exit_on_problem,
    parse_model,
    print_json,
)
from lora_studio.cli.console import Display
from lora_studio.core import formatting
from lora_studio.core.dataset.spec import FORMATS, DatasetSpec, DataSource, Repair
from lora_studio.core.messages import READABLE, counted, text
from lora_studio.core.problems import Problem, ProblemError, Where, fail, warning
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.events import SourceFound
from lora_studio.core.system.paths import expand_home
from lora_studio.core.tasks.table import TASKS

app = typer.Typer(help="Inspect datasets.", no_args_is_help=True)

FileArgument = Annotated[
    str, typer.Argument(metavar="FILE", help="File, folder, or Hub dataset ID.")
]
FormatOption = Annotated[
    str, typer.Option("--format", help=f"Row format: auto, {', '.join(FORMATS)}.")
]
MapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="SLOT=COLUMN",
        help="Column or template for a slot, for example --map 'question={title}\\n{body}'.",
    ),
]
SubsetOption = Annotated[str, typer.Option(help="Subset (configuration) of a Hub dataset.")]
SplitOption = Annotated[str, typer.Option(help="Split of a Hub dataset.")]
RevisionOption = Annotated[str, typer.Option(help="Branch, tag, or commit of a Hub dataset.")]

_COLUMNS_SHOWN, _REASONS_SHOWN = 20, 12
#: Tasks whose rows are checked when they are inspected: their labels and texts decide what a model learns.
_CHECKED = ("classification", "embedding")


@app.command()
def inspect(
    file: FileArgument,
    as_json: JsonObjectOption = False,
    row_format: FormatOption = "auto",
    mapping: MapOption = None,
    subset: SubsetOption = "",
    split: SplitOption = "train",
    revision: RevisionOption = "main",
) -> None:
    """Show the format of the rows, the columns used, and the skipped rows with reasons.

    For texts with labels and pairs for search, also show what they consist of, and problems in them.
    Exit with 0 if there are usable rows, or with 2 if there are none.
    """
    display = Display(as_json=as_json)
    answer: events.DatasetInspected | Problem
    linted: events.DatasetLinted | None = None
    problems: list[Problem] = []
    try:
        source = parse_source(
            file, row_format, mapping or [], subset=subset, split=split, revision=revision
        )
        dataset = DatasetSpec(sources=(source,))
        answer = _ask_dataset(commands.InspectDataset(dataset=dataset), display)
        if isinstance(answer, events.DatasetInspected):
            linted, problems = _check_contents(answer, dataset, display)
    except ProblemError as error:
        answer = error.problems[0]
    report = _report(answer, file, problems)
    if as_json:
        print_json(report | ({"contents": _dump_findings(linted)} if linted else {}))
    else:
        _show(report, display)
        if linted is not None:
            _show_contents(linted, display)
            _show_findings(linted, display)
    raise typer.Exit(_get_exit_status(report, answer))


def parse_source(
    file: str,
    row_format: str = "auto",
    mapping: Sequence[str] = (),
    *,
    subset: str = "",
    split: str = "train",
    revision: str = "main",
) -> DataSource:
    """Return the data source that the options of a command describe; raises ProblemError.

    A name that isn't a local file but is spelled like a Hub ID is treated as one.
    """
    if row_format != "auto" and row_format not in FORMATS:
        raise _make_error(
            "dataset.unknown_format",
            "Unknown format: {name}.",
            "Choose one of: {formats}.",
            name=row_format,
            formats=("auto", *FORMATS),
        )
    local = expand_home(Path(file))
    is_hub = bool(file) and not local.exists() and DataSource(path=file).is_hub
    return DataSource.model_validate(
        {
            "path": file if is_hub else str(local.resolve()),
            "format": row_format,
            "mapping": _parse_mapping(mapping),
            "subset": subset,
            "split": split,
            "revision": revision,
        }
    )


def _parse_mapping(entries: Sequence[str]) -> dict[str, str]:
    """Return columns or templates by slot from entries SLOT=COLUMN; raises ProblemError."""
    slots: dict[str, str] = {}
    for entry in entries:
        slot, equals, value = entry.partition("=")
        if not equals or not slot.strip():
            raise _make_error(
                "dataset.unknown_slot",
                "Invalid mapping: {mapping}.",
                "Use SLOT=COLUMN or SLOT=TEMPLATE, for example question={example}.",
                mapping=entry,
                example="{title}",
            )
        slots[slot.strip()] = value
    return slots


def _ask_dataset(
    command: commands.InspectDataset, display: Display
) -> events.DatasetInspected | Problem:
    """Return the worker's final answer; earlier answers cover only the rows read so far."""
    return next(
        event.problem if isinstance(event, events.Failed) else event
        for event in reversed(collect_answers(command, display))
        if isinstance(event, (events.DatasetInspected, events.Failed))
    )


def _check_contents(
    answer: events.DatasetInspected, dataset: DatasetSpec, display: Display
) -> tuple[events.DatasetLinted | None, list[Problem]]:
    """Return what texts with labels or pairs for search consist of, None for other rows; and warnings.

    A check that fails is a warning: the rows themselves can be used.
    """
    linted, problems = None, []
    if answer.task in _CHECKED and answer.rows_used:
        for event in collect_answers(commands.LintDataset(dataset=dataset), display):
            match event:
                case events.DatasetLinted():
                    linted = event
                case events.Warned():
                    problems.append(event.problem)
                case events.Failed():
                    problems.append(_make_unchecked_warning(event.problem))
                case events.Cancelled():
                    raise typer.Exit(headless.INTERRUPTED)
    return linted, problems


def _make_unchecked_warning(problem: Problem) -> Problem:
    return warning(
        "dataset.not_checked",
        "The rows weren't checked for problems: {reason}",
        problem.remedy,
        where=problem.where,
        reason=problem.what,
    )


def _get_exit_status(report: dict[str, Any], answer: events.DatasetInspected | Problem) -> int:
    """Return 0 if there are usable rows, 2 if the data is refused, 1 if the engine failed."""
    if isinstance(answer, Problem) and not answer.code.startswith(("dataset.", "hub.")):
        return headless.FAILED
    return 0 if report["task"] != "unsupported" and report["used"] else headless.REFUSED


def _report(
    answer: events.DatasetInspected | Problem, file: str, problems: Sequence[Problem]
) -> dict[str, Any]:
    """Return the report as plain data: rows = used + skipped, `reasons` lists why rows are skipped.

    Of data that is refused, the answer is the problem. `problems` are those of the check that follows.
    """
    if isinstance(answer, Problem):
        refused = {
            "path": file,
            "container": text(""),
            "format": None,
            "task": None,
            "confidence": 0.0,
        }
        source = SourceFound(**refused, evidence=answer.what, columns=(), mapping={})
        answer = events.DatasetInspected(
            sources=(source,), task=None, rows_read=0, rows_used=0, problems=(answer,)
        )
    source = answer.sources[0]
    return {
        "file": file,
        "container": str(source.container),
        "format": source.format,
        "task": source.task or "unsupported",
        "confidence": source.confidence,
        "evidence": str(source.evidence),
        "others": list(source.others),
        "columns": list(source.columns),
        "mapping": source.mapping,
        "people": list(source.people),
        "rows": answer.rows_read,
        "used": answer.rows_used,
        "skipped": sum(entry.count for entry in source.skipped),
        "reasons": [entry.model_dump(mode="json", context=READABLE) for entry in source.skipped],
        "problems": [
            problem.model_dump(mode="json", context=READABLE)
            for problem in (*answer.problems, *problems)
        ],
    }


def _show(report: dict[str, Any], display: Display) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    row_format = report["format"]
    title = FORMATS[row_format].title if row_format in FORMATS else "not recognized"
    for name, value in (
        ("Data", report["file"]),
        ("File", report["container"]),
        ("Format", title),
        (
            "Training",
            TASKS[report["task"]].title
            if report["task"] in TASKS
            else "can't be used for training",
        ),
        ("Confidence", formatting.format_percent(report["confidence"]) if report["format"] else ""),
        ("Evidence", report["evidence"] if report["format"] else ""),
        (
            "Other formats",
            formatting.join_names([FORMATS[name].title for name in report["others"]], "or"),
        ),
        ("Columns", _format_columns(report["columns"])),
        ("Mapping", "\n".join(f"{slot} ← {name!r}" for slot, name in report["mapping"].items())),
        ("People", _format_columns(report["people"])),
        ("Rows", _format_total(report)),
    ):
        if value:
            table.add_row(name, escape(value))
    display.console.print(table)
    for entry in report["reasons"][:_REASONS_SHOWN]:
        display.print_line(
            f"{formatting.format_number(entry['count'])} × {entry['reason']['text']} ({_format_places(entry)})"
        )
    if (more := len(report["reasons"]) - _REASONS_SHOWN) > 0:
        display.print_line(counted(more, "and {n} more reason", "and {n} more reasons"))
    display.print_findings(Problem.model_validate(problem) for problem in report["problems"])


def _format_columns(names: Sequence[str]) -> str:
    more = len(names) - _COLUMNS_SHOWN
    listed = ", ".join(names[:_COLUMNS_SHOWN])
    return f"{listed} and {formatting.format_number(more)} more" if more > 0 else listed


def _format_total(report: dict[str, Any]) -> str:
    read, used, skipped = (
        formatting.format_number(report[name]) for name in ("rows", "used", "skipped")
    )
    return f"{read} read = {used} used + {skipped} skipped"


def _format_places(entry: dict[str, Any]) -> str:
    rows = [formatting.format_number(row) for row in entry["rows"]]
    more = entry["count"] - len(rows)
    shown = ", ".join(rows)
    return f"{'row' if entry['count'] == 1 else 'rows'} {shown}{', …' if more > 0 else ''}"


def _make_error(code: str, what: str, remedy: str, **values: Any) -> ProblemError:
    return fail(code, what, remedy, where=Where(step="dataset", field="sources"), **values)


# --- findings

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


@app.command()
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
            sources=tuple(parse_source(each) for each in source),
            validation_file=str(validation.expanduser().resolve()) if validation else "",
            fixes=tuple(repairs[name] for name in fix or ()),
            max_length=max_length,
        )
    command = commands.LintDataset(dataset=dataset, model=parse_model(model) if model else None)
    report = ask(command, events.DatasetLinted, display)
    if as_json:
        print_json(_dump_findings(report))
    else:
        _show_contents(report, display)
        _show_findings(report, display)
    has_problems = any(each.severity != "hint" and not each.fixed for each in report.findings)
    raise typer.Exit(headless.FAILED if strict and has_problems else 0)


_SHOWN_ROWS = 8
_SHOWN_LABELS = 20
_COLORS = {"error": "red", "warning": "yellow", "hint": "cyan"}


def _dump_findings(report: events.DatasetLinted) -> dict[str, Any]:
    """Return a report as plain data; labels and pairs only of datasets that have some."""
    fields = {"rows", "findings"}
    if report.label_count:
        fields |= {"labels", "label_count"}
    if report.pairs:
        fields.add("pairs")
    return report.model_dump(mode="json", context=READABLE, include=fields)


def _show_contents(report: events.DatasetLinted, display: Display) -> None:
    """Print the rows of each label, the most frequent first, or what pairs for search consist of."""
    if report.labels:
        display.console.print(_make_label_table(report))
    if (more := report.label_count - min(len(report.labels), _SHOWN_LABELS)) > 0:
        display.print_line(
            counted(more, "{n} more label isn't shown.", "{n} more labels aren't shown.")
            if report.labels
            else text("{count} different labels, too many for a classifier", count=more)
        )
    if report.pairs:
        display.print_line(
            text(
                "{pairs} for search, {negatives} of them with a hard negative: {queries} different queries, "
                "{passages} different passages",
                pairs=counted(report.pairs.pairs, "{n} pair", "{n} pairs"),
                negatives=report.pairs.with_negative,
                queries=report.pairs.queries,
                passages=report.pairs.passages,
            )
        )


def _make_label_table(report: events.DatasetLinted) -> Table:
    table = Table(box=None)
    table.add_column("Label", overflow="fold")
    for title in ("Rows", "Share", "Validation"):
        table.add_column(title, justify="right", no_wrap=True)
    total = max(1, sum(each.rows for each in report.labels))
    for each in report.labels[:_SHOWN_LABELS]:
        table.add_row(
            Text(each.label),
            formatting.format_number(each.rows),
            formatting.format_percent(each.rows / total),
            formatting.format_number(each.validation),
        )
    return table


def _show_findings(report: events.DatasetLinted, display: Display) -> None:
    """Print the findings, and how many there are."""
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


# --- tokens

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


@app.command()
def render(
    file: FileArgument,
    model: ModelOption,
    row: RowOption = 1,
    chat_template: ChatTemplateOption = "model",
    train_on: TrainOnOption = "answers",
    thinking: ThinkingOption = "train",
    system_prompt: SystemPromptOption = "",
    max_length: MaxLengthOption = 2048,
    row_format: FormatOption = "auto",
    mapping: MapOption = None,
    as_json: JsonObjectOption = False,
) -> None:
    """Show the tokens of a row: trained, context, and truncated.

    Exit with 2 if the row can't be used for training.
    """
    display = Display(as_json=as_json)
    with exit_on_problem(display):
        spec = _parse_spec(
            sources=(parse_source(file, row_format, mapping or []),),
            chat_template=chat_template,
            train_on=train_on,
            thinking=thinking,
            system_prompt=system_prompt,
            max_length=max_length,
        )
    command = commands.ShowRow(dataset=spec, model=parse_model(model), row=row)
    shown = ask(command, events.RowShown, display)
    if as_json:
        print_json(_dump_row(shown))
    else:
        _show_tokens(shown, display)
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


def _dump_row(shown: events.RowShown) -> dict[str, Any]:
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


def _show_tokens(shown: events.RowShown, display: Display) -> None:
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
