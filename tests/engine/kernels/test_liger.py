"""Liger's kernels: not used without a GPU, and equal to the plain layers where they're used."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections import defaultdict
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.devices.ranks import ProcessGroup
from lora_studio.engine.kernels import liger, numerical_equivalence, sequence_packing
from lora_studio.engine.kernels.fused import KernelRecord, summarize_fused_layers
from lora_studio.engine.kernels.logprobs import LogprobModel
from lora_studio.engine.kernels.numerical_equivalence import Comparison
from lora_studio.engine.model import loading
from lora_studio.engine.training import kernel_choice
from tests.engine.conftest import TinyModel
from tests.engine.kernels.test_fused import result, wrap
from tests.helpers.runs.jobs import make_job, new_run

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


def read(run: RunFolder) -> KernelRecord:
    return kernel_choice.read_record(run, ProcessGroup())


def test_new_run_may_use_every_kernel(run: RunFolder) -> None:
    run.update_manifest(kernels=None)
    assert read(run) == KernelRecord()


def test_run_of_an_earlier_version_resumes_without_liger(run: RunFolder) -> None:
    run.update_manifest(seed=1)
    assert read(run) == KernelRecord(liger=False, tf32=False, shared=False, direct_writing=False)
    run.update_manifest(kernels={"liger": True, "said": ""})
    assert read(run) == KernelRecord(liger=True, tf32=False, shared=False, direct_writing=False)


@pytest.mark.parametrize("entry", [[], "no", {"packed": "no", "fused": {"kinds": 3}}])
def test_damaged_record_leaves_the_choice_open(entry: Any) -> None:
    record = KernelRecord.from_manifest(entry)
    assert (record.packed, record.kinds, record.exceptions) == (None, None, {})


def test_record_is_the_same_after_the_manifest(tiny: TinyModel, run: RunFolder) -> None:
    logprob_model = LogprobModel.create(wrap(tiny("llama3"), LoraSpec(rank=4), torch.float32))
    run.update_manifest(kernels=logprob_model.record.to_manifest())
    assert read(run) == replace(logprob_model.record, tf32=False)
    assert logprob_model.record.packed
    assert logprob_model.record.chunked
    assert len(logprob_model.record.kinds or ()) == 4


def create_logprob_model(
    tiny: TinyModel, folder: Path, kernels: Any
) -> tuple[LogprobModel, list[str]]:
    """Return the logprob_model of a training that resumes with a record, and what it reports."""
    run = new_run(
        folder, model={"source": str(tiny("llama3")), "precision": "fp32", "device": "cpu"}
    )
    run.update_manifest(kernels=kernels)
    project, job = run.load_project(), make_job()
    base = loading.load(project.model, job, project.dataset, training=True)
    tuned = AdaptedModel(base, wrap(tiny("llama3"), LoraSpec(rank=4), torch.float32).train())
    logprob_model = kernel_choice.create_logprob_model(
        run, TrainingSpec(), tuned, job, ProcessGroup()
    )
    return logprob_model, [str(event.text) for event in job.channel.events if event.kind == "log"]  # type: ignore[attr-defined]


def test_resumed_run_leaves_out_what_it_started_without(tiny: TinyModel, tmp_path: Path) -> None:
    began = KernelRecord(
        False, False, False, False, False, False, False, frozenset({"compute_norm"})
    )
    logprob_model, _ = create_logprob_model(tiny, tmp_path, began.to_manifest())
    assert replace(logprob_model.record, tf32=False) == began
    assert logprob_model.fused.layers > 0


def test_run_that_began_without_liger_tries_none_of_it(
    tiny: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liger, "is_installed", lambda _: True)
    logprob_model, _ = create_logprob_model(tiny, tmp_path, {"liger": False, "said": ""})
    assert logprob_model.library is None


@pytest.mark.parametrize("has_tf32", [False, True])
def test_training_in_32_bit_records_whether_it_uses_tf32(
    tiny: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_tf32: bool
) -> None:
    before = torch.get_float32_matmul_precision()
    monkeypatch.setattr(kernel_choice, "has_tf32", lambda _: has_tf32)
    try:
        _, logs = create_logprob_model(tiny, tmp_path, None)
    finally:
        torch.set_float32_matmul_precision(before)
    assert ("Matrix products in 32-bit use TF32." in logs) == has_tf32


def test_layer_that_was_not_fused_stays_so(tiny: TinyModel, tmp_path: Path) -> None:
    whole, _ = create_logprob_model(tiny, tmp_path / "a", None)
    one = next(name for name, layer in whole.model.named_modules() if name.endswith("layernorm"))
    began = whole.record.to_manifest()
    began["fused"]["exceptions"] = {one: ""}
    logprob_model, _ = create_logprob_model(tiny, tmp_path / "b", began)
    assert logprob_model.fused.layers == whole.fused.layers - 1
    assert logprob_model.record.exceptions == {one: ""}


def test_lost_kernels_are_reported(
    tiny: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = create_logprob_model(tiny, tmp_path / "a", None)[0].record.to_manifest()
    monkeypatch.setattr(sequence_packing, "enable_packing", lambda *_: False)
    monkeypatch.setattr(numerical_equivalence, "compare_forward", lambda *_: Comparison(False))
    _, logs = create_logprob_model(tiny, tmp_path / "b", began | {"liger": True, "flash": True})
    assert [
        word
        for word in ("Liger", "padded rows", "FlashAttention", "fused layers")
        if any("Training started with" in log and word in log for log in logs)
        or any("that training started with" in log and word in log for log in logs)
    ] == ["Liger", "padded rows", "FlashAttention", "fused layers"]


def test_flash_attention_is_not_used_where_it_was_not(
    tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> torch.Tensor:
        raise AssertionError("FlashAttention computes rows")

    monkeypatch.setattr(sequence_packing, "can_use_varlen_kernel", lambda *_: True)
    monkeypatch.setattr(sequence_packing, "varlen_attention", sequence_packing_by_rows)
    model = wrap(tiny("llama3"), LoraSpec(rank=4), torch.float32)
    logprob_model = LogprobModel.create(model, record=KernelRecord(flash=False))
    assert logprob_model.packed
    monkeypatch.setattr(sequence_packing, "varlen_attention", refuse)
    result(logprob_model)


def sequence_packing_by_rows(
    query: Any, key: Any, value: Any, documents: Any, scaling: Any, window: Any
) -> torch.Tensor:
    return sequence_packing.rowwise_attention(query, key, value, documents, scaling, window)


def test_record_names_only_layers_that_differ() -> None:
    candidates = {"a": ["fast", "plain"], "b": ["fast", "plain"], "c": ["plain"], "d": ["rare"]}
    kinds, exceptions = summarize_fused_layers(
        candidates, {"a": "fast", "b": "plain", "c": "plain"}
    )
    assert (kinds, exceptions) == ({"fast", "plain"}, {"b": "plain"})
