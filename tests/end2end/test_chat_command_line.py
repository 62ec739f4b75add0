"""`lora-studio chat` with a real worker: one session for all turns, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lora_studio.core.project import project
from tests.helpers.command_line import run_studio
from tests.helpers.models.tiny_models import tiny_model
from tests.helpers.runs.tiny_run import tiny_run

pytestmark = pytest.mark.end2end


def chat(*arguments: object, status: int = 0, typed: str = "") -> str:
    result = run_studio("chat", *arguments, typed=typed)
    assert result.returncode == status, result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    return result.stdout + result.stderr if status else result.stdout


def test_chat_loads_model_once_and_streams_each_answer(tmp_path: Path) -> None:
    run = tiny_run("llama3", tmp_path)
    options = ("--max-tokens", 8, "--device", "cpu", "--system", "Be brief.")
    out = chat(run.path, "--json", *options, typed="Which lamp?\nAnd then?\n\n")
    sent = [json.loads(line) for line in out.splitlines()]
    kinds = [event["kind"] for event in sent]
    assert kinds.count("model_loaded") == 1
    answers = [event for event in sent if event["kind"] == "answered"]
    assert [answer["tokens"] for answer in answers] == [8, 8]
    assert answers[1]["prompt_tokens"] > answers[0]["prompt_tokens"]
    assert "answer_grew" in kinds

    read = run_studio("chat", run.path, *options, "--prompt", "Which lamp?")
    assert answers[0]["text"].split() == read.stdout.split()
    assert "8 tokens" in read.stderr
    base = chat(run.path, *options, "--with", "base", "--prompt", "Which lamp?")
    assert base != read.stdout
    assert "no merged model yet" in chat(run.path, "--with", "merged", "--prompt", "Hi", status=2)


@pytest.mark.thorough
def test_chat_without_run_uses_base_model(tmp_path: Path) -> None:
    base = tiny_model("llama3", tmp_path / "base")
    project.create(tmp_path / "project", "Harbour", {"model": {"source": str(base)}}).save()
    options = ("--max-tokens", 4, "--device", "cpu")
    result = run_studio("chat", tmp_path / "project", *options, typed="Hello\n\n")
    assert result.stdout.strip()
    assert "4 tokens" in result.stderr
