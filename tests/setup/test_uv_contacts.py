"""The hosts that uv contacts are read from its log."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.client import network_report
from lora_studio.setup.tools import (
    SetupLog,
    StopFlag,
    UvContacts,
    build_uv_environment,
    find_uv,
    run,
)
from tests.helpers.servers.wheel_index import Index, make_wheel, serve


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    contacts: list[tuple[str, int]] = []
    monkeypatch.setattr(
        "lora_studio.setup.tools.note_contact",
        lambda host, port, purpose: contacts.append((host, port)),
    )
    return contacts


def test_each_connection_has_its_host_and_port(noted: list[tuple[str, int]]) -> None:
    log = """\
DEBUG starting new connection 'Some("pypi.org")'
DEBUG starting new connection 'Some("files.pythonhosted.org")'
DEBUG connecting to 151.101.0.223:443
DEBUG connecting to [2a04:4e42::223]:443
DEBUG connected to 151.101.0.223:443
DEBUG starting new connection 'Some("index.example")'
DEBUG proxy(http://user:secret@proxy.example:3128/) intercepts 'Some("index.example")'
DEBUG connecting to 10.0.0.1:3128
Resolved 12 packages in 484ms"""
    contacts = UvContacts()
    passed_on = [line for line in log.splitlines() if not contacts.read_line(line)]
    assert passed_on == ["Resolved 12 packages in 484ms"]
    assert noted == [
        ("pypi.org", 443),
        ("files.pythonhosted.org", 443),
        ("proxy.example", 3128),
    ]


def test_real_uv_logs_its_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noted: list[tuple[str, int]]
) -> None:
    index = Index()
    index.add(make_wheel("alpha"))
    with serve(index):
        monkeypatch.setenv("UV_DEFAULT_INDEX", f"{index.url}/simple")
        port = int(index.url.rpartition(":")[2])
        (tmp_path / "in.txt").write_text("alpha\n")
        log = SetupLog(tmp_path / "log.txt")
        status, output = run(
            [find_uv(), "pip", "compile", "--no-cache", tmp_path / "in.txt"],
            environment=build_uv_environment(),
            stop=StopFlag(),
            log=log,
        )
        log.close()
    assert status == 0, output
    assert set(noted) == {("127.0.0.1", port)}
    assert "DEBUG" not in output


def test_report_lists_the_user_s_proxies_without_passwords(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("https_proxy", "http://user:secret@proxy.example:3128")
    assert "proxy.example:3128" in network_report.list_proxies()
    assert "secret" not in str(network_report.list_proxies())
