"""`lora-studio runs` lists the runs of a project; `cluster` writes one as a folder for many GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from rich.table import Table
from rich.text import Text

from lora_studio.cli import common, headless
from lora_studio.cli.common import (
    JsonLinesOption,
    JsonOption,
    ProjectArgument,
    SetOption,
    exit_on_problem,
    print_json,
)
from lora_studio.cli.console import Display, write_out
from lora_studio.core import formatting, messages
from lora_studio.core.messages import counted, listed, text
from lora_studio.core.problems import ProblemError, fail
from lora_studio.core.project import access_requests, project
from lora_studio.core.project.project import SPECS, Draft, Project
from lora_studio.core.project.search_terms import suggest_settings
from lora_studio.core.protocol import commands
from lora_studio.core.runs import cluster as run_cluster
from lora_studio.core.runs import grid_search, index
from lora_studio.core.runs import queue as run_queue
from lora_studio.core.runs import state as run_state
from lora_studio.core.runs import table as run_table
from lora_studio.core.runs.annotations import RunAnnotations
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.grid_search import Axis
from lora_studio.core.runs.index import RunSummary
from lora_studio.core.runs.queue import QueuedRun, QueueFile
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
    path: ProjectArgument,
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
    if problem := access_requests.describe_cluster_consents(
        access_requests.list_cluster_consents(frozen)
    ):
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
    change: SetOption = None,
) -> None:
    """Export a run as a folder that trains on a cluster with one command, on any number of GPUs.

    The README.md in the folder explains how. When training is done, copy the folder back to the project's runs folder.
    """
    display = Display()
    run = RunFolder(path.resolve())
    with exit_on_problem(display):
        if run.project_file.is_file():
            frozen = run.load_project()
            common.ask_for_run(run, frozen, display)
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


app = typer.Typer(help="Manage queued runs. The window shows the same queue.", no_args_is_help=True)

RunArgument = Annotated[str, typer.Argument(help="Name of the run's folder, as shown by `list`.")]
RunsArgument = Annotated[
    list[str], typer.Argument(help="Names of the runs' folders, as shown by `list`.")
]


@app.callback()
def queue(
    context: typer.Context,
    path: ProjectArgument,
) -> None:
    """Queue runs of a project and train them one after another."""
    context.obj = path


@app.command()
def add(
    context: typer.Context,
    run: Annotated[
        list[str] | None,
        typer.Argument(
            help="Runs to start or resume. Without any, the project with its current settings."
        ),
    ] = None,
    change: SetOption = None,
    preset: Annotated[str, typer.Option(help="Preset to apply.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="Tag for the new run.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Add a run with the current settings to the queue."""
    display = Display(as_json=as_json)
    with exit_on_problem(display):
        runs = _get_runs_folder(context)
        if run:
            entries = [_find_entry(runs, name) for name in run]
        else:
            draft = headless.open_project(context.obj, change or [], display, preset)
            if draft is None:
                raise typer.Exit(headless.REFUSED)
            new_run = headless.create_run(draft)
            if tag:
                new_run.write_about(RunAnnotations(tags=tuple(tag)))
            entries = [QueuedRun(run=new_run.path.name)]
        _show_queue(runs, run_queue.add(runs, entries), display, as_json=as_json)


@app.command()
def grid(
    context: typer.Context,
    over: Annotated[
        list[str],
        typer.Option(
            help="A setting with its values, for example --over lora.rank=8,16. Can be repeated once."
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """Add a run for each combination of values of one or two settings."""
    display = Display(as_json=as_json)
    with exit_on_problem(display):
        runs = _get_runs_folder(context)
        draft = headless.open_project(context.obj, (), display)
        if draft is None:
            raise typer.Exit(headless.REFUSED)
        axes = [_parse_axis(draft, text) for text in over]
        if len(axes) > 2 or len({name for name, _ in axes}) < len(axes):
            raise fail(
                "grid.settings",
                "A grid search uses one or two settings.",
                "Use --over at most twice.",
            )
        entries = [
            QueuedRun(run=run.path.name) for run in grid_search.create_grid_runs(draft, axes)
        ]
        _show_queue(runs, run_queue.add(runs, entries), display, as_json=as_json)


@app.command(name="list")
def list_(context: typer.Context, as_json: JsonOption = False) -> None:
    """List queued runs, the next one first."""
    display = Display(as_json=as_json)
    with exit_on_problem(display):
        runs = _get_runs_folder(context)
    _show_queue(runs, run_queue.load(runs), display, as_json=as_json)


@app.command()
def remove(context: typer.Context, run: RunsArgument, as_json: JsonOption = False) -> None:
    """Remove runs from the queue. They stay in the project's runs."""
    display = Display(as_json=as_json)
    with exit_on_problem(display):
        runs = _get_runs_folder(context)
        for name in run:
            _require_queued(runs, name)
        _show_queue(runs, run_queue.remove(runs, run), display, as_json=as_json)


@app.command()
def move(
    context: typer.Context,
    run: RunArgument,
    position: Annotated[
        int, typer.Argument(help="New position. 1 is the next run to start.", min=1)
    ],
    as_json: JsonOption = False,
) -> None:
    """Move a run to another position."""
    display = Display(as_json=as_json)
    with exit_on_problem(display):
        runs = _get_runs_folder(context)
        _require_queued(runs, run)
        _show_queue(runs, run_queue.move(runs, run, position - 1), display, as_json=as_json)


@app.command()
def pause(context: typer.Context, as_json: JsonOption = False) -> None:
    """Pause the queue, in the window and here."""
    display = Display(as_json=as_json)
    with exit_on_problem(display):
        runs = _get_runs_folder(context)
        _show_queue(runs, run_queue.set_paused(runs, True), display, as_json=as_json)


@app.command(name="run")
def run_(
    context: typer.Context,
    as_json: JsonLinesOption = False,
) -> None:
    """Train queued runs one after another until the queue is empty.

    If a run fails, the next one still starts, and the exit status is 1. Ctrl+C stops the current run, keeps its
    adapter, and leaves the rest in the queue.
    """
    display = Display(as_json=as_json)
    failed = 0
    with exit_on_problem(display):
        runs = _get_runs_folder(context)
        run_queue.set_paused(runs, False)
        while (entry := run_queue.pop_next(runs)) is not None:
            display.print_title(entry.run)
            folder = RunFolder(runs / entry.run)
            command = commands.Train(run=str(folder.path), resume=entry.resume)
            status = headless.run_stage(command, display)
            if status == headless.INTERRUPTED:
                raise typer.Exit(status)
            failed += status != 0
    if failed:
        display.print_line(counted(failed, "{n} run failed.", "{n} runs failed."))
        raise typer.Exit(headless.FAILED)


# --- helpers --------------------------------------------------------------------------------------


def _get_runs_folder(context: typer.Context) -> Path:
    return project.find_file(context.obj).resolve().parent / "runs"


def _find_entry(runs: Path, name: str) -> QueuedRun:
    run = RunFolder(runs / Path(name).name)
    run.load_project()
    if run.is_running():
        raise fail("run.busy", "{run} is running.", "Wait until it finishes.", run=run.path.name)
    return QueuedRun(run=run.path.name, resume=run.read_state() != "new")


def _parse_axis(draft: Draft, text: str) -> Axis:
    """Return a setting with its values, typed as in a project file."""
    setting, _, values = text.partition("=")
    searchable = grid_search.list_searchable_settings()
    if setting not in searchable:
        suggested = suggest_settings(setting, searchable)
        raise fail(
            "project.unknown_field",
            "Grid search doesn't support this setting: {setting}.",
            "Did you mean {suggested}?"
            if suggested
            else "Use step.field=value,value,… with numbers or choices.",
            setting=setting,
            suggested=listed(suggested, "or"),
        )
    step, name = grid_search.split_setting(setting)
    typed: list[Any] = [part.strip() for part in values.split(",") if part.strip()]
    for value in typed:
        if problem := grid_search.check_value(draft, setting, value):
            raise ProblemError(problem)
    specs = (SPECS[step].model_validate({name: value}) for value in typed)
    return setting, tuple(getattr(spec, name) for spec in specs)


def _require_queued(runs: Path, name: str) -> None:
    waiting = run_queue.load(runs).names
    if name not in waiting:
        raise fail(
            "queue.not_found",
            "{name} isn't in the queue.",
            "Choose one of: {runs}." if waiting else "The queue is empty.",
            name=name,
            runs=tuple(waiting),
        )


def _show_queue(runs: Path, queue: QueueFile, display: Display, *, as_json: bool) -> None:
    if as_json:
        print_json({"paused": queue.paused, "runs": [_dump_entry(runs, e) for e in queue.entries]})
        return
    for position, entry in enumerate(queue.entries, start=1):
        about = RunFolder(runs / entry.run).read_about()
        columns = [entry.run, about.title, ", ".join(about.tags), "resumes" * entry.resume]
        line = "  ".join(part for part in columns if part)
        display.console.print(f"{position:>3}  {line}", soft_wrap=True, markup=False)
    if not queue.entries:
        display.print_line("The queue is empty.")
    elif queue.paused:
        display.print_line("Paused. Queued runs don't start automatically.")


def _dump_entry(runs: Path, entry: QueuedRun) -> dict[str, Any]:
    about = RunFolder(runs / entry.run).read_about()
    return {**entry.model_dump(), "title": about.title, "tags": about.tags}
