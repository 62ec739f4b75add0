"""The whole job contacts exactly what the network report says, and nothing without a reason."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lora_studio.core.project import access_requests, project
from tests.engine.conftest import TinyModel
from tests.helpers.faults import traced
from tests.helpers.runs.jobs import write_rows
from tests.helpers.servers.hub_server import TOKEN, hub_server
from tests.helpers.servers.ollama_server import fake_ollama
from tests.helpers.servers.ports import run_server

pytestmark = pytest.mark.slow

ROWS = [{"instruction": f"Count to {n}", "output": f"Up to {n} and back"} for n in range(24)]

#: What the command line and its workers may write to while they work.
_FOLDERS = ("DATA", "CACHE", "CONFIG", "LOGS")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    own = {f"LORA_STUDIO_{name}": str(tmp_path / name.lower()) for name in _FOLDERS}
    unset = ("HF_HUB_OFFLINE", "OLLAMA_HOST", "HF_TOKEN", "HF_ENDPOINT", "LORA_STUDIO_SESSION")
    inherited = {name: value for name, value in os.environ.items() if name not in unset}
    return inherited | own | {"HF_HOME": str(tmp_path / "hf"), "OMP_NUM_THREADS": "1"}


def make_project(folder: Path, model: str, **values: dict[str, Any]) -> Path:
    write_rows(folder / "rows.jsonl", ROWS)
    settings: dict[str, dict[str, Any]] = {
        "model": {"source": model, "device": "cpu"},
        "dataset": {"sources": [{"path": str(folder / "rows.jsonl")}], "max_length": 512},
        "training": {"max_steps": 2, "micro_batch": 2, "trackers": []},
        "export": {"ollama_create": False, "quantizations": ["Q8_0"]},
    }
    for step, changes in values.items():
        settings[step] |= changes
    project.create(folder / "project", "x", settings).save()
    return folder / "project"


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "lora_studio", *arguments]


def read_contacts(folder: Path) -> list[dict[str, Any]]:
    records = [json.loads(file.read_text()) for file in (folder / "logs/network").glob("*.json")]
    return [contact for one in records for contact in one["contacts"]]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="online", marks=pytest.mark.thorough),
        pytest.param(("--offline",), id="offline"),
    ],
)
def test_whole_job_runs_without_a_route(
    options: tuple[str, ...], tiny: TinyModel, tmp_path: Path, environ: dict[str, str]
) -> None:
    if reason := traced.explain_missing_namespaces() or traced.explain_missing_strace():
        pytest.skip(reason)
    made = make_project(tmp_path, str(tiny("mistral")))
    job = traced.without_route(command("run", str(made), "--json", *options))
    ended, contacted = traced.run_traced(job, tmp_path / "strace.txt", environ)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    assert contacted == set()
    assert read_contacts(tmp_path) == []
    kinds = [json.loads(line)["kind"] for line in ended.stdout.splitlines()]
    assert {"adapter_saved", "merged", "gguf_written", "self_tested"} <= set(kinds)


@pytest.fixture
def tracker() -> Iterator[str]:
    """Yield the address of a server that refuses every request."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.send_error(403)

        do_GET = do_POST = answer  # noqa: N815 - the names it has there

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    with run_server(server):
        yield f"http://127.0.0.1:{server.server_port}"


def test_report_lists_exactly_what_the_kernel_saw(
    tiny: TinyModel, tmp_path: Path, environ: dict[str, str], tracker: str
) -> None:
    if reason := traced.explain_missing_strace():
        pytest.skip(reason)
    dataset = tmp_path / "dataset"
    dataset.mkdir()
    write_rows(dataset / "train.jsonl", ROWS)
    with hub_server({"tiny/mistral": tiny("mistral")}) as hub, fake_ollama() as ollama:
        hub.datasets["tiny/rows"] = dataset
        made = make_project(
            tmp_path,
            "tiny/mistral",
            dataset={"sources": [{"path": "tiny/rows"}]},
            training={"trackers": ["mlflow"]},
            export={"ollama_create": True, "ollama_host": ollama.host},
        )
        requests = access_requests.list_requests_outside(project.load(made))
        digest = access_requests.compute_run_digest(requests)
        environ |= {
            "HF_ENDPOINT": hub.address,
            "HF_TOKEN": TOKEN,
            "MLFLOW_TRACKING_URI": tracker,
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        }
        steps = [
            command("model", "search", "llama", "--json"),
            command("model", "whoami", "--json"),
            command("--trust", digest, "run", str(made), "--json"),
        ]
        script = "set -e\n" + "\n".join(
            " ".join(f"'{word}'" for word in words) + " </dev/null" for words in steps
        )
        ended, contacted = traced.run_traced(["sh", "-c", script], tmp_path / "strace.txt", environ)
        assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    contacts = read_contacts(tmp_path)
    assert {(contact["host"], contact["port"]) for contact in contacts} == contacted
    assert {contact["purpose"] for contact in contacts} == {
        "hub_search", "hub_account", "model_download", "dataset_download", "mlflow", "ollama",
    }  # fmt: skip
    assert all(contact["received"] for contact in contacts)
    assert TOKEN not in json.dumps(contacts)


#: Opens a tracker whose own program makes the connections.
_OPEN_WANDB = """
import os, sys
from pathlib import Path
from lora_studio.core.network import connections
from lora_studio.core.project.project import Project
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.training.trackers import SINKS, TrackerInfo
run = RunFolder(Path(sys.argv[1]))
run.trackers.mkdir(parents=True)
try:
    SINKS["wandb"](TrackerInfo(run, Project(name="x"), 1))
except Exception as error:
    print(error)
os._exit(0)
"""


def test_program_of_a_tracker_contacts_only_what_is_reported(
    tmp_path: Path, environ: dict[str, str], tracker: str
) -> None:
    pytest.importorskip("wandb")
    if reason := traced.explain_missing_strace():
        pytest.skip(reason)
    environ |= {"WANDB_BASE_URL": tracker, "WANDB_API_KEY": "a" * 40, "WANDB_INIT_TIMEOUT": "30"}
    words = [sys.executable, "-c", _OPEN_WANDB, str(tmp_path / "run")]
    ended, contacted = traced.run_traced(words, tmp_path / "strace.txt", environ)
    assert "403" in ended.stdout, ended
    (contact,) = read_contacts(tmp_path)
    assert contacted == {(contact["host"], contact["port"])}
    assert contact["purpose"] == "wandb"
    environ |= {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "online"}
    words[-1] = str(tmp_path / "offline")
    ended, contacted = traced.run_traced(words, tmp_path / "strace.txt", environ)
    assert contacted == set(), ended


#: An address of the namespace that isn't its loopback: another computer to the program.
OTHER = "192.0.2.7"


@pytest.mark.parametrize("is_offline", [True, False], ids=["offline", "online"])
@pytest.mark.parametrize(
    ("arguments", "purpose"),
    [
        (("model", "search", "llama"), "hub_search"),
        (("model", "download", "tiny/llama"), "model_download"),
        (("ollama", "list"), "ollama"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_other_computer_is_contacted_online_only(
    arguments: tuple[str, ...],
    purpose: str,
    is_offline: bool,
    tmp_path: Path,
    environ: dict[str, str],
) -> None:
    if reason := traced.explain_missing_namespaces() or traced.explain_missing_strace():
        pytest.skip(reason)
    environ |= {"HF_ENDPOINT": f"http://{OTHER}:9", "OLLAMA_HOST": f"http://{OTHER}:9"}
    options = ("--offline",) if is_offline else ()
    words = traced.without_route(command(*options, *arguments), other=OTHER)
    ended, contacted = traced.run_traced(words, tmp_path / "strace.txt", environ)
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    contacts = {
        (contact["host"], contact["port"], contact["purpose"])
        for contact in read_contacts(tmp_path)
    }
    if is_offline:
        assert (contacted, contacts) == (set(), set())
        assert "ffline mode is on" in " ".join((ended.stdout + ended.stderr).split())
    else:
        assert contacted == {(OTHER, 9)}
        assert contacts == {(OTHER, 9, purpose)}
