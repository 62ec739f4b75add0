"""`lora-studio runs` lists the runs of a project; `cluster` writes one as a folder for many GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from rich.table import Table
from rich.text import Text

from lora_studio.cli import access, headless
from lora_studio.cli.common import JsonOption, exit_on_problem, print_json
from lora_studio.cli.console import Display, write_out
from lora_studio.core import formatting, messages
from lora_studio.core.messages import text
from lora_studio.core.problems import fail
from lora_studio.core.project import cluster_consent, project
from lora_studio.core.project.project import Project
from lora_studio.core.runs import cluster as run_cluster
from lora_studio.core.runs import index
from lora_studio.core.runs import state as run_state
from lora_studio.core.runs import table as run_table
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.index import RunSummary
from lora_studio.core.runs.table import Column

_TITLES: dict[Column, str] = {
    "state": "State", "model": "Model", "data": "Data", "rank": "Rank", "loss": "Loss", "eval": "Eval", "reward": "Reward",
    "accuracy": "Accuracy", "f1": "Macro F1", "recall": "Recall@10", "mrr": "MRR", "answers": "Answers",
    "time": "Time", "size": "Size", "tags": "Tags",
}  # fmt: skip
#: Width in characters from which a terminal shows all columns.
_WIDE = 110
_NUMBERS = ("rank", "loss", "eval", *run_table.OPTIONAL, "answers", "time", "size")


SearchArgument = Annotated[
    list[str] | None,
    typer.Argument(help="Text to search for in names, models, data, tags, notes, and settings."),
]
StateOption = Annotated[
    list[str] | None, typer.Option(help="Only list runs in this state. Can be repeated.")
]
SortOption = Annotated[
    str,
    typer.Option(help=f"Column to sort by: {formatting.join_names(list(run_table.VALUES), 'or')}."),
]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print CSV with the settings that differ.")]


def runs(
    path: Annotated[Path, typer.Argument(help="Project folder or .lorastudio file.")],
    search: SearchArgument = None,
    state: StateOption = None,
    sort: SortOption = "begun",
    reverse: Annotated[bool, typer.Option("--reverse", help="Reverse the order.")] = False,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """List the runs of a project, newest first."""
    display = Display()
    with exit_on_problem(display):
        folder = project.find_file(path).resolve().parent / "runs"
        column = _parse_column(sort)
        states = _parse_states(state or [])
    text = " ".join(search or [])
    listed_runs = [run for run in index.read_summaries(folder) if run_table.is_match(run, text)]
    listed_runs = [run for run in listed_runs if not states or run.state in states]
    listed_runs = run_table.sort_runs(
        listed_runs, column, descending=(column == "begun") != reverse
    )
    if as_json:
        print_json([_dump_run(run) for run in listed_runs])
    elif as_csv:
        write_out(run_table.to_csv(listed_runs))
    elif listed_runs:
        _show(listed_runs, display)
    else:
        none = (
            "No runs match."
            if text or states
            else str(messages.text("No runs in {folder} yet.", folder=str(folder)))
        )
        display.console.print(none, soft_wrap=True, markup=False)


def _parse_column(name: str) -> Column:
    for column in run_table.VALUES:
        if column == name:
            return column
    raise fail(
        "command.invalid",
        "Unknown column: {name}.",
        "Choose one of: {columns}.",
        name=name,
        columns=tuple(run_table.VALUES),
    )


def _parse_states(names: list[str]) -> set[str]:
    valid_states = [*get_args(run_state.State), "unreadable"]
    for name in names:
        if name not in valid_states:
            raise fail(
                "command.invalid",
                "Unknown state: {name}.",
                "Choose one of: {states}.",
                name=name,
                states=tuple(valid_states),
            )
    return set(names)


def _show(listed_runs: list[RunSummary], display: Display) -> None:
    """Print the table, and below it why runs failed or can't be read, and what is missing."""
    display.console.print(_make_table(listed_runs, display.console.width))
    for run in listed_runs:
        for note in filter(None, (run.reason, run.warning)):
            line = f"{run.folder}: {note}"
            display.console.print(line, soft_wrap=True, markup=False, style="dim")


def _make_table(rows: list[RunSummary], width: int) -> Table:
    """Return a table with full folder names, because other commands need them; other columns can be truncated."""
    table = Table(box=None)
    table.add_column("Run", no_wrap=True, min_width=max(len(run.folder) for run in rows))
    left_out = {"data", "loss", "answers", "time", "tags"} if width <= _WIDE else set()
    left_out |= set(run_table.list_empty_columns(rows))
    columns = {column: title for column, title in _TITLES.items() if column not in left_out}
    for column, title in columns.items():
        shortens = column in ("model", "data", "tags")
        table.add_column(
            title, justify="right" if column in _NUMBERS else "left", no_wrap=True,
            overflow="ellipsis", min_width=4 if shortens else 2 + len(title), max_width=24,
        )  # fmt: skip
    for run in rows:
        title = f"  {run.about.title}" if run.about.title else ""
        cells = (run_table.format_cell(run, column) for column in columns)
        table.add_row(Text.assemble(run.folder, (title, "dim")), *map(Text, cells))
    return table


def _dump_run(run: RunSummary) -> dict[str, Any]:
    values: dict[str, Any] = {column: value(run) for column, value in run_table.VALUES.items()}
    del values["size"], values["time"]
    return {
        "run": run.folder, **values, "seconds": run.seconds, "bytes": run.bytes, "steps": run.steps,
        "checkpoint_bytes": run.checkpoint_bytes, "reason": str(run.reason),
        "warning": str(run.warning), "notes": run.about.notes,
        "tags": run.tags, "settings": run.settings,
    }  # fmt: skip


def _show_consents(frozen: Project, display: Display) -> None:
    """Say what must be allowed on the cluster, before anything is written."""
    if problem := cluster_consent.describe_consents(cluster_consent.list_consents(frozen)):
        display.print_problem(problem)


def _export_project(
    path: Path, change: Sequence[str], out: Path, display: Display, *, with_model: bool
) -> RunFolder:
    """Write the run of a valid project as a folder for a cluster; raises ProblemError."""
    draft = headless.open_project(path, change, display)
    if draft is None:
        raise typer.Exit(headless.REFUSED)
    assert draft.folder is not None
    frozen = draft.freeze()
    _show_consents(frozen.resolve(draft.folder), display)
    return run_cluster.export_project(frozen, draft.folder, out, with_model=with_model)


def cluster(
    path: Annotated[Path, typer.Argument(help="Project, or the folder of a run to continue.")],
    out: Annotated[Path, typer.Argument(help="Folder to create. It must not exist.")],
    model: Annotated[
        bool,
        typer.Option(
            "--model/--no-model", help="Include the model if it is a local folder or file."
        ),
    ] = True,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Change a setting for this run, for example --set training.epochs=1."
        ),
    ] = None,
) -> None:
    """Export a run as a folder that trains on a cluster with one command, on any number of GPUs.

    The README.md in the folder explains how. When training is done, copy the folder back to the project's runs folder.
    """
    display = Display()
    run = RunFolder(path.resolve())
    with exit_on_problem(display):
        if run.project_file.is_file():
            frozen = run.load_project()
            access.ask_for_run(run, frozen, display)
            _show_consents(frozen, display)
            written = run_cluster.export_run(run, out.resolve(), with_model=model)
        else:
            written = _export_project(path, change or [], out.resolve(), display, with_model=model)
    display.console.print(f"Written: {written.path}", soft_wrap=True, markup=False)
    display.print_line(
        text(
            "Copy the folder to the cluster and run {command} there. For details, see README.md.",
            command=run_cluster.COMMAND,
        )
    )
