"""The GPU tier runs on the CPU as far as it has a meaning there, and skips itself without a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.gpu.__main__ import (
    describe_machine,
    format_table,
    judge,
    run_check,
)
from tests.gpu.registry import (
    CHECKS,
    Check,
    CheckContext,
)

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
    assert results.keys() == {f"T{number}" for number in range(21)}
    assert {result["status"] for result in results.values()} == {"skipped"}


def test_checks_that_run_unasked_fit_into_ten_minutes() -> None:
    assert sum(check.seconds for check in CHECKS.values() if not check.on_request) <= 600
    assert [name for name, check in CHECKS.items() if check.on_request] == ["T19", "T20"]


def test_failed_check_shows_its_last_line() -> None:
    unknown = Check("T99", "is not there", lambda _: None, seconds=60)
    result = run_check(unknown, "cpu", "")
    assert result["status"] == "failed"
    report = {"machine": describe_machine("cpu"), "results": [result]}
    assert "KeyError: 'T99'" in format_table(report)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise SystemExit(3)", "its process ended with status 3"),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            "its process ended with status -9",
        ),
        ("pass", "its process wrote no report"),
        ("import time; time.sleep(60)", "took longer than 0.5 s"),
    ],
)
def test_check_whose_process_ends_silently_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, reason: str
) -> None:
    package = tmp_path / "tests" / "gpu"
    package.mkdir(parents=True)
    for file in (package.parent / "__init__.py", package / "__init__.py"):
        file.touch()
    (package / "checks.py").write_text(code, "utf-8")
    monkeypatch.setattr("tests.gpu.__main__._CHECKOUT", tmp_path)
    monkeypatch.setattr("tests.gpu.__main__._PATIENCE", 0.5 if "sleep" in code else 60)
    result = run_check(Check("T99", "ends", lambda _: None, seconds=1), "cpu", "")
    assert (result["status"], result["reason"]) == ("failed", reason)


@pytest.mark.parametrize(
    ("report", "error", "status"),
    [
        ({"figures": {"loss": 1.0}, "failures": [], "unavailable": ""}, "", "passed"),
        ({"figures": {"loss": 1.0}, "failures": ["It differs."], "unavailable": ""}, "", "failed"),
        ({"figures": {"loss": 1.0}, "failures": [], "unavailable": ""}, "killed", "failed"),
        ({"figures": {}, "failures": [], "unavailable": "Liger isn't installed"}, "", "skipped"),
    ],
)
def test_only_a_check_that_ran_without_failures_passes(
    report: dict[str, Any], error: str, status: str
) -> None:
    result = judge(report, error)
    assert (result["status"], result["figures"]) == (status, report["figures"])
    assert bool(result["reason"]) == (status != "passed")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [name for name, check in CHECKS.items() if not check.needs_gpu],
)
def test_check_with_a_meaning_on_the_cpu_passes_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("LORA_STUDIO_CACHE", str(tmp_path / "cache"))
    # In this process: importing PyTorch and transformers again takes longer than the check.
    context = CheckContext("cpu", tmp_path)
    CHECKS[name].run(context)
    assert not context.failures, context.figures
    assert context.figures
