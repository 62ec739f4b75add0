"""Programs that a setup runs: failures, cancellation and logging."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from lora_studio.client import network_report
from lora_studio.core.problems import ProblemError
from lora_studio.setup import tools
from lora_studio.setup.tools import (
    SetupCancelledError,
    SetupLog,
    StopFlag,
    UvContacts,
    build_uv_environment,
    find_uv,
    run,
)
from tests.helpers.servers.wheel_index import Index, make_wheel, serve


def script(text: str) -> list[object]:
    return [sys.executable, "-c", text]


def failing(text: str, tmp_path: Path) -> ProblemError:
    log = SetupLog(tmp_path / "setup.log")
    with pytest.raises(ProblemError) as caught:
        tools.run_checked(
            script(f"import sys; print({text!r}); sys.exit(1)"), environment=os.environ,
            stop=StopFlag(), log=log, code="engine.install", what="It failed", remedy="Again.",
        )  # fmt: skip
    log.close()
    return caught.value


def test_resolver_reason_is_joined_from_wrapped_lines() -> None:
    output = """error: No solution found when resolving dependencies
  cause: Because beta was not found in the
         provided package locations and all
         versions of alpha depend on beta, we
         can conclude that all versions of
         alpha cannot be used.
         And because this needs alpha, we can
         conclude that your requirements are
         unsatisfiable."""
    assert tools.get_error_line(output).startswith(
        "Because beta was not found in the provided package"
    )


def test_failed_program_is_a_problem_with_output_and_log(tmp_path: Path) -> None:
    problem = failing("error: no such wheel", tmp_path).problems[0]
    assert problem.code == "engine.install"
    assert str(problem.what) == "It failed: no such wheel"
    assert problem.where.file == str(tmp_path / "setup.log")
    assert "no such wheel" in (tmp_path / "setup.log").read_text()


def test_full_disk_is_recognized_in_program_output(tmp_path: Path) -> None:
    output = "error: failed to copy\n  cause: No space left on device (os error 28)"
    assert failing(output, tmp_path).problems[0].code == "disk.full"


def test_canceled_program_ends_with_its_children(tmp_path: Path) -> None:
    stop, log, note = StopFlag(), SetupLog(tmp_path / "setup.log"), tmp_path / "pid"
    text = (
        "import subprocess, sys, time; from pathlib import Path\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"Path({str(note)!r}).write_text(str(child.pid)); time.sleep(600)"
    )

    def cancel_once_started() -> None:
        while not (note.exists() and note.read_text()):
            time.sleep(0.01)
        stop.ask()

    threading.Thread(target=cancel_once_started).start()
    with pytest.raises(SetupCancelledError):
        tools.run(script(text), environment=os.environ, stop=stop, log=log)
    log.close()
    child = int(note.read_text())
    until = time.monotonic() + 120
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_passwords_in_addresses_are_never_logged(tmp_path: Path) -> None:
    log = SetupLog(tmp_path / "setup.log")
    log.write("index https://me:s3cret@index.example/simple and http://token@h/x")
    log.close()
    text = (tmp_path / "setup.log").read_text()
    assert "s3cret" not in text
    assert "token@" not in text
    assert "index.example/simple" in text


def test_unwritable_log_is_ignored(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    log = SetupLog(blocked / "setup.log")
    log.write("nobody reads this")
    log.close()


def test_uv_of_the_user_takes_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "my uv"
    own.write_text("")
    monkeypatch.setenv(tools.VARIABLE, str(own))
    assert tools.find_uv() == own


def test_uv_on_path_is_used_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may not know the builds of PyTorch that setup asks for."""
    monkeypatch.delenv(tools.VARIABLE, raising=False)
    other = tmp_path / ("uv.exe" if os.name == "nt" else "uv")
    other.write_text("")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tools.find_uv() != other
    monkeypatch.setitem(sys.modules, "uv", None)
    assert tools.find_uv() == other


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
