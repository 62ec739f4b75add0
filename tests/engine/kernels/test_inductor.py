"""Compiled layers: the same values and gradients as the model's own, on any CPU with a compiler."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, GPTJConfig

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.system import paths, programs
from lora_studio.engine.kernels import fused, inductor
from lora_studio.engine.kernels.logprobs import LogprobModel
from lora_studio.engine.lora import attach
from lora_studio.engine.training import kernel_choice
from tests.engine.conftest import TinyModel
from tests.engine.kernels import test_liger
from tests.engine.kernels.test_fused import assert_equal, result, unfused_result, wrap
from tests.helpers.runs.jobs import make_job

_ALL = {"inductor_norms", "inductor_gates", "inductor_joined_rotations"}

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def compile_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(autouse=True)
def fresh_compiler(monkeypatch: pytest.MonkeyPatch, compile_cache: Path) -> Iterator[None]:
    """Keep compiled code in a folder of these tests, and forget it after each."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(compile_cache / "inductor"))
    monkeypatch.setenv("UNSLOTH_COMPILE_LOCATION", str(compile_cache / "unsloth"))
    yield
    for value in vars(inductor).values():
        if isinstance(value, inductor._Kernel):
            value._compiled = None
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()


def compiles(test: Any) -> Any:
    """Mark a test that compiles; PyTorch emits warnings about itself meanwhile."""
    missing = shutil.which("g++") is None
    test = pytest.mark.skipif(missing, reason="Inductor needs a C++ compiler")(test)
    return pytest.mark.slow(pytest.mark.filterwarnings("default")(test))


@compiles
@pytest.mark.parametrize("family", ["llama3", "qwen3", "gemma3"])
def test_scores_and_gradients_match_the_plain_layers(tiny: TinyModel, family: str) -> None:
    model = wrap(tiny(family), LoraSpec(rank=4), torch.float32).train()
    logprob_model = LogprobModel.create(model, with_inductor=True)
    assert not logprob_model.fused.reasons
    assert (logprob_model.record.kinds or set()) >= _ALL
    assert_equal(result(logprob_model), unfused_result(logprob_model), 1e-4)


@compiles
def test_bfloat16_under_autocast_differs_only_by_rounding(tiny: TinyModel) -> None:
    model = wrap(tiny("qwen3"), LoraSpec(rank=4), torch.bfloat16).train()
    with peft.helpers.disable_input_dtype_casting(model):
        logprob_model = LogprobModel.create(model, with_inductor=True)
        assert (logprob_model.record.kinds or set()) >= _ALL
        assert_equal(result(logprob_model), unfused_result(logprob_model), 0.05)


@compiles
def test_padded_rows_and_checkpointing_match_as_well(tiny: TinyModel) -> None:
    model = wrap(tiny("llama3"), LoraSpec(rank=4), torch.float32).train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    logprob_model = LogprobModel.create(model, packing=False, with_inductor=True)
    assert_equal(result(logprob_model), unfused_result(logprob_model), 1e-4)


def test_single_token_is_computed_without_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda *_, **__: pytest.fail("compiled"))
    x, weight = torch.randn(1, 1, 8), torch.ones(8)
    expected = torch.nn.functional.rms_norm(x, (8,), weight, 1e-5)
    kernel = inductor._Kernel(inductor._norm._function, 1)
    y, _ = kernel(x[0], weight, 1e-5, 0.0)
    torch.testing.assert_close(y, expected[0])


@compiles
def test_resumed_run_compiles_what_it_started_with(
    tiny: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inductor, "is_worthwhile", lambda *_: True)
    began, logs = test_liger.create_logprob_model(tiny, tmp_path / "a", None)
    assert any("Compiled kernels compute" in log for log in logs)
    monkeypatch.setattr(inductor, "is_worthwhile", lambda *_: False)
    record = began.record.to_manifest()
    resumed, _ = test_liger.create_logprob_model(tiny, tmp_path / "b", record)
    assert resumed.record.kinds == began.record.kinds
    assert (began.record.kinds or set()) >= _ALL


@pytest.mark.parametrize("missing", ["compiler", "headers"])
def test_missing_build_tool_is_named_and_layers_fused_without(
    tiny: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr(inductor, "is_worthwhile", lambda *_: True)
    monkeypatch.setattr(programs, "find_missing_cpu_build_tool", lambda: missing)
    logprob_model, logs = test_liger.create_logprob_model(tiny, tmp_path, None)
    assert [log for log in logs if "apt install" in log and "on this CPU is faster" in log]
    assert logprob_model.library is None
    assert "compute_norm" in (logprob_model.record.kinds or set())


def test_kernel_that_fails_is_reported_and_replaced(
    tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("g++: fatal error: Killed signal terminated program cc1plus")

    for name in ("rms_norm", "gated_activation", "rotary_embedding"):
        monkeypatch.setattr(inductor, name, fails)
    model = wrap(tiny("llama3"), LoraSpec(rank=4), torch.float32).train()
    logprob_model = LogprobModel.create(model, with_inductor=True)
    description = " ".join(map(str, kernel_choice.describe_kernels(logprob_model)))
    assert description.startswith("Compiled kernels compute 0 of these layers.")
    for part in ("norms", "gates", "rotary embeddings"):
        assert f"Compiled kernels can't compute {part}: g++: fatal error: Killed" in description
    assert logprob_model.record.kinds == LogprobModel.create(wrap(tiny("llama3"), LoraSpec(rank=4), torch.float32)).record.kinds  # fmt: skip


def test_attention_that_rotates_one_tensor_keeps_its_own() -> None:
    config = GPTJConfig(vocab_size=64, n_embd=32, n_layer=1, n_head=2, n_positions=32, rotary_dim=8)
    base = AutoModelForCausalLM.from_config(config)
    model = attach.attach_adapter(base, LoraSpec(rank=4), make_job()).train()
    logprob_model = LogprobModel.create(model, with_inductor=True)
    assert not logprob_model.fused.reasons
    assert not (logprob_model.record.kinds or set()) & _ALL


def test_heads_that_are_rotated_in_part_are_left_to_the_model(tiny: TinyModel) -> None:
    rotated: list[object] = []
    model = wrap(tiny("llama3"), LoraSpec(rank=4), torch.float32)
    layer = next(layer for name, layer in model.named_modules() if name.endswith("self_attn"))
    x = torch.randn(1, 5, model.config.hidden_size)
    angles = torch.ones(1, 5, 2)
    forward = fused._replace_rotation(type(layer), lambda *tensors: rotated.append(tensors))
    assert forward is not None
    with pytest.raises(RuntimeError):  # the model's own function gets heads wider than the angles
        forward(layer, x, position_embeddings=(angles, angles), attention_mask=None)
    assert not rotated


def test_training_that_resumes_on_a_gpu_compiles_nothing(
    tiny: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = test_liger.create_logprob_model(tiny, tmp_path / "a", None)[0].record.to_manifest()
    record["fused"]["kinds"] = [*record["fused"]["kinds"], "inductor_norms"]
    monkeypatch.setattr(inductor, "is_possible", lambda _: False)
    monkeypatch.setattr(programs, "find_missing_cpu_build_tool", lambda: pytest.fail("asked"))
    logprob_model, logs = test_liger.create_logprob_model(tiny, tmp_path / "b", record)
    assert logprob_model.library is None
    assert any("aren't available now" in log for log in logs)


@pytest.mark.parametrize(
    ("device", "dtype", "amx", "tokens", "expected"),
    [
        (CPU, torch.bfloat16, True, 100_000, True),
        (CPU, torch.bfloat16, True, 1_000, False),
        (CPU, torch.bfloat16, False, 100_000, False),
        (CPU, torch.float32, True, 100_000, False),
        (torch.device("cuda"), torch.bfloat16, True, 100_000, False),
    ],
    ids=["long training", "short one", "without AMX", "32-bit", "GPU"],
)
def test_layers_are_compiled_where_that_pays(
    monkeypatch: pytest.MonkeyPatch, device: torch.device, dtype: torch.dtype, amx: bool, tokens: int, expected: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(inductor.sys, "platform", "linux")
    assert inductor.is_worthwhile(device, dtype, 135_000_000, tokens) is expected


def test_compiled_code_is_kept_in_the_cache_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    monkeypatch.setenv("UNSLOTH_COMPILE_LOCATION", "elsewhere")
    programs.set_compile_caches()
    assert Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]).is_relative_to(paths.get_cache_folder())
    assert os.environ["UNSLOTH_COMPILE_LOCATION"] == "elsewhere"
