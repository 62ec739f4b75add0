"""What this installation is, and a file about it for who helps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lora_studio.cli import headless
from lora_studio.cli.common import answers, print_json
from lora_studio.cli.console import Display
from lora_studio.core import formatting
from lora_studio.core.help import diagnostics
from lora_studio.core.messages import READABLE
from lora_studio.core.protocol import commands
from lora_studio.core.system.files import reason_of
from lora_studio.setup import engines


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what this installation is and can do."""
    display = Display(as_json=as_json)
    report = _report(display)
    if as_json:
        print_json(report)
        return
    _print_doctor(report, display)


def diagnostics_(
    file: Annotated[Path, typer.Argument(help="The ZIP file to write.", dir_okay=False)],
    project: Annotated[
        Path | None,
        typer.Option(help="A project whose settings and latest run go in.", exists=True),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Write without asking.")] = False,
) -> None:
    """Write versions, logs and the last run into a file for who helps, without what is private.

    Home folder, names, keys and texts of yours are left out. You see what goes in before it is written.
    """
    display = Display()
    entries = diagnostics.collect(_report(display), project)
    for entry in entries:
        display.say(f"{entry.name} ({formatting.size(len(entry.text.encode()))}): {entry.about}")
    if not yes and not typer.confirm(f"Write these to {file}?", default=True):
        raise typer.Exit(headless.REFUSED)
    try:
        diagnostics.write(entries, file)
    except OSError as error:
        display.say(f"{file} could not be written: {reason_of(error)}.")
        raise typer.Exit(headless.FAILED) from None
    display.say(f"Written to {file}. Look at it before you send it to anybody.")


def _report(display: Display) -> dict[str, Any]:
    report = diagnostics.here()
    engine = engines.current()
    report["engine"] = (
        engine.model_dump(mode="json", context=READABLE, exclude={"packages"}) if engine else None
    )
    for command in (commands.InspectDevices(), commands.InspectOllama()):
        for event in answers(command, display):
            diagnostics.add_event(report, event)
    return report


def _print_doctor(report: dict[str, Any], display: Display) -> None:
    display.title(f"LoRA Studio {report['version']}")
    display.say(f"Python {report['python']} on {report['system']}")
    if engine := report["engine"]:
        display.say(
            f"Engine {engine['name']}: version {engine['app_version']}, PyTorch {engine['torch']}, "
            f"Python {engine['python_version']}"
        )
    for name, version in report["packages"].items():
        display.say(f"{name}: {version or 'not installed'}")
    for device in report["devices"]:
        display.say(f"Device {device['name']}: {device['title']}, "
                    f"{formatting.memory(device['total_bytes'])}")  # fmt: skip
    ollama = report["ollama"]
    display.say(f"Ollama {ollama['version']} at {ollama['host']}" if ollama else "Ollama: none")
    for problem in report["problems"]:
        display.say(f"{problem['what']} {problem['remedy']}")
