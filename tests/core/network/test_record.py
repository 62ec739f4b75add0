"""The record of contacted hosts: merged over processes, bounded, and deleted on request."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from lora_studio.client import network_report
from lora_studio.core.network import connections
from lora_studio.core.network.connections import Contact, ContactRecord, ContactTable
from lora_studio.core.network.purposes import Purpose


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LORA_STUDIO_LOGS", str(tmp_path))
    return tmp_path / "network"


def write(session: str, pid: int, *contacts: Contact, started: float = 1.0) -> Path:
    connections.write_record(
        ContactRecord(session=session, pid=pid, started=started, contacts=contacts)
    )
    return connections.get_record_file(session, pid)


def make_contact(host: str = "hub.example", **values: object) -> Contact:
    given = {"port": 443, "purpose": "hub_search", "connections": 1, "first": 1.0, "last": 2.0}
    return Contact.model_validate(given | {"host": host} | values)


def test_contacts_of_processes_are_merged() -> None:
    write("one", 1, make_contact(sent=10, received=None, first=5.0, last=6.0))
    write("one", 2, make_contact(sent=5, received=7, first=3.0, last=9.0, connections=2))
    write("one", 3, make_contact(purpose="ollama"))
    contacts = connections.merge_contacts(
        contact for one in connections.read_records("one") for contact in one.contacts
    )
    first = contacts[0]
    assert (first.connections, first.sent, first.received) == (3, 15, 7)
    assert (first.first, first.last) == (3.0, 9.0)
    assert [contact.purpose for contact in contacts] == [Purpose.HUB_SEARCH, Purpose.OLLAMA]


def test_uncounted_connections_make_amounts_incomplete() -> None:
    write("one", 1, make_contact(sent=10, received=2000), make_contact("uv.example", uncounted=1))
    write("one", 2, make_contact(uncounted=2), make_contact("plain.example", sent=1, received=2))
    contacts = connections.merge_contacts(
        contact for one in connections.read_records("one") for contact in one.contacts
    )
    shown = {contact.host: network_report.format_bytes(contact) for contact in contacts}
    assert shown == {
        "hub.example": ("≥ 10 B", "≥ 2 kB"),
        "uv.example": ("–", "–"),
        "plain.example": ("1 B", "2 B"),
    }


def test_record_of_a_session_has_only_its_processes() -> None:
    write("one", 1, make_contact())
    write("two", 1, make_contact())
    assert [one.session for one in connections.read_records("two")] == ["two"]
    assert len(connections.read_records()) == 2


def test_unreadable_records_are_left_out(folder: Path) -> None:
    write("good", 1, make_contact())
    for name, content in {
        "noise": b"\xff\x00{",
        "empty": b"",
        "deep": b"[" * 100_000,
        "large": b" " * 2_000_000,
        "many": b'{"session":"a","pid":1,"started":1,"contacts":['
        + b",".join([make_contact().model_dump_json().encode()] * 1000)
        + b"]}",
    }.items():
        (folder / f"{name}-1.json").write_bytes(content)
    assert [one.session for one in connections.read_records()] == ["good"]


def test_foreign_text_in_a_record_is_not_shown(folder: Path) -> None:
    file = write("s", 1, make_contact())
    file.write_text(
        file.read_text().replace("hub.example", "\\u001b]52;c;x\\u0007").replace("hub_search", "?")
    )
    (contact,) = connections.read_records()[0].contacts
    assert (contact.host, contact.purpose) == ("?", Purpose.UNKNOWN)


def test_old_and_surplus_records_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_RECORDS", 2)
    files = [write("s", pid, make_contact()) for pid in range(4)]
    now = time.time()
    for age, file in enumerate(files):
        os.utime(file, (now - age, now - age))
    os.utime(files[1], (now - 8 * 24 * 3600,) * 2)
    connections.prune_records()
    assert [file.exists() for file in files] == [True, False, True, False]


def test_record_of_a_running_session_survives_a_set_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_RECORDS", 2)
    files = [write("own", 1, make_contact()), write("s", 2), write("s", 3)]
    os.utime(files[0], (0, 0))
    connections.prune_records("own")
    assert [file.exists() for file in files].count(True) == 2
    assert connections.read_records("own")


def test_counting_starts_again_once_the_record_is_deleted() -> None:
    table = ContactTable(iter(range(1, 1000)).__next__)  # type: ignore[arg-type]
    table.add_connection("old.example", 443, Purpose.HUB_SEARCH)
    table.add_connection("kept.example", 443, Purpose.HUB_SEARCH)
    table.add_bytes("kept.example", 443, Purpose.HUB_SEARCH, 100, 1000)
    table.save("s")
    connections.clear_records()
    assert connections.read_records() == []
    table.add_bytes("kept.example", 443, Purpose.HUB_SEARCH, 7, 8)
    table.save("s")
    (contact,) = connections.read_records()[0].contacts
    assert contact.host == "kept.example"
    assert (contact.connections, contact.sent, contact.received) == (0, 7, 8)


def test_contacts_of_a_process_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_CONTACTS", 3)
    table = ContactTable()
    for number in range(10):
        table.add_connection(f"h{number}.example", 443, Purpose.UNKNOWN)
    hosts = {contact.host: contact.connections for contact in table.list_contacts()}
    assert hosts == {"h0.example": 1, "h1.example": 1, "h2.example": 1, connections.OTHERS: 7}
