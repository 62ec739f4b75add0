"""The demo: the sample project on the real small model, and the same project without a window."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import ollama
import pytest

from lora_studio.core.project import project
from lora_studio.core.protocol import events
from tests.helpers.command_line import run_studio
from tests.helpers.models.llama_cpp_folder import llama_cpp_folder
from tests.helpers.models.tiny_models import tiny_model
from tests.helpers.runs.tiny_run import heldout_rows
from tests.helpers.servers.real_ollama import Server

pytestmark = [pytest.mark.slow, pytest.mark.end2end]


def _studio(*arguments: str, host: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lora_studio", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"OLLAMA_HOST": host},
        check=False,
    )


@pytest.mark.timeout(1500)
def test_demo_trains_merges_exports_and_passes_all_checks(
    tmp_path: Path, ollama_server: Server
) -> None:
    result = _studio("demo", "--folder", str(tmp_path / "sample"), host=ollama_server.host)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "✗" not in result.stdout
    assert result.stdout.count("✓") >= 6
    assert "Keeper's note" in result.stdout
    with ollama.Client(host=ollama_server.host) as client:
        names = [model.model for model in client.list().models]
    assert "saltmere-keeper:latest" in names


@pytest.mark.thorough
@pytest.mark.timeout(2400)
def test_reward_demo_raises_the_mean_reward(tmp_path: Path, ollama_server: Server) -> None:
    folder = tmp_path / "sample"
    result = _studio("demo", "--sample", "reward", "--folder", str(folder), host=ollama_server.host)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "✓ The mean reward rose significantly." in result.stdout


def test_relative_paths_start_at_the_folder_of_the_command(tmp_path: Path) -> None:
    rows = "".join(json.dumps(row) + "\n" for row in heldout_rows(20))
    (tmp_path / "rows.jsonl").write_text(rows, "utf-8")
    tiny_model("llama3", tmp_path / "base")

    def studio(*arguments: str) -> str:
        done = run_studio(*arguments, folder=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    studio("new", "p", "--model", "base", "--data", "rows.jsonl")
    studio("data", "inspect", "rows.jsonl")
    studio("estimate", "p")
    studio("train", "p", "--set", "training.max_steps=2", "--set", "export.quantizations=F16")
    (trained,) = (tmp_path / "p" / "runs").iterdir()
    run = f"p/runs/{trained.name}"
    assert len(json.loads(studio("runs", "p", "--json"))) == 1
    studio("watch", run)
    studio("resume", run)
    studio("merge", run, "--dtype", "fp32")
    studio("evaluate", run, "--test", "rows.jsonl", "--limit", "2", "--column", "merged")
    studio("cluster", "p", "elsewhere")
    studio("merge", "--base", "base", "--adapter", f"{run}/adapter", "--out", "other")
    converter = llama_cpp_folder(tmp_path / "llama.cpp")
    studio(
        "run", "p", "--set", "training.max_steps=1", "--set", "export.quantizations=F16",
        "--set", "export.ollama_create=false", "--set", f"export.llama_cpp={converter}",
    )  # fmt: skip


@pytest.mark.thorough
def test_headless_run_writes_events_as_json_lines(tmp_path: Path, ollama_server: Server) -> None:
    rows = "".join(json.dumps(row) + "\n" for row in heldout_rows(20))
    (tmp_path / "rows.jsonl").write_text(rows, "utf-8")
    tiny_model("llama3", tmp_path / "base")
    project.create(
        tmp_path / "p",
        "Tiny one",
        {
            "model": {"source": "../base"},
            "dataset": {"sources": ["../rows.jsonl"], "max_length": 512},
            "training": {"epochs": 1.0},
            "export": {"llama_cpp": str(llama_cpp_folder(tmp_path / "llama.cpp"))},
        },
    )
    result = _studio(
        "run", str(tmp_path / "p"), "--json", "--set", "export.quantizations=F16",
        host=ollama_server.host,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    sent = [events.parse(line) for line in result.stdout.splitlines()]
    assert [event.command for event in sent if isinstance(event, events.Started)] == [
        "train",
        "merge",
        "export",
    ]
    assert [event.name for event in sent if isinstance(event, events.OllamaCreated)] == ["tiny-one"]
    (run,) = (tmp_path / "p" / "runs").iterdir()
    listed = _studio("runs", str(tmp_path / "p"), "--json", host=ollama_server.host)
    assert json.loads(listed.stdout)[0]["state"] == "exported"
    watched = _studio("watch", str(run), "--json", host=ollama_server.host)
    assert [events.parse(line) for line in watched.stdout.splitlines()] == [
        event for event in sent if not isinstance(event, events.Hello)
    ]
