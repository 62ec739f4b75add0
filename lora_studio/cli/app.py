"""The `lora-studio` command line: what the window does, on the same project files."""

from __future__ import annotations

import contextlib
import importlib
import os
import shlex
import sys
import traceback
from collections import UserDict
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from lora_studio import __version__
from lora_studio.cli import headless
from lora_studio.cli.common import (
    JsonLinesOption,
    JsonObjectOption,
    PresetOption,
    ProjectArgument,
    RunArgument,
    SetOption,
    exit_on_problem,
    print_json,
)
from lora_studio.cli.console import Display, SafeConsole, make_printable, write_out
from lora_studio.client import oom_supervisor
from lora_studio.core.curves import metrics
from lora_studio.core.dataset.spec import DataSource
from lora_studio.core.messages import text
from lora_studio.core.model.spec import is_local_source
from lora_studio.core.problems import Problem, ProblemError, Where, error
from lora_studio.core.project import access_requests, checks, presets, project
from lora_studio.core.project.project import SUFFIX, Draft
from lora_studio.core.protocol import commands
from lora_studio.core.runs.facts import lost_steps_warning
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import consent, foreign_files, offline, paths
from lora_studio.core.system.files import create_folder, describe_os_error
from lora_studio.core.system.paths import expand_home

#: The commands and groups of other modules: module and attribute. A module is imported when its command
#: runs or is described: importing all takes as long as inspecting a small file.
_LAZY = {
    "new": ("app", "new"),
    "estimate": ("estimate", "estimate_"),
    "rewards": ("rewards", "rewards"),
    "chat": ("chat", "chat"),
    "classify": ("classify", "classify"),
    "merge": ("adapters", "merge"),
    "export": ("export", "export"),
    "selftest": ("export", "selftest"),
    "push": ("export", "push"),
    "evaluate": ("evaluate", "evaluate"),
    "serve": ("serve", "serve"),
    "cluster": ("runs", "cluster"),
    "doctor": ("diagnostics", "doctor"),
    "diagnostics": ("diagnostics", "diagnostics_"),
    "benchmarks": ("evaluate", "benchmarks"),
    "network": ("diagnostics", "network"),
    "runs": ("runs", "runs"),
    "import": ("adapters", "import_"),
    "template": ("template", "app"),
    "ollama": ("ollama", "app"),
    "adapters": ("adapters", "app"),
    "data": ("data", "app"),
    "queue": ("runs", "app"),
    "demo": ("demo", "demo"),
    "model": ("model", "app"),
    "engine": ("engine", "app"),
}


class _Commands(UserDict[str, Any]):
    """The commands by name; those of `_LAZY` are None until they are looked up."""

    def __getitem__(self, name: str) -> Any:
        if (command := super().__getitem__(name)) is None:
            command = self[name] = _import_command(name)
        return command


def _import_command(name: str) -> Any:
    """Return the command or group of a name in `_LAZY`."""
    module, attribute = _LAZY[name]
    target = getattr(importlib.import_module(f"lora_studio.cli.{module}"), attribute)
    parent = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    parent.callback()(lambda: None)  # makes it a group, even of one command
    if isinstance(target, typer.Typer):
        parent.add_typer(target, name=name)
    else:
        parent.command(name=name)(target)
    return typer.main.get_group(parent).commands[name]


class _LazyGroup(TyperGroup):
    """The top-level group, whose commands are imported when they are needed."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Commands({**self.commands, **dict.fromkeys(_LAZY)})


app = typer.Typer(
    cls=_LazyGroup,
    help="Fine-tune a language model with LoRA, and run exactly what you trained in Ollama. Without a command, the window opens.",
    no_args_is_help=False,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> NoReturn:
    """Run the command line and exit; an unexpected error becomes a problem, not a traceback."""
    status = 0
    try:
        app(prog_name="lora-studio")
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BrokenPipeError:  # the reader, such as `head`, has ended
        status = _flush_output() or headless.FAILED
    except Exception as failure:
        _report_failure(failure)
        _flush_output()
        status = headless.FAILED
    for notice in foreign_files.collect_notices():
        _print_to_stderr(notice)
    sys.exit(status or _report_lost_output() or _flush_output())


def _report_lost_output() -> int:
    """Report output that a job couldn't write while it continued, and return the exit status."""
    if SafeConsole.lost_output is None:
        return 0
    _print_to_stderr(
        error(
            "command.lost_output",
            "The job has ended, but not all of its output could be written: {reason}.",
            "Its results are complete. Its events are in the file events.jsonl of the run.",
            reason=describe_os_error(SafeConsole.lost_output),
        )
    )
    return headless.FAILED


def _flush_output() -> int:
    """Flush stdout and return the exit status: that of a failure if something couldn't be written."""
    try:
        sys.stdout.flush()
    except OSError as failure:
        # Python flushes again at the exit, which would fail with a message of its own.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(failure, BrokenPipeError):
            _report_failure(failure)
        return headless.FAILED
    return 0


def _report_failure(failure: Exception) -> None:
    """Print a problem, and write the traceback to the log folder."""
    log = paths.get_log_folder() / "command.log"
    with contextlib.suppress(OSError):
        create_folder(log.parent)
        log.write_text("".join(traceback.format_exception(failure)), "utf-8", "replace")
    problems = (
        failure.problems if isinstance(failure, ProblemError) else [_to_problem(failure, log)]
    )
    for problem in problems:
        _print_to_stderr(problem)


def _to_problem(failure: Exception, log: Path) -> Problem:
    if isinstance(failure, OSError):
        return error(
            "command.system",
            "The command failed: {reason}.",
            "Check that the disk isn't full, and that you have access to the file.",
            where=Where(file=str(failure.filename) if failure.filename else None),
            reason=describe_os_error(failure),
        )
    return error(
        "command.unexpected",
        "The command failed: {reason}.",
        "Everything saved before is kept. Details are in the log.",
        where=Where(file=str(log)),
        reason=describe_os_error(failure),
    )


def _print_to_stderr(problem: Problem) -> None:
    with contextlib.suppress(OSError):
        print(make_printable(str(problem)), file=sys.stderr)


@app.callback(invoke_without_command=True)
def _print_version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    stay_offline: Annotated[
        bool, typer.Option("--offline", help="Make no network requests.")
    ] = False,
    trust: Annotated[
        list[str] | None,
        typer.Option(
            "--trust",
            metavar="HASH",
            help="Allow what has this hash: a model's Python files, a llama.cpp folder, a reward function, "
            "a judge, or a project, run, or evaluation from elsewhere.",
        ),
    ] = None,
    check_window: Annotated[
        bool,
        typer.Option(
            "--check-window",
            help="Open every page of the window, print errors, and exit. Works only without other arguments.",
        ),
    ] = False,
) -> None:
    if check_window:  # without other arguments, `__main__` has run it
        raise typer.BadParameter("It works only without other arguments.")
    if stay_offline:
        offline.switch(True)
    consent.trust_in_this_process(trust or ())
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def run(
    path: ProjectArgument,
    as_json: JsonLinesOption = False,
    change: SetOption = None,
    preset: PresetOption = "",
) -> None:
    """Train, merge, export, and create the Ollama model of a project."""
    _create_run(path, ("Train", "Merge", "Export"), as_json, change, preset)


@app.command()
def train(
    path: ProjectArgument,
    as_json: JsonLinesOption = False,
    change: SetOption = None,
    preset: PresetOption = "",
) -> None:
    """Train the adapter of a project in a new run.

    Ctrl+C stops training after the current step and keeps the adapter; pressing it again cancels. `pause` or SIGTERM
    pauses training until you run `resume`.
    """
    _create_run(path, ("Train",), as_json, change, preset)


@app.command()
def resume(path: RunArgument, as_json: JsonLinesOption = False) -> None:
    """Resume a training run from its last complete checkpoint."""
    display = Display(as_json=as_json)
    command = commands.Train(run=str(path.resolve()), resume=True)
    raise typer.Exit(headless.run_stage(command, display))


@app.command()
def pause(path: RunArgument, as_json: JsonLinesOption = False) -> None:
    """Pause a training run (saves a checkpoint). Continue it with `resume`."""
    display = Display(as_json=as_json)
    run = RunFolder(path.resolve())
    with exit_on_problem(display):
        run.load_project()
        status = headless.pause(run, display)
    raise typer.Exit(status)


@app.command(name="metrics")
def metrics_command(path: RunArgument) -> None:
    """Print the metrics of a run as CSV, one line per step."""
    run = RunFolder(path.resolve())
    with exit_on_problem(Display()):
        run.load_project()
    series = metrics.read_metrics(run)
    write_out(series.to_csv())
    if warning := lost_steps_warning(run, series.lost, up_to_checkpoint=True):
        Display().print_problem(warning)


@app.command()
def watch(path: RunArgument, as_json: JsonLinesOption = False) -> None:
    """Show the events of a run and follow it while it is running."""
    run = RunFolder(path.resolve())
    display = Display(as_json=as_json)
    with exit_on_problem(display):
        run.load_project()
    raise typer.Exit(headless.watch(run, display))


@app.command(name=oom_supervisor.GUARD_VERB, hidden=True)
def guard(path: RunArgument) -> None:
    """Supervise a training run and restart it if the system kills it for lack of memory."""
    oom_supervisor.guard_run(RunFolder(path))


def _create_run(
    path: Path, stages: tuple[str, ...], as_json: bool, change: list[str] | None, preset: str
) -> None:
    display = Display(as_json=as_json)
    draft = headless.open_project(path, change or [], display, preset)
    if draft is None:
        raise typer.Exit(headless.REFUSED)
    try:
        run = headless.create_run(draft)
    except ProblemError as error:
        display.print_problems(error.problems)
        raise typer.Exit(headless.FAILED) from None
    display.console.print(f"Run: {run.path}", soft_wrap=True, markup=False)
    with exit_on_problem(display):
        status = headless.run_stages(run, stages, display)
    raise typer.Exit(status)


_ChangeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SETTING=VALUE",
        help="Change a setting, for example --set training.epochs=1. Can be repeated.",
    ),
]


def new(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder of the project, which is created.")
    ],
    model: Annotated[
        str, typer.Option(metavar="MODEL", help="Folder, .gguf file, Hub ID, or builtin:NAME.")
    ],
    data: Annotated[
        list[str],
        typer.Option(metavar="FILE", help="File, folder, or Hub dataset ID. Can be repeated."),
    ],
    name: Annotated[
        str,
        typer.Option(metavar="NAME", help="Name of the project. Without it, that of the folder."),
    ] = "",
    preset: Annotated[
        str, typer.Option(metavar="PRESET", help="Preset, such as quick, balanced, or best.")
    ] = "",
    change: _ChangeOption = None,
    as_json: JsonObjectOption = False,
) -> None:
    """Create a project from a model and a dataset. `run` and the window open it."""
    display = Display(as_json=as_json)
    folder = expand_home(folder).resolve()
    with exit_on_problem(display):
        draft = _make_draft(folder, name or folder.name, model, data, preset)
        headless.apply_overrides(draft, change or [], display)
        if errors := checks.filter_errors(checks.check(draft)):
            display.print_problems(errors)
            raise typer.Exit(headless.REFUSED)
        created = project.create(folder, draft.name, draft.values)
        # the user has typed what it asks for
        access_requests.accept_requests(created, access_requests.list_requests(created))
    if as_json:
        print_json({"project": str(created.path)})
    else:
        _print_next_steps(created, folder, display)


def _print_next_steps(created: Draft, folder: Path, display: Display) -> None:
    display.print_line(text("Project created: {file}", file=str(created.path)))
    display.print_line(
        text(
            "Next: `lora-studio estimate {folder}`, then `lora-studio run {folder}`.",
            folder=shlex.quote(str(folder)),
        )
    )


def _make_draft(folder: Path, title: str, model: str, data: list[str], preset: str) -> Draft:
    """Return a project with a model, a dataset and the settings of a preset; raises ProblemError."""
    draft = Draft(title, path=folder / f"{project.to_file_name(title)}{SUFFIX}")
    source = _make_absolute(model, is_remote=not is_local_source(model))
    draft.values["model"]["source"] = source
    draft.values["dataset"]["sources"] = [
        {"path": _make_absolute(each, is_remote=DataSource(path=each).is_hub)} for each in data
    ]
    if preset:
        presets.apply_preset(draft, presets.find_preset(preset))
    return draft


def _make_absolute(source: str, *, is_remote: bool) -> str:
    """Return a local path as an absolute one, and a remote source unchanged, unless a file has its name."""
    local = expand_home(Path(source))
    return source if is_remote and not local.exists() else str(local.resolve())
