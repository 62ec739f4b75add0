"""`lora-studio engine`: sets up, mends and switches what jobs run in."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, cast

import typer
from rich.table import Table

from lora_studio import __version__
from lora_studio.cli import headless
from lora_studio.cli.common import print_json, refusing
from lora_studio.cli.console import Display
from lora_studio.client import worker
from lora_studio.core import formatting
from lora_studio.core.messages import READABLE
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import events
from lora_studio.setup import detect, engines, folders, operations
from lora_studio.setup.detect import Variant
from lora_studio.setup.engines import Engine
from lora_studio.setup.events import (
    Cancelled,
    EngineReady,
    Event,
    Failed,
    MachineFound,
    SetupPlanned,
    WheelhouseReady,
)
from lora_studio.setup.operations import EngineSetup, SetupRequest
from lora_studio.setup.tools import StopFlag

app = typer.Typer(
    help="Set up, repair, update and switch the engine that jobs run in.", no_args_is_help=True
)

JsonOption = Annotated[bool, typer.Option("--json", help="Events as JSON lines on stdout.")]
#: Of what takes no time: the engine that is in use then, or the problems.
ObjectOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before downloading.")]
PythonOption = Annotated[
    str | None, typer.Option("--python", help="Python to make it with: program file or version.")
]
TorchOption = Annotated[
    str | None,
    typer.Option(
        "--torch",
        help="Where PyTorch comes from: cpu, cu128, rocm6.4, an index, a folder, standard.",
    ),
]
WheelhouseOption = Annotated[
    Path | None,
    typer.Option("--offline", help="Wheel folder to take everything from, without a network."),
]


@app.command()
def install(
    variant: Annotated[
        str, typer.Option("--for", help="cpu, cuda, rocm or mps; auto: what this machine has.")
    ] = "auto",
    python: PythonOption = None,
    torch: TorchOption = None,
    offline: WheelhouseOption = None,
    to: Annotated[
        Path | None, typer.Option("--to", help="Folder for engines, for instance on another disk.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would be done.")] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Download and install an engine, check it, and use it from now on.

    Started again after an interruption it goes on where it was.
    """
    display = Display(as_json=as_json)
    with refusing(display):
        request = SetupRequest(
            variant=_variant(variant),
            torch=torch,
            python=python,
            wheelhouse=_existing(offline),
            to=to,
        )
    _set_up(request, display, only_plan=plan, yes=yes)


@app.command()
def repair(yes: YesOption = False, as_json: JsonOption = False) -> None:
    """Make the engine in use anew; only packages that are damaged are downloaded."""
    _set_up(SetupRequest(mode="repair"), Display(as_json=as_json), yes=yes)


@app.command()
def update(
    torch: TorchOption = None,
    offline: WheelhouseOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Bring the engine in use to this program's version; only what has changed is downloaded."""
    display = Display(as_json=as_json)
    with refusing(display):
        request = SetupRequest(mode="update", torch=torch, wheelhouse=_existing(offline))
    _set_up(request, display, yes=yes)


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="Engine to try; the one in use by default.")] = "",
    steps: Annotated[int, typer.Option(help="Steps of the trial training.", min=1)] = 1,
    as_json: JsonOption = False,
) -> None:
    """Import everything and train a tiny random model, as a job would."""
    display = Display(as_json=as_json)
    with _stoppable() as stop:
        status = show(operations.check(stop, name, steps), display)
    if status == 0:
        display.say("The engine works.")
    raise typer.Exit(status)


@app.command()
def status(as_json: ObjectOption = False) -> None:
    """Say which engine is in use, what this machine has, and what could be done."""
    current, found = engines.current(), detect.detect()
    problem: ProblemError | None = None
    python = ""
    try:
        python = worker.engine_command()[0]
    except ProblemError as error:
        problem = error
    report: dict[str, Any] = {
        "version": __version__,
        "engine": _facts(current) if current else None,
        "python": python,
        "folder": str(folders.root().path),
        "machine": found.model_dump(mode="json", context=READABLE),
        "can_roll_back_to": earlier.name if (earlier := engines.before()) else None,
        "problems": [one.model_dump(mode="json", context=READABLE) for one in problem.problems]
        if problem
        else [],
    }
    if as_json:
        print_json(report)
    else:
        _print_status(report, Display())
    raise typer.Exit(headless.FAILED if problem else 0)


@app.command(name="list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="As one array.")] = False) -> None:
    """List the engines that are installed."""
    current = engines.current()
    found = engines.installed()
    if as_json:
        print_json([_facts(one) | {"in_use": one == current} for one in found])
        return
    table = Table("", "Engine", "Version", "PyTorch", "Python", "Size", box=None)
    for one in found:
        mark = "✓" if one == current else ""
        table.add_row(
            mark,
            one.name,
            one.app_version,
            one.torch,
            one.python_version,
            formatting.size(one.bytes),
        )
    Display().console.print(table if found else "No engine is installed.")


@app.command()
def rollback(as_json: ObjectOption = False) -> None:
    """Use the engine again that was in use before."""
    _at_once(engines.rollback, as_json)


@app.command()
def use(
    name: Annotated[str, typer.Argument(help="Name of an engine, or cpu, cuda, rocm, mps.")] = "",
    python: Annotated[
        Path | None, typer.Option("--python", help="An existing Python with PyTorch to use.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="As one object; with --python, events as JSON lines.")
    ] = False,
) -> None:
    """Use another engine that is installed, or a Python of your own."""
    if bool(name) == (python is not None):
        raise typer.BadParameter("name one engine, or a Python with --python")
    if python is not None:
        with _stoppable() as stop:
            raise typer.Exit(show(operations.use_python(python, stop), Display(as_json=as_json)))

    def switch(root: folders.EngineRoot) -> Engine:
        engine = engines.named(name, root)
        engines.switch(engine, root)
        return engine

    _at_once(switch, as_json)


@app.command()
def move(
    to: Annotated[Path, typer.Argument(help="Folder, for instance on another disk.")],
    as_json: JsonOption = False,
) -> None:
    """Take all engines along to another folder; they are tried there before the old one goes."""
    display = Display(as_json=as_json)
    with _stoppable() as stop:
        status = show(operations.move(to, stop), display)
    if status == 0:
        display.say(f"Engines are in {folders.root().path} now.")
    raise typer.Exit(status)


@app.command()
def wheelhouse(
    folder: Annotated[Path, typer.Argument(help="Folder to fill.")],
    variant: Annotated[
        str, typer.Option("--for", help="cpu, cuda, rocm or mps; auto: what this machine has.")
    ] = "auto",
    python: Annotated[
        str | None, typer.Option("--python", help="Python of the other machine, such as 3.12.")
    ] = None,
    platform: Annotated[
        str, typer.Option("--platform", help="Other machine's system: linux, windows, macos.")
    ] = "",
    with_python: Annotated[
        bool, typer.Option("--with-python", help="Also a Python, for a machine that has none.")
    ] = False,
    torch: TorchOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fill a folder with all that a machine without a network needs: `engine install --offline`."""
    display = Display(as_json=as_json)
    if platform not in ("", *operations.PLATFORMS.values()):
        raise typer.BadParameter(f"choose one of {', '.join(operations.PLATFORMS.values())}")
    with refusing(display):
        request = SetupRequest(variant=_variant(variant), torch=torch, python=python)
    with _stoppable() as stop:
        stream = operations.make_wheelhouse(
            folder, request, stop, platform, with_python=with_python
        )
        raise typer.Exit(show(stream, display))


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="Engine to delete.")] = "",
    everything: Annotated[
        bool, typer.Option("--all", help="Every engine and all that was downloaded for them.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before deleting.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete an engine, or all engines and downloads. Models and projects stay."""
    if bool(name) == everything:
        raise typer.BadParameter("name one engine, or say --all")
    display = Display(as_json=as_json)
    root = folders.root()
    with refusing(display):
        found = [engines.named(name, root)] if name else engines.installed(root)
    size = formatting.size(sum(one.bytes for one in found))
    names = ", ".join(one.name for one in found) or "what is left of set-ups"
    if _asks(yes, display) and not typer.confirm(f"Delete {names} ({size})?"):
        raise typer.Exit(headless.INTERRUPTED)
    with _stoppable() as stop:
        status = show(operations.remove(name, stop), display)
    if status == 0:
        display.say(f"Deleted {names}.")
    raise typer.Exit(status)


def show(stream: Iterator[Event], display: Display) -> int:
    """Shows the events of a set-up to their end; the exit status."""
    result = 0
    for shown in display.shown(cast(Iterator[events.Event], stream)):
        event = cast(Event, shown)  # the display passes on what it does not know
        match event:
            case Failed():
                result = headless.FAILED
            case Cancelled():
                result = headless.INTERRUPTED
        if not display.as_json and (text := sentence(event)):
            display.say(text)
    return result


def sentence(event: Event) -> str | None:
    """What an event of a set-up means to a person, in one line."""
    match event:
        case MachineFound():
            return _machine(event.accelerator)
        case SetupPlanned():
            kept = f"; {event.kept} are there already" if event.kept else ""
            return (
                f"Engine for {event.variant} with PyTorch from {event.torch} and Python "
                f"{event.python}: {formatting.plural(event.packages, 'package')}{kept}. "
                f"{formatting.size(event.download)} to download; {formatting.size(event.needed)} of disk "
                f"needed, {formatting.size(event.free)} free in {event.folder}."
                + (" That is too little." if event.needed > event.free else "")
            )
        case EngineReady():
            return (
                f"Engine {event.name} is ready after {formatting.duration(event.seconds)}: "
                f"{event.folder} ({formatting.size(event.bytes)})."
            )
        case WheelhouseReady():
            return f"{event.folder} holds {event.files} files ({formatting.size(event.bytes)})."
    return None


def _set_up(
    request: SetupRequest, display: Display, *, only_plan: bool = False, yes: bool = False
) -> None:
    """Plans, asks, carries out."""
    with _stoppable() as stop:
        work = EngineSetup(request, stop)
        ended = show(_without_done(work.prepare()), display)
        if ended or only_plan:
            raise typer.Exit(ended)
        if _asks(yes, display) and not typer.confirm("Go on?", default=True):
            raise typer.Exit(headless.INTERRUPTED)
        ended = show(work.carry_out(), display)
        if ended == headless.INTERRUPTED and not display.as_json:
            display.say("What was downloaded is kept: the next set-up goes on from there.")
        raise typer.Exit(ended)


def _without_done(stream: Iterator[Event]) -> Iterator[Event]:
    """A plan that was made is no end of anything."""
    return (event for event in stream if event.kind != "done")


def _asks(yes: bool, display: Display) -> bool:
    return not yes and not display.as_json and sys.stdin.isatty()


def _at_once(action: Callable[[folders.EngineRoot], Engine], as_json: bool) -> None:
    """Something that takes no time, under the lock; says which engine is in use then."""
    display = Display(as_json=as_json)
    root = folders.root()
    with refusing(display), root.locked():
        engine = action(root)
    if as_json:
        print_json(_facts(engine))
    else:
        display.say(f"{engine.name} is in use.")
        try:
            engines.usable()
        except ProblemError as error:
            display.say(str(error.problems[0]))


@contextlib.contextmanager
def _stoppable() -> Iterator[StopFlag]:
    """Ctrl+C and a polite kill cancel; what has come so far is kept."""
    stop = StopFlag()

    def ask(_number: int, _frame: FrameType | None) -> None:
        stop.ask()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _variant(name: str) -> Variant | None:
    if name == "auto":
        return None
    known = next((one for one in detect.VARIANTS if one == name), None)
    if known is None:
        raise typer.BadParameter(f"choose auto or one of {', '.join(detect.VARIANTS)}")
    return known


def _existing(folder: Path | None) -> Path | None:
    if folder is not None and not folder.is_dir():
        raise typer.BadParameter(f"{folder} is no folder")
    return folder


def _facts(engine: Engine) -> dict[str, Any]:
    facts = engine.model_dump(mode="json", context=READABLE, exclude={"packages"})
    return facts | {"python": str(engine.python), "fits": engine.fits}


def _machine(found: detect.Accelerator) -> str:
    if found.variant == "cpu":
        return f"No GPU that PyTorch can use; {found.title} computes. {found.note}".strip()
    count = f"{found.count} × " if found.count > 1 else ""
    memory = f", {formatting.memory(found.memory)}" if found.memory else ""
    driver = f", driver {found.driver}" if found.driver else ""
    cuda = f" (CUDA {found.cuda[0]}.{found.cuda[1]})" if found.cuda else ""
    return f"{count}{found.title or found.variant}{memory}{driver}{cuda}."


def _print_status(report: dict[str, Any], display: Display) -> None:
    engine = report["engine"]
    if engine:
        display.say(
            f"Engine {engine['name']}: version {engine['app_version']}, PyTorch {engine['torch']}, "
            f"Python {engine['python_version']}, {formatting.size(engine['bytes'])}"
        )
    elif report["python"]:
        display.say(f"No engine was set up; jobs run in {report['python']}")
    display.say(f"Engines are in {report['folder']}")
    display.say(_machine(detect.Accelerator.model_validate(report["machine"])))
    if report["can_roll_back_to"]:
        display.say(f"`lora-studio engine rollback` goes back to {report['can_roll_back_to']}")
    for problem in report["problems"]:
        display.say(f"{problem['what']} {problem['remedy']}")
