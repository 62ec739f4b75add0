"""Shared parts of the verbs: option checks, questions to a worker, Ctrl+C."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import typer
from typer.testing import CliRunner

from lora_studio.cli import data, headless
from lora_studio.cli.app import app
from lora_studio.cli.common import ask, collect_answers, parse_model
from lora_studio.cli.console import Display
from lora_studio.cli.data import parse_source
from lora_studio.core.chat import Sampling
from lora_studio.core.problems import error
from lora_studio.core.protocol import commands, events
from tests.helpers.models.model_facts import dataset, source
from tests.helpers.window import fake_engine


@pytest.fixture
def scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the scenario file of a fake engine."""
    file = tmp_path / "scenario.json"
    monkeypatch.setenv("LORA_STUDIO_ENGINE", fake_engine.command_line(file))
    return file


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["data", "lint", "rows.jsonl", "--max-length", "2000000"], "max_length"),
        (["data", "render", "rows.jsonl", "--model", "m", "--max-length", "2000000"], "max-length"),
        (["model", "inspect", "m", "--rank", "0"], "rank"),
        (["chat", "run", "--top-p", "0"], "top_p"),
        (["chat", "run", "--temperature", "-1"], "temperature"),
        (["push", "run", ""], "repository"),
        (["adapters", "combine", "a", "--out", "b", "--density", "2"], "density"),
        (["merge", "--base", "m", "--adapter", "a", "--out", "o", "--shard-size", "-1"], "shard"),
    ],
    ids=[
        "lint-length",
        "render-length",
        "inspect-rank",
        "top-p",
        "temperature",
        "repository",
        "density",
        "shard-size",
    ],
)
def test_invalid_option_value_is_refused_with_its_name(arguments: list[str], option: str) -> None:
    result = CliRunner().invoke(app, arguments, input="Hello\n")
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == headless.REFUSED
    assert option in result.stderr


def _interrupt_once_there_is(begun: Path) -> None:
    until = time.monotonic() + 120
    while not begun.exists() and time.monotonic() < until:
        time.sleep(0.05)
    # Like a terminal: send it to the waiting thread, which nothing else would wake.
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


@pytest.fixture
def handles_ctrl_c() -> Iterator[None]:
    """Install Python's own SIGINT handler; background processes of a shell ignore the signal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("handles_ctrl_c")
def test_ctrl_c_ends_the_worker(scenario: Path, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    steps = [{"touch": str(begun)}, {"await": str(tmp_path / "never")}]
    scenario.write_text(json.dumps({"inspect_devices": steps}))
    before = set(psutil.Process().children())
    threading.Thread(target=_interrupt_once_there_is, args=(begun,)).start()
    with pytest.raises(typer.Exit) as caught:
        collect_answers(commands.InspectDevices(), Display())
    assert caught.value.exit_code == headless.INTERRUPTED
    _, alive = psutil.wait_procs(set(psutil.Process().children()) - before, timeout=120)
    assert not alive


def test_failed_question_is_shown_and_exits(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    problem = {"code": "x.y", "what": "It is broken.", "remedy": "Mend it."}
    scenario.write_text(json.dumps({"inspect_devices": [{"fail": problem}]}))
    with pytest.raises(typer.Exit) as caught:
        ask(commands.InspectDevices(), events.DevicesFound, Display())
    assert caught.value.exit_code == headless.FAILED
    assert "It is broken." in capsys.readouterr().err


def test_failed_check_of_labels_keeps_the_inspection(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        "inspect_dataset": dataset(task="classification", sources=(source(task="classification"),)),
        "lint_dataset": events.Failed(problem=error("x.y", "Memory is full.", "Close programs.")),
    }
    monkeypatch.setattr(data, "collect_answers", lambda asked, _: [answers[asked.kind]])
    result = CliRunner().invoke(app, ["data", "inspect", "org/rows"])
    assert result.exit_code == 0
    assert "105 read = 100 used + 5 skipped" in result.stdout
    assert "The rows weren't checked for problems: Memory is full." in result.stdout
    result = CliRunner().invoke(app, ["data", "inspect", "org/rows", "--json"])
    assert (result.exit_code, json.loads(result.stdout)["used"]) == (0, 100)


def test_names_that_are_not_local_paths_stay_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert parse_model("mine").source == str(tmp_path / "mine")
    assert parse_model("org/model").source == "org/model"
    assert parse_source("org/rows.v2").path == "org/rows.v2"
    assert parse_source("rows.jsonl").path == str(tmp_path / "rows.jsonl")


@pytest.mark.parametrize("name", Sampling.model_fields)
def test_chat_has_an_option_for_every_sampling_setting(name: str) -> None:
    group: Any = typer.main.get_command(app)
    assert name in {item.name for item in group.commands["chat"].params}


@pytest.mark.slow
def test_doctor_prints_problems_as_sentences(scenario: Path) -> None:
    problem = error(
        "ollama.down", "No server answers at {host}.", "Start {name}.", host="h", name="it"
    )
    failed = events.Failed(id="", problem=problem).model_dump(mode="json")
    scenario.write_text(json.dumps({"inspect_ollama": [{"emit": failed}]}))
    printed = CliRunner().invoke(app, ["doctor"]).stdout
    assert "No server answers at h." in printed
    assert "Start it." in printed
    assert "template" not in printed
    report = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
    assert report["problems"][0]["what"]["text"] == "No server answers at h."
