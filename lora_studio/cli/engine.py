"""`lora-studio engine`: set up, repair, and switch the environment that jobs run in."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, cast

import typer

from lora_studio import __version__
from lora_studio.cli import headless
from lora_studio.cli.common import JsonLinesOption, JsonObjectOption, exit_on_problem, print_json
from lora_studio.cli.console import Display
from lora_studio.client import worker
from lora_studio.core import formatting
from lora_studio.core.messages import READABLE, fill, text
from lora_studio.core.problems import Problem, ProblemError
from lora_studio.core.protocol import events
from lora_studio.setup import detect, engines, folders, operations
from lora_studio.setup.detect import Variant
from lora_studio.setup.engines import Engine
from lora_studio.setup.events import (
    Cancelled,
    Event,
    Failed,
)
from lora_studio.setup.operations import EngineSetup, SetupRequest
from lora_studio.setup.tools import StopFlag

app = typer.Typer(
    help="Set up, repair, update, and switch the engine that runs jobs.", no_args_is_help=True
)

#: For commands that return immediately: print the current engine, or the problems.
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask before downloading.")]
PythonOption = Annotated[
    str | None, typer.Option("--python", help="Python to use: a path or a version.")
]
TorchOption = Annotated[
    str | None,
    typer.Option(
        "--torch",
        help="PyTorch build: cpu, cu128, rocm7.2, an index URL, a folder, or standard.",
    ),
]
WheelhouseOption = Annotated[
    Path | None,
    typer.Option("--offline", help="Wheel folder to install from, without a network connection."),
]


@app.command()
def install(
    variant: Annotated[
        str, typer.Option("--for", help="Accelerator: cpu, cuda, rocm, mps, or auto to detect it.")
    ] = "auto",
    python: PythonOption = None,
    torch: TorchOption = None,
    offline: WheelhouseOption = None,
    to: Annotated[
        Path | None, typer.Option("--to", help="Folder for engines, for example on another disk.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only show what would be done.")] = False,
    yes: YesOption = False,
    as_json: JsonLinesOption = False,
) -> None:
    """Download, install, and check an engine, then switch to it.

    If the installation is interrupted, run the command again to continue.
    """
    display = Display(as_json=as_json)
    with exit_on_problem(display):
        request = SetupRequest(
            variant=_parse_variant(variant),
            torch=torch,
            python=python,
            wheelhouse=_parse_folder(offline),
            to=to,
        )
    _set_up(request, display, only_plan=plan, yes=yes)


@app.command()
def repair(yes: YesOption = False, as_json: JsonLinesOption = False) -> None:
    """Repair the current engine. Downloads only damaged packages."""
    _set_up(SetupRequest(mode="repair"), Display(as_json=as_json), yes=yes)


@app.command()
def update(
    torch: TorchOption = None,
    offline: WheelhouseOption = None,
    yes: YesOption = False,
    as_json: JsonLinesOption = False,
) -> None:
    """Update the current engine to this version of LoRA Studio. Downloads only changed packages."""
    display = Display(as_json=as_json)
    with exit_on_problem(display):
        request = SetupRequest(mode="update", torch=torch, wheelhouse=_parse_folder(offline))
    _set_up(request, display, yes=yes)


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="Engine to check. Default: the current one.")] = "",
    steps: Annotated[int, typer.Option(help="Number of training steps to run.", min=1)] = 1,
    as_json: JsonLinesOption = False,
) -> None:
    """Check an engine by importing its packages and training a tiny random model."""
    display = Display(as_json=as_json)
    with _cancel_on_signals() as stop:
        status = show(operations.check_engine(stop, name, steps), display)
    if status == 0:
        display.print_line("The engine passed the check.")
    raise typer.Exit(status)


@app.command()
def status(as_json: JsonObjectOption = False) -> None:
    """Show the current engine, this computer's hardware, and available actions."""
    current, machine = engines.get_current(), detect.detect_accelerator()
    problem: ProblemError | None = None
    python = ""
    try:
        python = worker.get_engine_command()[0]
    except ProblemError as error:
        problem = error
    report: dict[str, Any] = {
        "version": __version__,
        "engine": _dump_engine(current) if current else None,
        "python": python,
        "folder": str(folders.get_root().path),
        "machine": machine.model_dump(mode="json", context=READABLE),
        "can_roll_back_to": earlier.name if (earlier := engines.get_previous()) else None,
        "problems": [item.model_dump(mode="json", context=READABLE) for item in problem.problems]
        if problem
        else [],
    }
    if as_json:
        print_json(report)
    else:
        _print_status(report, Display())
    raise typer.Exit(headless.FAILED if problem else 0)


@app.command(name="list")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> None:
    """List installed engines."""
    current = engines.get_current()
    installed = engines.list_engines()
    if as_json:
        print_json(
            [
                _dump_engine(environment) | {"in_use": environment == current}
                for environment in installed
            ]
        )
        return
    if not installed:
        Display().console.print("No engines are installed.")
        return
    Display().print_table(
        ("", "Engine", "Version", "PyTorch", "Python", "Size"),
        (
            (
                "✓" if one == current else "",
                one.name,
                one.app_version,
                one.torch,
                one.python_version,
                formatting.format_size(one.bytes),
            )
            for one in installed
        ),
    )


@app.command()
def rollback(as_json: JsonObjectOption = False) -> None:
    """Switch back to the previous engine."""
    _run_now(engines.roll_back, as_json)


@app.command(name="use")
def switch_engine(
    name: Annotated[
        str, typer.Argument(help="Name of an engine, or cpu, cuda, rocm, or mps.")
    ] = "",
    python: Annotated[
        Path | None, typer.Option("--python", help="Use an existing Python that has PyTorch.")
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object; with --python, events as JSON lines."),
    ] = False,
) -> None:
    """Switch to another installed engine, or to your own Python."""
    if bool(name) == (python is not None):
        raise typer.BadParameter("Specify either an engine or --python.")
    if python is not None:
        with _cancel_on_signals() as stop:
            raise typer.Exit(show(operations.adopt_python(python, stop), Display(as_json=as_json)))

    def switch(root: folders.EngineRoot) -> Engine:
        engine = engines.get_engine(name, root)
        engines.switch_engine(engine, root)
        return engine

    _run_now(switch, as_json)


@app.command()
def move(
    to: Annotated[Path, typer.Argument(help="New folder, for example on another disk.")],
    as_json: JsonLinesOption = False,
) -> None:
    """Move all engines to another folder. Checks them there before deleting the old folder."""
    display = Display(as_json=as_json)
    with _cancel_on_signals() as stop:
        status = show(operations.move_engines(to, stop), display)
    if status == 0:
        display.print_line(
            text("Engines are now in {folder}.", folder=str(folders.get_root().path))
        )
    raise typer.Exit(status)


@app.command()
def wheelhouse(
    folder: Annotated[Path, typer.Argument(help="Folder to fill.")],
    variant: Annotated[
        str, typer.Option("--for", help="Accelerator: cpu, cuda, rocm, mps, or auto to detect it.")
    ] = "auto",
    python: Annotated[
        str | None,
        typer.Option("--python", help="Python version of the other computer, such as 3.12."),
    ] = None,
    platform: Annotated[
        str,
        typer.Option("--platform", help="System of the other computer: linux, windows, or macos."),
    ] = "",
    with_python: Annotated[
        bool,
        typer.Option("--with-python", help="Include Python, for a computer that doesn't have it."),
    ] = False,
    torch: TorchOption = None,
    as_json: JsonLinesOption = False,
) -> None:
    """Download everything to set up an engine on a computer without a network connection.

    On that computer, run `lora-studio engine install --offline FOLDER`.
    """
    display = Display(as_json=as_json)
    if platform not in ("", *operations.PLATFORMS.values()):
        raise typer.BadParameter(f"Choose one of: {', '.join(operations.PLATFORMS.values())}.")
    with exit_on_problem(display):
        request = SetupRequest(variant=_parse_variant(variant), torch=torch, python=python)
    with _cancel_on_signals() as stop:
        stream = operations.make_wheelhouse(
            folder, request, stop, platform, with_python=with_python
        )
        raise typer.Exit(show(stream, display))


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="Engine to delete.")] = "",
    everything: Annotated[
        bool, typer.Option("--all", help="Delete all engines and their downloads.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask before deleting.")] = False,
    as_json: JsonLinesOption = False,
) -> None:
    """Delete an engine, or all engines and their downloads. Keeps models and projects."""
    if bool(name) == everything:
        raise typer.BadParameter("Specify either an engine or --all.")
    display = Display(as_json=as_json)
    root = folders.get_root()
    with exit_on_problem(display):
        doomed = [engines.get_engine(name, root)] if name else engines.list_engines(root)
    size = formatting.format_size(sum(environment.bytes for environment in doomed))
    names = ", ".join(environment.name for environment in doomed) or "leftover files"
    if _should_ask(yes, display) and not typer.confirm(
        str(text("Delete {names} ({size})?", names=names, size=size)), err=True
    ):
        raise typer.Exit(headless.INTERRUPTED)
    with _cancel_on_signals() as stop:
        status = show(operations.remove_engines(name, stop), display)
    if status == 0:
        display.print_line(text("Deleted {names}.", names=names))
    raise typer.Exit(status)


def show(stream: Iterator[Event], display: Display) -> int:
    """Show the events of a setup until it ends and return the exit status."""
    result = 0
    for shown in display.show_all(cast(Iterator[events.Event], stream)):
        event = cast(Event, shown)  # `show_all` yields every event
        match event:
            case Failed():
                result = headless.FAILED
            case Cancelled():
                result = headless.INTERRUPTED
    return result


def _set_up(
    request: SetupRequest, display: Display, *, only_plan: bool = False, yes: bool = False
) -> None:
    """Plan the setup, ask for confirmation, and run it."""
    with _cancel_on_signals() as stop:
        work = EngineSetup(request, stop)
        ended = show(_drop_done(work.prepare()), display)
        if ended or only_plan:
            raise typer.Exit(ended)
        if _should_ask(yes, display) and not typer.confirm("Continue?", default=True, err=True):
            raise typer.Exit(headless.INTERRUPTED)
        ended = show(work.carry_out(), display)
        if ended == headless.INTERRUPTED and not display.as_json:
            display.print_note("Completed downloads are kept. Run the command again to continue.")
        raise typer.Exit(ended)


def _drop_done(stream: Iterator[Event]) -> Iterator[Event]:
    """Return the events without `done`, because the installation follows the plan."""
    return (event for event in stream if event.kind != "done")


def _should_ask(yes: bool, display: Display) -> bool:
    return not yes and not display.as_json and sys.stdin.isatty()


def _run_now(action: Callable[[folders.EngineRoot], Engine], as_json: bool) -> None:
    """Run an action that returns immediately while holding the lock, and print the current engine."""
    display = Display(as_json=as_json)
    root = folders.get_root()
    with exit_on_problem(display), root.lock():
        engine = action(root)
    if as_json:
        print_json(_dump_engine(engine))
    else:
        display.print_line(text("Switched to engine {name}.", name=engine.name))
        try:
            engines.get_usable_engine()
        except ProblemError as error:
            display.print_problem(error.problems[0])


@contextlib.contextmanager
def _cancel_on_signals() -> Iterator[StopFlag]:
    """Let Ctrl+C and SIGTERM cancel the setup; completed downloads are kept."""
    stop = StopFlag()

    def ask(_number: int, _frame: FrameType | None) -> None:
        stop.ask()

    previous_handlers = {
        number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)


def _parse_variant(name: str) -> Variant | None:
    if name == "auto":
        return None
    variant = next((candidate for candidate in detect.VARIANTS if candidate == name), None)
    if variant is None:
        raise typer.BadParameter(f"Choose auto or one of: {', '.join(detect.VARIANTS)}.")
    return variant


def _parse_folder(folder: Path | None) -> Path | None:
    if folder is not None and not folder.is_dir():
        raise typer.BadParameter(f"{folder} isn't a folder.")
    return folder


def _dump_engine(engine: Engine) -> dict[str, Any]:
    facts = engine.model_dump(mode="json", context=READABLE, exclude={"packages"})
    return facts | {"python": str(engine.python), "fits": engine.fits}


def _print_status(report: dict[str, Any], display: Display) -> None:
    engine = report["engine"]
    if engine:
        display.print_line(
            fill(
                "Engine {name}: version {app_version}, PyTorch {torch}, Python {python_version}, {bytes:size}",
                engine,
            )
        )
    elif report["python"]:
        display.print_line(
            text("No engine is installed. Jobs run in {python}", python=report["python"])
        )
    display.print_line(text("Engine folder: {folder}", folder=report["folder"]))
    display.print_line(detect.Accelerator.model_validate(report["machine"]).describe())
    if report["can_roll_back_to"]:
        display.print_line(
            text(
                "Run `lora-studio engine rollback` to switch back to {name}",
                name=report["can_roll_back_to"],
            )
        )
    display.print_findings(Problem.model_validate(problem) for problem in report["problems"])
