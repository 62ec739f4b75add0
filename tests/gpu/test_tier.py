"""The GPU tier runs on the CPU as far as it has a meaning there, and skips itself without a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from lora_studio.core.memory import calibration
from lora_studio.core.memory.calibration import CalibrationRecord, MachineCalibration
from lora_studio.core.protocol import events
from lora_studio.core.system import programs
from lora_studio.engine.devices import devices, load
from lora_studio.engine.kernels import liger, sequence_packing
from tests.gpu import correctness, resources
from tests.gpu.__main__ import (
    ask_pytorch,
    describe_machine,
    end_processes,
    format_table,
    judge,
    main,
    run_check,
)
from tests.gpu.registry import (
    CHECKS,
    Check,
    CheckContext,
    UnavailableCheckError,
    get_smi_name,
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


def test_check_on_request_runs_only_if_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry: dict[str, Any] = {
        "figures": {},
        "budget": 1,
        "status": "passed",
        "reason": "",
        "seconds": 1.5,
    }

    def run(check: Check, _: str, reason: str, __: object) -> dict[str, Any]:
        named = {"name": check.name, "title": check.title}
        return entry | named | ({"status": "skipped", "reason": reason} if reason else {})

    monkeypatch.setattr("tests.gpu.__main__.run_check", run)
    monkeypatch.setattr("tests.gpu.__main__.start_preloaded", lambda _: None)
    for only, count in ([], 1), (["--only", "T20"], 0):
        monkeypatch.setattr("sys.argv", ["gpu", "--out", str(tmp_path), "--device", "cpu", *only])
        assert main() == 0
        said = capsys.readouterr().out
        assert said.count("runs only with --only T20") == count
        assert said.endswith(f"total           {31.5 if count else 1.5:4.1f} of 600 s on an H100\n")


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


@pytest.mark.slow
def test_processes_that_a_check_started_end_with_it() -> None:
    code = """
import subprocess, sys, time
print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid, flush=True)
time.sleep(60)
"""
    process = psutil.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(process.stdout.readline()))
    end_processes(process)
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    process.stdout.close()


@pytest.mark.parametrize(
    ("visible", "device", "name"),
    [
        (None, "cuda:1", "1"),
        ("3,5", "cuda:1", "5"),
        ("GPU-8a1b", "cuda", "GPU-8a1b"),
        ("", "cuda:0", "0"),
    ],
)
def test_nvidia_smi_is_asked_about_the_gpu_that_cuda_sees(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, device: str, name: str
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert get_smi_name(device) == name


def test_gpu_without_nvidia_smi_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.gpu.__main__._ASK_PYTORCH", 'print(\'{"name": "H100"}\')')
    monkeypatch.setattr("tests.gpu.__main__._DRIVERS", (tmp_path / "nvidiactl",))
    assert ask_pytorch("cuda:0") == {}
    (tmp_path / "nvidiactl").touch()
    assert ask_pytorch("cuda:0") == {"name": "H100"}


@pytest.mark.parametrize(
    ("mode", "name", "is_whole"),
    [("[N/A]", "A100", True), ("Disabled", "A100", True), ("Enabled", "A100 MIG 1g.5gb", False)],
)
def test_slice_of_a_card_is_not_reported_as_the_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, name: str, is_whole: bool
) -> None:
    program = tmp_path / "nvidia-smi"
    card = f"A100, GPU-1, 580.65, 40960 MiB, 8.0, 210 MHz, 1410 MHz, 400.00 W, {mode}"
    program.write_text(
        f"#!/bin/sh\ncase $1 in *free*) echo 40000, {mode} ;; *) echo {card} ;; esac"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("tests.gpu.__main__._DRIVERS", (program,))
    monkeypatch.setattr("tests.gpu.__main__._ASK_PYTORCH", 'print(\'{"name": "A100 MIG 1g.5gb"}\')')
    gpu = describe_machine("cuda:0")["gpu"]
    assert gpu["name"] == name
    assert gpu["driver_version"] == "580.65"
    assert mode not in gpu.values()
    if is_whole:
        assert correctness._read_free_bytes("cuda:0") == 40000 << 20
    else:
        with pytest.raises(UnavailableCheckError, match="memory of this device"):
            correctness._read_free_bytes("cuda:0")


@pytest.mark.parametrize("has_context", [False, True])
def test_listing_devices_needs_no_context(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_context: bool
) -> None:
    free = 8 << 30
    card = SimpleNamespace(name="cuda:0", title="H100", free_bytes=free, total_bytes=10 << 30)
    monkeypatch.setattr(devices, "list_devices", lambda: SimpleNamespace(devices=[card]))
    monkeypatch.setattr(correctness, "_read_free_bytes", lambda _: free)
    monkeypatch.setattr(load, "get_free_bytes", lambda _: free)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch._C, "_cuda_hasPrimaryContext", lambda _: has_context, raising=False)
    context = CheckContext("cuda:0", tmp_path)
    correctness.list_devices_unused(context)
    assert bool(context.failures) == has_context
    monkeypatch.setattr(load, "get_free_bytes", lambda _: None)
    with pytest.raises(UnavailableCheckError, match="NVML"):
        correctness.list_devices_unused(context)


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


@pytest.mark.parametrize(
    ("device", "version", "capability", "expected"),
    [
        ("cuda:0", "2.13.0+cu130", 9, True),
        ("cuda:0", "2.11.1", 8, True),
        ("cuda:0", "2.10.0+cu128", 9, False),
        ("cuda:0", "2.13.0+cu130", 7, False),
        ("cpu", "2.13.0", 9, False),
        ("cuda:0", "2.13.0+rocm7.0", 9, False),
    ],
)
def test_flash_attention_is_expected_where_pytorch_has_it(
    monkeypatch: pytest.MonkeyPatch, device: str, version: str, capability: int, expected: bool
) -> None:
    card = SimpleNamespace(major=capability)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    monkeypatch.setattr(torch, "__version__", version)
    monkeypatch.setattr(torch.version, "hip", "7.0" if "rocm" in version else None)
    assert correctness.has_flash_attention(device) == expected


@pytest.mark.parametrize(
    ("is_recorded", "passes", "failures"), [(True, 1, 0), (True, 2, 1), (False, 0, 1)]
)
def test_recorded_flash_attention_has_to_be_used(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_recorded: bool,
    passes: int,
    failures: int,
) -> None:
    kernels = {"said": "", "packed": True, "chunked": True, "fused": {"kinds": ["compute_adapted"]}}
    manifest = {"kernels": kernels | {"flash": is_recorded}}

    def train(*_: Any, **__: Any) -> tuple[Any, None]:
        for _ in range(passes):
            sequence_packing.rowwise_attention(None, None, None, (3, 4))
        return SimpleNamespace(read_manifest=lambda: manifest), None

    monkeypatch.setattr(sequence_packing, "rowwise_attention", lambda *_: None)
    monkeypatch.setattr(torch.backends.cuda, "cudnn_sdp_enabled", lambda: False)
    monkeypatch.setattr(correctness, "deepen", lambda *_: tmp_path)
    monkeypatch.setattr(correctness, "has_flash_attention", lambda _: True)
    monkeypatch.setattr(correctness, "train", train)
    context = CheckContext("cuda:0", tmp_path)
    correctness._check_kernels(context, "llama3", 8, "bf16")
    assert len(context.failures) == failures


def test_liger_is_not_compared_where_triton_builds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liger, "is_installed", lambda _: True)
    monkeypatch.setattr(programs, "find_missing_build_tool", lambda: "compiler")
    with pytest.raises(UnavailableCheckError, match="compiler"):
        correctness.compare_liger(CheckContext("cuda:0", tmp_path))


@pytest.mark.parametrize(
    ("code", "fails"), [("training.no_build_tool", False), ("training.not_finite", True)]
)
def test_missing_compiler_says_nothing_about_float16(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, fails: bool
) -> None:
    for name, result in {
        "create_run": None, "train_run": None, "get_losses": {1: 2.0, 24: 1.0}, "get_warnings": [code],
    }.items():  # fmt: skip
        monkeypatch.setattr(correctness, name, lambda *_, result=result, **__: result)
    context = CheckContext("cuda:0", tmp_path)
    correctness.train_float16(context)
    assert bool(context.failures) == fails


def test_estimates_are_compared_without_earlier_corrections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_STUDIO_DATA", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    corrections: list[dict[str, CalibrationRecord]] = []

    def train(*_: Any, **__: Any) -> tuple[None, Any]:
        corrections.append(calibration.load().learned)
        record = CalibrationRecord(factor=1.5)
        calibration.save(MachineCalibration().with_record("H100", "bf16", record))
        sent = {
            events.StepDone: SimpleNamespace(memory_bytes=10),
            events.MemoryEstimated: SimpleNamespace(estimate=SimpleNamespace(reported=11)),
        }
        return None, SimpleNamespace(last=sent.__getitem__)

    monkeypatch.setattr(resources, "train_shape", train)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    for gigabytes, count in (12, 8), (8, 6):
        card = SimpleNamespace(total_memory=gigabytes << 30)
        context = CheckContext("cuda:0", tmp_path)
        corrections.clear()
        resources.compare_estimates(context)
        assert corrections == [{}] * count
        assert not context.failures
        assert list(context.figures.values()).count("too large for this GPU") == 8 - count


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
