"""Offline mode: real workers connect only to this computer and report what they can't do."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lora_studio.cli import headless
from lora_studio.client import worker as client_worker
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.network import connections
from lora_studio.core.project import project
from lora_studio.core.protocol import commands, events
from lora_studio.core.system import offline
from lora_studio.engine.runtime.channel import Inbox
from tests.engine.conftest import TinyModel
from tests.helpers.runs.jobs import write_rows
from tests.helpers.servers.hub_server import hub_server

#: An address reserved for documentation (RFC 5737), so a real connection attempt would hang.
UNREACHABLE = "192.0.2.1"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.8.8.8",
        "::1",
        "localhost",
        b"localhost",
        "",
        "0.0.0.0",
        "/run/x.sock",
        None,
    ],
)
def test_local_host_is_recognized(host: object) -> None:
    assert offline.is_local_host(host)


@pytest.mark.parametrize(
    "host", [UNREACHABLE, "huggingface.co", "2001:db8::1", "10.0.0.1", "localhost.x"]
)
def test_remote_host_is_recognized(host: str) -> None:
    assert not offline.is_local_host(host)


def test_engine_process_refuses_remote_connections() -> None:
    script = f"""
import os, socket
os.environ["HF_HUB_OFFLINE"] = "1"
import lora_studio.engine.runtime.channel
def tried(what):
    try:
        what()
    except OSError as error:
        return type(error).__name__
    return "reached"
import urllib.request
print(
    tried(lambda: socket.create_connection(("{UNREACHABLE}", 80), 1)),
    tried(lambda: socket.getaddrinfo("example.com", 80)),
    tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("{UNREACHABLE}", 53))),
    tried(lambda: urllib.request.urlopen("http://example.com")),
    tried(lambda: socket.create_server(("127.0.0.1", 0)).getsockname()),
)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=600
    )
    assert done.stdout.split() == ["OfflineError"] * 3 + ["URLError", "reached"]


def test_running_worker_goes_offline_and_never_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in (offline.VARIABLE, "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "UV_OFFLINE"):
        monkeypatch.setenv(name, "")
    inbox = Inbox(lambda command: None)
    (tmp_path / "mailbox").write_bytes(b"")
    end = inbox.watch_mailbox(tmp_path / "mailbox")
    (tmp_path / "mailbox").write_text(commands.GoOffline().model_dump_json() + "\n")
    deadline = time.monotonic() + 30
    while not offline.is_on() and time.monotonic() < deadline:
        time.sleep(0.05)
    end()
    assert offline.is_on()
    fields = set(commands.GoOffline.model_fields)
    assert fields == {"kind", "id"}, "a mailbox belongs to a run folder: it can't turn it off"


@pytest.fixture
def offline_mode(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in (offline.VARIABLE, "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "UV_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("LORA_STUDIO_LOGS", str(tmp_path / "logs"))
    monkeypatch.setenv("LORA_STUDIO_CACHE", str(tmp_path / "cache"))
    offline.switch(True)
    yield
    offline.switch(False)


def ask_worker(*questions: Any) -> list[list[Any]]:
    """Send questions to one real worker; return the events of each."""
    worker = client_worker.Worker.start()
    try:
        for question in questions:
            worker.send(question)
        sent: dict[str, list[Any]] = {question.id: [] for question in questions}
        waiting = set(sent)
        for event in worker.iter_events():
            if event.id in sent:
                sent[event.id].append(event)
            if isinstance(event, events.Ending):
                waiting.discard(event.id)
                if not waiting:
                    break
        return list(sent.values())
    finally:
        worker.kill()
        worker.close()


@pytest.mark.slow
@pytest.mark.usefixtures("offline_mode")
def test_network_commands_report_that_offline_mode_is_on(tiny: TinyModel) -> None:
    with hub_server({"tiny/llama": tiny("llama3")}) as hub:
        answers = ask_worker(
            commands.SearchModels(text="llama"),
            commands.DownloadModel(model=ModelSpec(source="tiny/llama")),
            commands.InspectModel(model=ModelSpec(source="org/other")),
            commands.DownloadModel(model=ModelSpec(source="builtin:SmolLM2-135M-Instruct")),
            commands.InspectOllama(host=f"http://{UNREACHABLE}:11434"),
        )
        assert hub.requests == []
    for about in answers:
        problem = about[-1].problem
        assert "ffline mode is on" in str(problem.what), problem
        assert str(problem.remedy) == offline.REMEDY


@pytest.mark.slow
@pytest.mark.usefixtures("offline_mode")
def test_local_commands_still_run_offline(tiny: TinyModel) -> None:
    with _listening() as port:
        inspected, listed, ollama = ask_worker(
            commands.InspectModel(model=ModelSpec(source=str(tiny("llama3")))),
            commands.ListModels(location="folder", folders=(str(tiny("llama3")),)),
            commands.InspectOllama(host=f"http://127.0.0.1:{port}"),
        )
    assert any(isinstance(event, events.ModelInspected) for event in inspected)
    assert any(isinstance(event, events.ModelsFound) and event.models for event in listed)
    assert "ffline" not in str(ollama[-1].problem.what), "the server answers in another protocol"


class _listening:  # noqa: N801 - used like a function
    """A local port with a server that answers every request with 404."""

    def __enter__(self) -> int:
        self._server = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._answer, daemon=True).start()
        return int(self._server.getsockname()[1])

    def __exit__(self, *_: object) -> None:
        self._server.close()

    def _answer(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.usefixtures("offline_mode")
def test_run_trains_and_merges_without_a_network(
    tiny: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test's own guard is below the engine's and records every connection that gets through."""
    reached = tmp_path / "tried.txt"
    engine = f"{sys.executable} -m tests.helpers.servers.offline_engine {reached}"
    monkeypatch.setenv("LORA_STUDIO_ENGINE", engine)
    rows = [{"instruction": f"Count to {n}", "output": f"Up to {n} and back"} for n in range(24)]
    write_rows(tmp_path / "rows.jsonl", rows)
    values = {
        "model": {"source": str(tiny("llama3")), "device": "cpu"},
        "dataset": {"sources": [{"path": str(tmp_path / "rows.jsonl")}], "max_length": 512},
        "training": {"max_steps": 2, "micro_batch": 2, "trackers": []},
        "export": {"ollama_create": False, "quantizations": ["Q8_0"]},
    }
    project.create(tmp_path / "project", "x", values).save()
    draft = project.load(tmp_path / "project")
    run = headless.create_run(draft)
    for stage in ("Train", "Merge"):
        sent = list(client_worker.perform(headless.STAGES[stage](run=str(run.path))))
        assert isinstance(sent[-1], events.Done), getattr(sent[-1], "problem", None)
    assert not reached.exists(), reached.read_text()


def run(program: str, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name not in connections.VARIABLES}
    ended = subprocess.run(
        [sys.executable, "-c", f"import lora_studio.engine\n{program}"],
        capture_output=True, text=True, check=True, env=clean | environment,
    )  # fmt: skip
    return ended.stdout.strip()


@pytest.mark.slow
def test_libraries_find_their_telemetry_turned_off() -> None:
    program = (
        "from huggingface_hub import constants\n"
        "from mlflow.telemetry.utils import is_telemetry_disabled\n"
        "print(constants.HF_HUB_DISABLE_TELEMETRY, is_telemetry_disabled())"
    )
    assert run(program) == "True True"


def test_setting_of_the_user_stays() -> None:
    program = "import os; print(os.environ['WANDB_ERROR_REPORTING'])"
    assert run(program) == "false"
    assert run(program, WANDB_ERROR_REPORTING="true") == "true"
