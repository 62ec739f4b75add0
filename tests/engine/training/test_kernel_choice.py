"""TF32 in trainings with 32-bit weights: where every card has it, and the same after a resume."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.devices.ranks import ProcessGroup
from lora_studio.engine.training import kernel_choice

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")


@pytest.fixture(autouse=True)
def _precision() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


def uses_tf32(run: RunFolder, device: torch.device, dtype: torch.dtype = torch.float32) -> bool:
    record = kernel_choice.read_record(run, ProcessGroup())
    kernel_choice.set_matmul_precision(record, device, dtype, ProcessGroup())
    return kernel_choice.uses_tf32()


def set_capability(monkeypatch: pytest.MonkeyPatch, major: int) -> None:
    facts = SimpleNamespace(major=major)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda *_: facts)


@pytest.mark.parametrize(("major", "expected"), [(7, False), (8, True), (12, True)])
def test_gpus_since_ampere_multiply_in_tf32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, major: int, expected: bool
) -> None:
    run = RunFolder(tmp_path)
    run.update_manifest(kernels=None)  # as a new training does
    set_capability(monkeypatch, major)
    assert uses_tf32(run, CUDA) == expected
    assert not uses_tf32(run, CUDA, torch.bfloat16)
    assert not uses_tf32(run, CPU)


@pytest.mark.parametrize("began_with", [True, False])
def test_resumed_run_keeps_its_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, began_with: bool
) -> None:
    run = RunFolder(tmp_path)
    run.update_manifest(kernels={"liger": False, "tf32": began_with, "said": ""})
    set_capability(monkeypatch, 9)
    assert uses_tf32(run, CUDA) == began_with


def test_run_of_an_earlier_version_resumes_without_tf32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tmp_path)
    run.update_manifest(kernels={"liger": False, "said": ""})
    set_capability(monkeypatch, 9)
    assert not uses_tf32(run, CUDA)
