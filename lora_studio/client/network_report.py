"""The network report: the hosts that were contacted, and those that each feature would contact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.request import getproxies

from lora_studio.core import formatting
from lora_studio.core.network import connections
from lora_studio.core.network.connections import Contact
from lora_studio.core.network.purposes import (
    TITLES,
    PossibleContact,
    extract_hosts,
    list_possible_contacts,
)
from lora_studio.core.system import offline
from lora_studio.setup.tools import build_uv_environment


def read_contacts(session: str = "") -> list[Contact]:
    """Return the contacts of this process's session or of all kept records, the latest first.

    The record of this process is written before.
    """
    connections.save()
    records = connections.read_records(session)
    return connections.merge_contacts(contact for one in records for contact in one.contacts)


def list_possible(ollama_host: str = "") -> list[PossibleContact]:
    """Return what each feature would contact with the user's settings."""
    return list_possible_contacts(build_uv_environment(), ollama_host)


def list_proxies() -> tuple[str, ...]:
    """Return the user's proxies, which pass connections on to the hosts of features."""
    return extract_hosts(address for name, address in getproxies().items() if name != "no")


def format_bytes(contact: Contact) -> tuple[str, str]:
    """Return the amounts of data sent and received: "–" if unknown, "≥ 3 MB" if some is uncounted."""
    sent, received = (
        "–" if count is None else "≥ " * bool(contact.uncounted) + formatting.format_size(count)
        for count in (contact.sent, contact.received)
    )
    return sent, received


def to_json(contacts: Sequence[Contact], possible: Sequence[PossibleContact]) -> dict[str, Any]:
    """Return the report as JSON values; times are Unix times."""
    return {
        "offline": offline.is_on(),
        "since": min((contact.first for contact in contacts), default=None),
        "contacts": [
            contact.model_dump(mode="json") | {"local": contact.is_local} for contact in contacts
        ],
        "features": [
            {
                "purpose": str(one.purpose),
                "title": str(TITLES[one.purpose]),
                "when": str(one.when),
                "hosts": list(one.hosts),
            }
            for one in possible
        ],
        "proxies": list(list_proxies()),
    }
