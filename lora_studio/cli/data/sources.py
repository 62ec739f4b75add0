"""`lora-studio data`: inspect files, folders, and Hub datasets before training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from lora_studio.cli import headless
from lora_studio.cli.common import JsonObjectOption, collect_answers, print_json
from lora_studio.cli.console import Display
from lora_studio.cli.data import findings
from lora_studio.core import formatting
from lora_studio.core.dataset.spec import FORMATS, DatasetSpec, DataSource
from lora_studio.core.messages import READABLE, counted
from lora_studio.core.problems import Problem, ProblemError, Where, fail, warning
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.evaluation_text import TASKS
from lora_studio.core.protocol.events import SourceFound
from lora_studio.core.system.paths import expand_home

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
    linted = None
    try:
        source = parse_source(
            file, row_format, mapping or [], subset=subset, split=split, revision=revision
        )
    except ProblemError as error:
        answer = error.problems[0]
        report = _dump_refusal(answer, file)
    else:
        dataset = DatasetSpec(sources=(source,))
        answer = _ask_dataset(commands.InspectDataset(dataset=dataset), display)
        if isinstance(answer, events.DatasetInspected):
            linted, problems = _check_contents(answer, dataset, display)
            report = _report(answer, file, problems)
        else:
            report = _dump_refusal(answer, file)
    if as_json:
        print_json(report | ({"contents": findings.dump(linted)} if linted else {}))
    else:
        _show(report, display)
        if linted is not None:
            findings.show_contents(linted, display)
            findings.show(linted, display)
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


# --- as JSON ----------------------------------------------------------------------------------


def _report(
    answer: events.DatasetInspected, file: str, problems: Sequence[Problem]
) -> dict[str, Any]:
    """Return the report as plain data: rows = used + skipped, `reasons` lists why rows are skipped.

    `problems` are those of the check that follows the inspection.
    """
    source: SourceFound = answer.sources[0]
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
        "problems": [_dump_problem(problem) for problem in (*answer.problems, *problems)],
    }


def _dump_refusal(problem: Problem, file: str) -> dict[str, Any]:
    return {
        "file": file,
        "container": "",
        "format": None,
        "task": "unsupported",
        "confidence": 0.0,
        "evidence": str(problem.what),
        "others": [],
        "columns": [],
        "mapping": {},
        "people": [],
        "rows": 0,
        "used": 0,
        "skipped": 0,
        "reasons": [],
        "problems": [_dump_problem(problem)],
    }


def _dump_problem(problem: Problem) -> dict[str, Any]:
    return problem.model_dump(mode="json", context=READABLE)


# --- as text ----------------------------------------------------------------------------------


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
        ("Training", TASKS[report["task"]]),
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
