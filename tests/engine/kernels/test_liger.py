"""Liger's kernels: not used without a GPU, and equal to the plain layers where they're used."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections import defaultdict
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.devices.ranks import ProcessGroup
from lora_studio.engine.kernels import liger
from lora_studio.engine.kernels.logprobs import LogprobModel
from lora_studio.engine.training import kernel_choice
from tests.engine.conftest import TinyModel
from tests.engine.kernels.test_fused import wrap
from tests.helpers.runs.jobs import make_job

_CHECKOUT = Path(__file__).resolve().parents[4]


def _is_installed() -> bool:
    return all(importlib.util.find_spec(name) for name in ("triton", "liger_kernel"))


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.skipif(not _is_installed(), reason="Liger's kernels and Triton are not installed")
def test_interpreted_kernels_match_the_plain_layers() -> None:
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
               str(Path(__file__).with_name("interpreted_liger.py"))]  # fmt: skip
    done = subprocess.run(
        command, cwd=_CHECKOUT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


@pytest.mark.slow
def test_cpu_and_mps_do_not_import_liger() -> None:
    script = """
import sys, torch
from lora_studio.engine.kernels import liger, logprobs
assert not liger.is_installed(torch.device("cpu"))
assert not liger.is_installed(torch.device("mps"))
assert not [name for name in sys.modules if name.startswith("liger_kernel")]
"""
    subprocess.run([sys.executable, "-c", script], cwd=_CHECKOUT, check=True)


def test_gpu_without_liger_trains_without_a_message(
    tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liger, "_DEVICES", ("cpu",))
    monkeypatch.setitem(sys.modules, "liger_kernel", None)
    assert not liger.is_installed(torch.device("cpu"))
    logprob_model = LogprobModel.create(wrap(tiny("llama3"), LoraSpec(rank=4), torch.float32))
    assert (kernel_choice.describe_kernels(logprob_model), logprob_model.uses_liger) == ([], False)
    assert logprob_model.fused.layers > 0


@pytest.mark.parametrize(
    ("major", "dtype", "warps"),
    [(9, torch.bfloat16, 32), (10, torch.bfloat16, 8), (12, torch.float16, 8), (12, torch.float32, 32)],
)  # fmt: skip
def test_loss_takes_as_many_warps_as_in_liger(
    monkeypatch: pytest.MonkeyPatch, major: int, dtype: torch.dtype, warps: int
) -> None:
    taken: list[int] = []

    def launch(*, num_warps: int, **_: Any) -> None:
        taken.append(num_warps)

    monkeypatch.setattr(liger, "_import", lambda *_: defaultdict(lambda: launch))
    monkeypatch.setattr(torch.cuda, "device", nullcontext)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (major, 0))
    with FakeTensorMode():
        logits = torch.empty(2, 8, dtype=dtype, device="cuda:0")
        liger.cross_entropy(logits, torch.empty(2, dtype=torch.int64, device="cuda:0"), True)
    assert taken == [warps]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def test_kernels_are_reported_and_recorded(tiny: TinyModel, run: RunFolder) -> None:
    job = make_job()
    run.update_manifest(kernels={"liger": True, "said": ""})
    logprob_model = LogprobModel.create(wrap(tiny("llama3"), LoraSpec(rank=4), torch.float32))
    record = kernel_choice.read_record(run, ProcessGroup())
    kernel_choice.report_kernels(run, logprob_model, job, ProcessGroup(), record)
    noted = run.read_manifest()["kernels"]
    assert (noted["liger"], noted["packed"], noted["said"]) == (
        False,
        True,
        str(logprob_model.describe()),
    )
    texts = [event.text for event in job.channel.events]  # type: ignore[attr-defined]  # a RecordingChannel
    assert str(texts[0]) == str(logprob_model.describe())
    assert "aren't available now" in str(texts[-1])
