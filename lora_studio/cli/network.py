"""`lora-studio network`: which hosts were contacted, why, and what each feature would contact."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text as CellText

from lora_studio.cli import headless
from lora_studio.cli.common import JsonObjectOption, print_json
from lora_studio.cli.console import Display
from lora_studio.client import network_report
from lora_studio.core import timestamps
from lora_studio.core.messages import text
from lora_studio.core.network import record
from lora_studio.core.network.purposes import TITLES, PossibleContact, format_address
from lora_studio.core.network.record import Contact
from lora_studio.core.system import offline
from lora_studio.core.system.files import describe_os_error


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
            record.clear_records()
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
    table = Table("Host", "Purpose", "Sent", "Received", "Last contact", box=None)
    for contact in contacts:
        host = format_address(contact.host, contact.port)
        table.add_row(
            CellText(str(text("{host} (this computer)", host=host)) if contact.is_local else host),
            CellText(str(TITLES[contact.purpose])),
            *network_report.format_bytes(contact),
            timestamps.format_time(contact.last),
        )
    display.console.print(table)
    if any(contact.uncounted for contact in contacts):
        display.print_line(
            text(
                "Amounts of data are unknown (–) or incomplete (≥) for uv, Weights & Biases, and Xet, which "
                "transfers files of more than 50 GB."
            )
        )


def _print_possible(possible: list[PossibleContact], display: Display) -> None:
    table = Table("Feature", "Would contact", "When", box=None)
    for one in possible:
        table.add_row(
            CellText(str(TITLES[one.purpose])),
            CellText("\n".join(one.hosts) or "–"),
            CellText(str(one.when)),
        )
    display.print_line("")
    display.console.print(table)
    if proxies := network_report.list_proxies():
        display.print_line(
            text("Connections can go through your proxy {hosts}.", hosts=", ".join(proxies))
        )
