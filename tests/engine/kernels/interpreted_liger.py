"""Liger's kernels against the plain layers, on a CPU with Triton's interpreter.

Not collected directly: Triton decides on import whether it interprets, so `test_liger.py` runs this file
in a separate process with TRITON_INTERPRET=1.
"""

from __future__ import annotations

import numpy as np
import peft
import pytest
import torch
import triton.language as tl
from liger_kernel.ops import geglu, rms_norm
from triton.runtime import interpreter

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.engine.kernels import adapted_linear, chunked_logprobs, fused, liger
from lora_studio.engine.kernels.logprobs import LogprobModel
from lora_studio.engine.training import kernel_choice
from tests.engine.conftest import TinyModel
from tests.engine.kernels.test_fused import (
    assert_equal,
    layers_of,
    result,
    unfused_result,
    wrap,
)


@pytest.fixture(autouse=True)
def _run_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """WORKAROUND: the interpreter passes Python floats where compiled kernels get tensors and call their
    methods, and it doesn't support libdevice functions."""
    convert = interpreter._implicit_cvt

    def converted(value: object) -> object:
        if isinstance(value, float):
            handle = interpreter.TensorHandle(np.array([value], np.float32), tl.float32)
            return tl.tensor(handle, tl.float32)
        return convert(value)

    monkeypatch.setattr(interpreter, "_implicit_cvt", converted)
    monkeypatch.setattr(rms_norm, "rsqrt", lambda x: tl.rsqrt(x))
    monkeypatch.setattr(geglu, "tanh", lambda x: 2 * tl.sigmoid(2 * x) - 1)
    monkeypatch.setattr(liger, "_DEVICES", ("cpu",))


#: Layers that Liger computes: norms, gates and rotations of two blocks, and the final norm.
_BY_LIGER = {
    "llama3": 2 * (2 + 1 + 1) + 1,
    "qwen3": 2 * (4 + 1 + 1) + 1,  # queries and keys have norms as well
    "gemma3": 2 * (6 + 1 + 1) + 1,  # attention and MLP each have a second norm
    "phi3": 2 * (2 + 1) + 1,  # gate and up are one layer
    "granite": 2 * (2 + 1 + 1) + 1,
    "qwen3_moe": 2 * (4 + 1) + 1,  # its gates are in stacked experts
}


@pytest.mark.parametrize("family", _BY_LIGER)
def test_scores_and_gradients_match_the_plain_layers(tiny: TinyModel, family: str) -> None:
    logprob_model = LogprobModel.create(wrap(tiny(family), LoraSpec(rank=4), torch.float32).train())
    assert logprob_model.fused.reasons == {}
    assert (logprob_model.fused.by_library, logprob_model.scored_by_liger) == (
        _BY_LIGER[family],
        True,
    )
    description = " ".join(map(str, kernel_choice.describe_kernels(logprob_model)))
    assert (
        description == f"Liger kernels compute {_BY_LIGER[family]} of these layers, and the loss."
    )
    assert_equal(result(logprob_model), unfused_result(logprob_model), 1e-4)


def test_float16_differs_only_by_rounding(tiny: TinyModel) -> None:
    # float16, because the interpreter multiplies bfloat16 numbers as integers.
    model = wrap(tiny("llama3"), LoraSpec(rank=4), torch.float16).train()
    logprob_model = LogprobModel.create(model)
    assert logprob_model.fused.by_library == _BY_LIGER["llama3"]
    assert logprob_model.scored_by_liger
    with peft.helpers.disable_input_dtype_casting(model):
        assert_equal(result(logprob_model), unfused_result(logprob_model), 0.05)


def test_cross_entropy_in_bfloat16_keeps_full_precision() -> None:
    torch.manual_seed(0)
    logits = (torch.randn(9, 1000) * 8).to(torch.bfloat16)
    targets = torch.arange(9) * 37
    own, others = logits.clone(), logits.clone()
    expected = chunked_logprobs.compute_cross_entropy(own, targets, True)
    actual = liger.cross_entropy(others, targets, True)
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-6)
    assert float((own.float() - others.float()).abs().max()) <= 2**-8
    untouched = logits.clone()
    torch.testing.assert_close(liger.cross_entropy(untouched, targets, False), actual)
    assert torch.equal(untouched, logits)


def test_same_batch_gives_the_same_bits_twice(tiny: TinyModel) -> None:
    logprob_model = LogprobModel.create(
        wrap(tiny("qwen3"), LoraSpec(rank=4), torch.float32).train()
    )
    first, second = result(logprob_model), result(logprob_model)
    assert torch.equal(first[0], second[0])
    assert all(torch.equal(one, other) for one, other in zip(first[1], second[1], strict=True))


def test_gradient_checkpointing_matches_with_in_place_kernels(
    tiny: TinyModel,
) -> None:
    logprob_model = LogprobModel.create(
        wrap(tiny("llama3"), LoraSpec(rank=4), torch.float32).train()
    )
    expected = result(logprob_model)
    logprob_model.base.gradient_checkpointing_enable({"use_reentrant": False})
    logprob_model.model.enable_input_require_grads()
    assert_equal(result(logprob_model), expected, 1e-6)


@pytest.mark.parametrize(
    "settings", [{"use_dora": True}, {"dropout": 0.2}], ids=["DoRA", "dropout"]
)
def test_dora_and_dropout_match_the_plain_layers(
    tiny: TinyModel, settings: dict[str, float]
) -> None:
    logprob_model = LogprobModel.create(
        wrap(tiny("llama3"), LoraSpec(rank=4, **settings), torch.float32).train()
    )
    assert logprob_model.fused.by_library == _BY_LIGER["llama3"]
    assert_equal(result(logprob_model), unfused_result(logprob_model), 1e-4)


def test_kernel_with_wrong_values_falls_back_to_the_fused_layer(
    tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = liger.rms_norm
    monkeypatch.setattr(liger, "rms_norm", lambda *inputs, kind: right(*inputs, kind) * 1.01)
    logprob_model = LogprobModel.create(
        wrap(tiny("llama3"), LoraSpec(rank=4), torch.float32).train()
    )
    norms = [layer for layer in logprob_model.model.modules() if fused.is_plain_norm(layer)]
    assert logprob_model.record.kinds is not None
    assert "compute_norm" in logprob_model.record.kinds
    assert logprob_model.fused.by_library == _BY_LIGER["llama3"] - len(norms)
    description = " ".join(map(str, kernel_choice.describe_kernels(logprob_model)))
    assert description.endswith("Liger can't compute norms: values or gradients differ.")
    assert_equal(result(logprob_model), unfused_result(logprob_model), 1e-4)


def test_kernel_that_cannot_compile_is_tried_once_and_reported(
    tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = []

    def fails(*_: object, **__: object) -> None:
        attempts.append(1)
        raise RuntimeError("Failed to find C compiler. Please specify via CC.")

    for name in ("rms_norm", "gated_activation", "rotary_embedding", "cross_entropy"):
        monkeypatch.setattr(liger, name, fails)
    logprob_model = LogprobModel.create(
        wrap(tiny("llama3"), LoraSpec(rank=4), torch.float32).train()
    )
    assert len(attempts) == 4
    assert logprob_model.fused.by_library == 0
    # Norms, gates and attention are computed by this program then, with rotations by the model itself.
    by_us = layers_of(logprob_model.model, adapted_linear.is_plain_lora) + _BY_LIGER["llama3"]
    assert logprob_model.fused.layers == by_us
    description = " ".join(map(str, kernel_choice.describe_kernels(logprob_model)))
    assert description.startswith("Liger kernels aren't used. Liger can't compute norms: Failed")
    assert_equal(result(logprob_model), unfused_result(logprob_model), 1e-4)


def test_gates_are_left_to_torch_compile(tiny: TinyModel) -> None:
    model = wrap(tiny("llama3"), LoraSpec(rank=4), torch.float32)
    assert LogprobModel.create(model, compiled=True).fused.by_library == _BY_LIGER["llama3"] - 2


def test_switched_off_kernels_are_not_tried(tiny: TinyModel) -> None:
    logprob_model = LogprobModel.create(
        wrap(tiny("llama3"), LoraSpec(rank=4), torch.float32), with_liger=False
    )
    assert not logprob_model.uses_liger
    assert " ".join(map(str, kernel_choice.describe_kernels(logprob_model))) == ""
