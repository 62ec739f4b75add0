"""`lora-studio queue PROJECT …`: manage queued runs, in the same file as the window."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lora_studio.cli import headless
from lora_studio.cli.common import JsonLinesOption, JsonOption, exit_on_problem, print_json
from lora_studio.cli.console import Display
from lora_studio.core.messages import counted, listed
from lora_studio.core.problems import ProblemError, fail
from lora_studio.core.project import project
from lora_studio.core.project.project import SPECS, Draft
from lora_studio.core.project.search_terms import suggest_settings
from lora_studio.core.protocol import commands
from lora_studio.core.runs import copies, grid_search
from lora_studio.core.runs import queue as run_queue
from lora_studio.core.runs.annotations import RunAnnotations
from lora_studio.core.runs.copies import Axis
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.queue import QueuedRun, QueueFile

app = typer.Typer(help="Manage queued runs. The window shows the same queue.", no_args_is_help=True)

RunArgument = Annotated[str, typer.Argument(help="Name of the run's folder, as shown by `list`.")]
RunsArgument = Annotated[
    list[str], typer.Argument(help="Names of the runs' folders, as shown by `list`.")
]


@app.callback()
def queue(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="Project folder or .lorastudio file.")],
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
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Change a setting for this run, for example --set training.epochs=1."
        ),
    ] = None,
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
        _show(runs, run_queue.add(runs, entries), display, as_json=as_json)


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
        entries = [QueuedRun(run=run.path.name) for run in copies.create_grid_runs(draft, axes)]
        _show(runs, run_queue.add(runs, entries), display, as_json=as_json)


@app.command(name="list")
def list_(context: typer.Context, as_json: JsonOption = False) -> None:
    """List queued runs, the next one first."""
    display = Display(as_json=as_json)
    with exit_on_problem(display):
        runs = _get_runs_folder(context)
    _show(runs, run_queue.load(runs), display, as_json=as_json)


@app.command()
def remove(context: typer.Context, run: RunsArgument, as_json: JsonOption = False) -> None:
    """Remove runs from the queue. They stay in the project's runs."""
    display = Display(as_json=as_json)
    with exit_on_problem(display):
        runs = _get_runs_folder(context)
        for name in run:
            _require_queued(runs, name)
        _show(runs, run_queue.remove(runs, run), display, as_json=as_json)


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
        _show(runs, run_queue.move(runs, run, position - 1), display, as_json=as_json)


@app.command()
def pause(context: typer.Context, as_json: JsonOption = False) -> None:
    """Pause the queue, in the window and here."""
    display = Display(as_json=as_json)
    with exit_on_problem(display):
        runs = _get_runs_folder(context)
        _show(runs, run_queue.set_paused(runs, True), display, as_json=as_json)


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
    step, name = copies.split_setting(setting)
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


def _show(runs: Path, queue: QueueFile, display: Display, *, as_json: bool) -> None:
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
