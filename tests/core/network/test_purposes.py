"""The catalog of purposes; and secrets, which stay out of what is shown, recorded, and logged."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from lora_studio.client import network_report
from lora_studio.core.network import connections
from lora_studio.core.network.connections import Contact, ContactRecord, ContactTable
from lora_studio.core.network.purposes import (
    TITLES,
    Purpose,
    extract_hosts,
    list_possible_contacts,
)
from lora_studio.core.network.secrets import (
    print_exception,
    split_credentials,
    without_secrets,
    without_secrets_in,
)


def get_hosts(purpose: Purpose, **environ: str) -> tuple[str, ...]:
    possible = list_possible_contacts(environ, environ.pop("ollama", ""), environ)
    return next(one.hosts for one in possible if one.purpose == purpose)


def test_each_purpose_has_a_title_and_a_feature() -> None:
    assert set(TITLES) == set(Purpose)
    features = [one.purpose for one in list_possible_contacts({}, "", {})]
    assert set(features) == set(Purpose) - {Purpose.UNKNOWN}
    assert len(features) == len(set(features))


@pytest.mark.parametrize(
    ("purpose", "environ", "hosts"),
    [
        pytest.param(Purpose.HUB_SEARCH, {}, ("huggingface.co",), id="hub"),
        pytest.param(
            Purpose.MODEL_DOWNLOAD, {}, ("huggingface.co", "*.hf.co"), id="hub with storage"
        ),
        pytest.param(
            Purpose.MODEL_DOWNLOAD,
            {"HF_ENDPOINT": "https://mirror.example/hub"},
            ("mirror.example",),
            id="hub mirror",
        ),
        pytest.param(Purpose.OLLAMA, {}, ("127.0.0.1:11434",), id="ollama"),
        pytest.param(
            Purpose.OLLAMA,
            {"OLLAMA_HOST": "https://me:secret@box.example:8443/ollama"},
            ("box.example:8443",),
            id="ollama with password",
        ),
        pytest.param(
            Purpose.OLLAMA,
            {"OLLAMA_HOST": "one.example", "ollama": "two.example:11434"},
            ("two.example:11434",),
            id="ollama of the project",
        ),
        pytest.param(Purpose.BUILTIN_MODEL, {}, ("pypi.org", "files.pythonhosted.org"), id="index"),
        pytest.param(
            Purpose.ENGINE_SETUP,
            {
                "UV_DEFAULT_INDEX": "https://token@index.example/simple",
                "UV_INDEX": "own=https://more.example/simple",
                "UV_PYTHON_INSTALL_MIRROR": "file:///srv/python",
            },
            (
                "index.example",
                "more.example",
                "download.pytorch.org",
                "github.com",
                "*.githubusercontent.com",
            ),
            id="index mirrors",
        ),
        pytest.param(
            Purpose.WANDB,
            {"WANDB_BASE_URL": "http://w.example:8080"},
            ("w.example:8080",),
            id="wandb",
        ),
        pytest.param(
            Purpose.MLFLOW, {"MLFLOW_TRACKING_URI": "file:///runs"}, (), id="mlflow files"
        ),
        pytest.param(
            Purpose.RANKS, {"MASTER_ADDR": "10.1.2.3"}, ("127.0.0.1", "10.1.2.3"), id="ranks"
        ),
    ],
)
def test_hosts_follow_the_user_s_settings(
    purpose: Purpose, environ: dict[str, str], hosts: tuple[str, ...]
) -> None:
    assert get_hosts(purpose, **environ) == hosts


@pytest.mark.parametrize(
    ("address", "hosts"),
    [
        ("https://user:hf_secret@host.example:444/path?token=x#y", ("host.example:444",)),
        ("http://[2001:db8::1]:8080", ("[2001:db8::1]:8080",)),
        ("HOST.example", ("host.example",)),
        ("http://[broken", ()),
        ("host:port", ()),
        ("/srv/wheels", ()),
        ("", ()),
    ],
)
def test_host_is_extracted_without_secrets(address: str, hosts: tuple[str, ...]) -> None:
    assert extract_hosts([address]) == hosts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("at https://pim:pa55@host/api", "at https://***@host/api"),
        ("https://pim:p@55@host", "https://***@host"),
        ("https://hf_tokenonly@host/x", "https://***@host/x"),
        ("https://host/x@y", "https://host/x@y"),
        ("https://host/a?n=1&api_key=abc&b=2", "https://host/a?n=1&api_key=***&b=2"),
        ("https://host/?X-Amz-Signature=abc", "https://host/?X-Amz-Signature=***"),
        ("Authorization: Bearer abcdefgh12", "Authorization: Bearer ***"),
        ('{"a":"http://host","b":"c@d"}', '{"a":"http://host","b":"c@d"}'),
        ("file:///home/pim/a", "file:///home/pim/a"),
        ("mail pim@host.example", "mail pim@host.example"),
    ],
)
def test_passwords_and_tokens_are_removed(text: str, expected: str) -> None:
    assert without_secrets(text) == expected


@pytest.mark.parametrize(
    ("variable", "value", "secret"),
    [
        ("HF_TOKEN", "plain-secret", "plain-secret"),
        ("OPENAI_API_KEY", "plain-secret", "plain-secret"),
        ("MLFLOW_TRACKING_URI", "https://pim:plain%2Dsecret@host", "plain-secret"),
        ("HTTPS_PROXY", "http://pim:plain-secret@proxy:3128", "plain-secret"),
    ],
)
def test_secrets_of_the_environment_are_removed_anywhere(
    variable: str, value: str, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert secret not in without_secrets(f"refused '{secret}', try again")


def test_short_values_are_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "step")
    assert without_secrets("step 3") == "step 3"


def test_json_keeps_its_form() -> None:
    value: Any = {"code": "a.b", "values": {"reason": ["x http://a:b@h/", 3, None]}}
    cleaned = {"code": "a.b", "values": {"reason": ["x http://***@h/", 3, None]}}
    assert without_secrets_in(value) == cleaned


def test_traceback_has_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        try:
            raise ValueError("first http://pim:pa55@host/")
        except ValueError as error:
            raise OSError("second http://pim:pa55@host/") from error
    except OSError as error:
        print_exception(error)
    printed = capsys.readouterr().err
    assert "pa55" not in printed
    assert "ValueError: first http://***@host/" in printed
    assert "OSError: second http://***@host/" in printed


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://pim:p%40s@host:5000/a?b", ("https://host:5000/a?b", "pim", "p@s")),
        ("https://pim:p@s@host", ("https://host", "pim", "p@s")),
        ("https://token@host", ("https://host", "token", "")),
        ("https://host", ("https://host", "", "")),
        ("databricks", ("databricks", "", "")),
        ("file:///srv/a@b", ("file:///srv/a@b", "", "")),
    ],
)
def test_credentials_are_split_from_an_address(address: str, expected: tuple[str, ...]) -> None:
    assert split_credentials(address) == expected


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
