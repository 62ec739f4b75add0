"""The GPU tier runs on the CPU as far as it has a meaning there, and skips itself without a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.gpu.__main__ import describe_machine, format_table, run_check
from tests.gpu.checks import CHECKS, Check

_CHECKOUT = Path(__file__).resolve().parents[2]


def run_tier(out: Path, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.gpu", "--out", str(out), *arguments]
    done = subprocess.run(command, cwd=_CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == (out / "results.txt").read_text("utf-8")
    results = json.loads((out / "results.json").read_text("utf-8"))["results"]
    return {result["name"]: result for result in results}


@pytest.mark.skipif(bool(describe_machine("cuda:0")["gpu"]), reason="this computer has a GPU")
def test_without_a_gpu_every_check_is_skipped(tmp_path: Path) -> None:
    results = run_tier(tmp_path)
    assert results.keys() == CHECKS.keys()
    assert {result["status"] for result in results.values()} == {"skipped"}


def test_failed_check_shows_its_last_line() -> None:
    unknown = Check("T99", "is not there", lambda *_: {}, seconds=60)
    result = run_check(unknown, "cpu", "")
    assert result["status"] == "failed"
    report = {"machine": describe_machine("cpu"), "results": [result]}
    assert "KeyError: 'T99'" in format_table(report)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["T2", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("T1", "T6"))],
)
def test_check_with_a_meaning_on_the_cpu_passes_there(tmp_path: Path, name: str) -> None:
    result = run_tier(tmp_path, "--device", "cpu", "--only", name)[name]
    assert result["status"] == "passed", result["reason"]
    assert result["figures"]
