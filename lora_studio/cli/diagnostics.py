"""`lora-studio doctor` and `diagnostics`: check this installation and report on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lora_studio.cli import headless
from lora_studio.cli.common import JsonObjectOption, collect_answers, print_json
from lora_studio.cli.console import Display
from lora_studio.client import network_report
from lora_studio.core import formatting
from lora_studio.core.help import diagnostics
from lora_studio.core.messages import READABLE, fill, text
from lora_studio.core.network import connections
from lora_studio.core.network.connections import Contact
from lora_studio.core.network.purposes import TITLES, PossibleContact, format_address
from lora_studio.core.problems import Problem
from lora_studio.core.protocol import commands
from lora_studio.core.system import offline
from lora_studio.core.system.files import describe_os_error
from lora_studio.setup import engines


def doctor(
    as_json: JsonObjectOption = False,
) -> None:
    """Check this installation: engine, packages, devices, and Ollama."""
    display = Display(as_json=as_json)
    report = _report(display)
    if as_json:
        print_json(report)
        return
    _print_doctor(report, display)


def diagnostics_(
    file: Annotated[Path, typer.Argument(help="ZIP file to create.", dir_okay=False)],
    project: Annotated[
        Path | None,
        typer.Option(help="Include the settings and the latest run of this project.", exists=True),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask for confirmation.")] = False,
) -> None:
    """Create a diagnostics file (ZIP) to attach to a bug report.

    It contains versions, logs, and the latest run. Your home folder, names, keys, and texts are left out. You can
    review the contents before the file is written.
    """
    display = Display()
    entries = diagnostics.collect_entries(_report(display), project)
    for entry in entries:
        display.print_note(
            f"{entry.name} ({formatting.format_size(len(entry.text.encode()))}): {entry.about}"
        )
    if not yes and not typer.confirm(
        str(text("Write these files to {file}?", file=str(file))), default=True, err=True
    ):
        raise typer.Exit(headless.REFUSED)
    try:
        diagnostics.write_archive(entries, file)
    except OSError as error:
        display.print_note(
            text(
                "Couldn't write {file}: {reason}.", file=str(file), reason=describe_os_error(error)
            )
        )
        raise typer.Exit(headless.FAILED) from None
    display.print_line(text("Created {file}. Review it before you share it.", file=str(file)))


def _report(display: Display) -> dict[str, Any]:
    report = diagnostics.build_report()
    engine = engines.get_current()
    report["engine"] = (
        engine.model_dump(mode="json", context=READABLE, exclude={"packages"}) if engine else None
    )
    for command in (commands.InspectDevices(), commands.InspectOllama()):
        for event in collect_answers(command, display):
            diagnostics.add_event(report, event)
    return report


def _print_doctor(report: dict[str, Any], display: Display) -> None:
    display.print_title(f"LoRA Studio {report['version']}")
    display.print_line(f"Python {report['python']} on {report['system']}")
    if engine := report["engine"]:
        display.print_line(
            fill(
                "Engine {name}: version {app_version}, PyTorch {torch}, Python {python_version}",
                engine,
            )
        )
    for name, version in report["packages"].items():
        display.print_line(f"{name}: {version or 'not installed'}")
    for device in report["devices"]:
        display.print_line(fill("Device {name}: {title}, {total_bytes:memory}", device))
    ollama = report["ollama"]
    display.print_line(
        fill("Ollama {version} at {host}", ollama) if ollama else text("Ollama: not running")
    )
    display.print_findings(Problem.model_validate(problem) for problem in report["problems"])


def network(
    as_json: JsonObjectOption = False,
    clear: Annotated[bool, typer.Option("--clear", help="Delete the record first.")] = False,
) -> None:
    """Show which hosts LoRA Studio contacted in the last 7 days, and what each feature would contact.

    The record is kept on this computer only. It contains host names, purposes, and amounts of data.
    """
    display = Display(as_json=as_json)
    if clear:
        try:
            connections.clear_records()
        except OSError as error:
            display.print_note(
                text("The record can't be deleted: {reason}.", reason=describe_os_error(error))
            )
            raise typer.Exit(headless.FAILED) from None
    contacts, possible = network_report.read_contacts(), network_report.list_possible()
    if as_json:
        print_json(network_report.to_json(contacts, possible))
        return
    display.print_line(
        text("Offline mode is on.") if offline.is_on() else text("Offline mode is off.")
    )
    _print_contacts(contacts, display)
    _print_possible(possible, display)


def _print_contacts(contacts: list[Contact], display: Display) -> None:
    if not contacts:
        display.print_line(text("No host was contacted in the last 7 days."))
        return
    display.print_table(
        ("Host", "Purpose", "Sent", "Received", "Last contact"),
        (
            (
                format_address(one.host, one.port) + " (this computer)" * one.is_local,
                TITLES[one.purpose],
                *network_report.format_bytes(one),
                formatting.format_time(one.last),
            )
            for one in contacts
        ),
    )
    if any(contact.uncounted for contact in contacts):
        display.print_line(
            text(
                "Amounts of data are unknown (–) or incomplete (≥) for uv, Weights & Biases, and Xet, which "
                "transfers files of more than 50 GB."
            )
        )


def _print_possible(possible: list[PossibleContact], display: Display) -> None:
    display.print_line("")
    display.print_table(
        ("Feature", "Would contact", "When"),
        ((TITLES[one.purpose], "\n".join(one.hosts) or "–", one.when) for one in possible),
    )
    if proxies := network_report.list_proxies():
        display.print_line(
            text("Connections can go through your proxy {hosts}.", hosts=", ".join(proxies))
        )
