"""Liger's kernels against the plain layers, on a processor by Triton's interpreter.

Not collected by itself: Triton decides whether it interprets when it is first imported, so that
`test_liger.py` runs this file in a process of its own with TRITON_INTERPRET=1.
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
from lora_studio.engine.training import kernel_choice
from lora_studio.engine.training.kernels import fused, liger, logprobs
from lora_studio.engine.training.kernels.logprobs import Scorer
from tests.engine.conftest import TinyModel
from tests.engine.training.kernels.test_fused import assert_equal, layers_of, plainly, result, wrap


@pytest.fixture(autouse=True)
def _on_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """WORKAROUND: the interpreter leaves numbers with a point as Python has them, where kernels that are
    compiled get tensors and ask them for their methods; and it knows no functions of the GPU's own
    library."""
    convert = interpreter._implicit_cvt

    def converted(given: object) -> object:
        if isinstance(given, float):
            handle = interpreter.TensorHandle(np.array([given], np.float32), tl.float32)
            return tl.tensor(handle, tl.float32)
        return convert(given)

    monkeypatch.setattr(interpreter, "_implicit_cvt", converted)
    monkeypatch.setattr(rms_norm, "rsqrt", lambda x: tl.rsqrt(x))
    monkeypatch.setattr(geglu, "tanh", lambda x: 2 * tl.sigmoid(2 * x) - 1)
    monkeypatch.setattr(liger, "_DEVICES", ("cpu",))


#: Layers of a block that Liger computes: norms, gates and rotations; two blocks and a last norm.
_BY_LIGER = {
    "llama3": 2 * (2 + 1 + 1) + 1,
    "qwen3": 2 * (4 + 1 + 1) + 1,  # queries and keys have norms as well
    "gemma3": 2 * (6 + 1 + 1) + 1,  # and each part has one behind it
    "phi3": 2 * (2 + 1) + 1,  # gate and up are one layer
    "granite": 2 * (2 + 1 + 1) + 1,
    "qwen3_moe": 2 * (4 + 1) + 1,  # its gates are in stacked experts
}


@pytest.mark.parametrize("family", _BY_LIGER)
def test_scores_and_gradients_are_those_of_the_plain_layers(tiny: TinyModel, family: str) -> None:
    scorer = Scorer(wrap(tiny(family), LoraSpec(rank=4), torch.float32).train())
    assert scorer.fused.reasons == {}
    assert (scorer.fused.by_liger, scorer.scored_by_liger) == (_BY_LIGER[family], True)
    said = " ".join(map(str, kernel_choice.describe_liger(scorer)))
    assert said == f"Liger kernels compute {_BY_LIGER[family]} of these layers, and the loss."
    assert_equal(result(scorer), plainly(scorer), 1e-4)


def test_in_16_bits_they_differ_by_rounding_alone(tiny: TinyModel) -> None:
    # float16: the interpreter multiplies two numbers of bfloat16 as if they were whole ones.
    model = wrap(tiny("llama3"), LoraSpec(rank=4), torch.float16).train()
    scorer = Scorer(model)
    assert scorer.fused.by_liger == _BY_LIGER["llama3"]
    assert scorer.scored_by_liger
    with peft.helpers.disable_input_dtype_casting(model):
        assert_equal(result(scorer), plainly(scorer), 0.05)


def test_scores_in_16_bits_keep_all_their_digits() -> None:
    torch.manual_seed(0)
    logits = (torch.randn(9, 1000) * 8).to(torch.bfloat16)
    targets = torch.arange(9) * 37
    own, others = logits.clone(), logits.clone()
    expected = logprobs._cross_entropy(own, targets, True)
    found = liger.cross_entropy(others, targets, True)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert float((own.float() - others.float()).abs().max()) <= 2**-8
    untouched = logits.clone()
    torch.testing.assert_close(liger.cross_entropy(untouched, targets, False), found)
    assert torch.equal(untouched, logits)


def test_the_same_batch_gives_the_same_bits_twice(tiny: TinyModel) -> None:
    scorer = Scorer(wrap(tiny("qwen3"), LoraSpec(rank=4), torch.float32).train())
    first, second = result(scorer), result(scorer)
    assert torch.equal(first[0], second[0])
    assert all(torch.equal(one, other) for one, other in zip(first[1], second[1], strict=True))


def test_gradient_checkpointing_gives_the_same_with_kernels_that_work_in_place(
    tiny: TinyModel,
) -> None:
    scorer = Scorer(wrap(tiny("llama3"), LoraSpec(rank=4), torch.float32).train())
    expected = result(scorer)
    scorer.base.gradient_checkpointing_enable({"use_reentrant": False})
    scorer.model.enable_input_require_grads()
    assert_equal(result(scorer), expected, 1e-6)


@pytest.mark.parametrize(
    "settings", [{"use_dora": True}, {"dropout": 0.2}], ids=["DoRA", "dropout"]
)
def test_around_adapters_of_other_kinds_they_give_the_same(
    tiny: TinyModel, settings: dict[str, float]
) -> None:
    scorer = Scorer(wrap(tiny("llama3"), LoraSpec(rank=4, **settings), torch.float32).train())
    assert scorer.fused.by_liger == _BY_LIGER["llama3"]
    assert_equal(result(scorer), plainly(scorer), 1e-4)


def test_a_kernel_that_gives_other_values_leaves_the_layer_to_the_next_way(
    tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = liger.rms_norm
    monkeypatch.setattr(liger, "rms_norm", lambda x, *others: right(x, *others) * 1.01)
    scorer = Scorer(wrap(tiny("llama3"), LoraSpec(rank=4), torch.float32).train())
    norms = [layer for layer in scorer.model.modules() if fused._is_plain_norm(layer)]
    assert {layer.forward.__func__ for layer in norms} == {fused._norm}
    assert scorer.fused.by_liger == _BY_LIGER["llama3"] - len(norms)
    said = " ".join(map(str, kernel_choice.describe_liger(scorer)))
    assert said.endswith("They can't compute norms: values or gradients differ.")
    assert_equal(result(scorer), plainly(scorer), 1e-4)


def test_what_cannot_be_compiled_is_tried_once_and_says_why(
    tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = []

    def fails(*_: object) -> None:
        attempts.append(1)
        raise RuntimeError("Failed to find C compiler. Please specify via CC.")

    for name in ("rms_norm", "gated_activation", "rotary_embedding", "cross_entropy"):
        monkeypatch.setattr(liger, name, fails)
    scorer = Scorer(wrap(tiny("llama3"), LoraSpec(rank=4), torch.float32).train())
    assert len(attempts) == 4
    assert scorer.fused.by_liger == 0
    assert scorer.fused.layers == layers_of(scorer.model, fused._is_plain) + _BY_LIGER["llama3"]
    said = " ".join(map(str, kernel_choice.describe_liger(scorer)))
    assert said.startswith("Liger kernels aren't used. They can't compute norms: Failed")
    assert_equal(result(scorer), plainly(scorer), 1e-4)


def test_gates_that_may_be_compiled_are_left_to_the_compiler(tiny: TinyModel) -> None:
    model = wrap(tiny("llama3"), LoraSpec(rank=4), torch.float32)
    assert Scorer(model, compiled=True).fused.by_liger == _BY_LIGER["llama3"] - 2


def test_switched_off_they_are_not_even_tried(tiny: TinyModel) -> None:
    scorer = Scorer(wrap(tiny("llama3"), LoraSpec(rank=4), torch.float32), with_liger=False)
    assert not scorer.uses_liger
    assert " ".join(map(str, kernel_choice.describe_liger(scorer))) == ""
