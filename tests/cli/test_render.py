"""`lora-studio data render`: one JSON object and an exit status."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.command_line import run_studio
from tests.helpers.models.tiny_models import tiny_model
from tests.helpers.runs.jobs import write_rows

ROWS: list[dict[str, Any]] = [
    {"instruction": "Name a ship.", "input": "", "output": "The Pim 🚢."},
    {"instruction": "And a lamp.", "output": ""},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model("llama3", tmp_path_factory.mktemp("render") / "tiny-llama3")


def render(*arguments: str, cache: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"LORA_STUDIO_CACHE": str(cache)}
    return run_studio("data", "render", *arguments, environment=environment)


@pytest.mark.slow
def test_row_is_printed_as_json_or_text(folder: Path, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", ROWS)
    options = [str(file), "--model", str(folder), "--row"]
    ended = render(*options, "1", "--json", cache=tmp_path)
    assert ended.returncode == 0, ended.stderr
    row = json.loads(ended.stdout)
    assert "".join(token["text"] for token in row["tokens"]) == row["text"]
    assert [row["text"][a:b] for a, b in row["trained_spans"]] == ["The Pim 🚢.<|eot_id|>"]
    trained = [token for token in row["tokens"] if token["trained"]]
    assert trained[-1]["text"] == "<|eot_id|>"
    assert trained[-1]["special"]
    assert row["counts"] == {"tokens": len(row["tokens"]), "trained": len(trained), "cut": 0}

    chosen = render(*options, "1", "--json", "--chat-template", "alpaca", cache=tmp_path)
    assert "### Response:\nThe Pim" in json.loads(chosen.stdout)["text"]

    printed = render(*options, "1", cache=tmp_path)
    assert "The Pim" in printed.stdout
    assert "trained (green)" in printed.stdout

    left_out = render(*options, "2", "--json", cache=tmp_path)
    assert left_out.returncode == 2
    assert json.loads(left_out.stdout)["fault"]


@pytest.mark.slow
def test_unknown_setting_value_is_refused_with_the_valid_ones(folder: Path, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", ROWS)
    ended = render(str(file), "--model", str(folder), "--train-on", "questions", cache=tmp_path)
    assert ended.returncode == 2
    assert "answers, last_answer, everything" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
