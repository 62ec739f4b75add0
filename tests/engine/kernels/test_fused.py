"""Fused layers: the same values and gradients as PEFT and transformers, or not fused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.engine.kernels import (
    adapted_linear,
    chunked_logprobs,
    fused,
    numerical_equivalence,
)
from lora_studio.engine.kernels.logprobs import Scorer
from lora_studio.engine.kernels.numerical_equivalence import Comparison
from lora_studio.engine.lora import attach
from lora_studio.engine.tokens.batches import collate
from tests.engine.conftest import TinyModel
from tests.engine.training.recipe.test_objectives import rows_of
from tests.helpers.models.tiny_models import FAMILIES
from tests.helpers.runs.jobs import make_job

Result = tuple[torch.Tensor, list[torch.Tensor]]


def wrap(folder: Path, spec: LoraSpec, dtype: torch.dtype, **loading: Any) -> peft.PeftModel:
    """Return a tiny model with an adapter whose B matrices aren't zero."""
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **loading)
    torch.manual_seed(3)
    model = attach.attach_adapter(base, spec, make_job())
    for name, value in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.05)
    return model


def result(scorer: Scorer) -> Result:
    """Return the scores of three rows and the gradients of their sum."""
    torch.manual_seed(5)  # for dropout
    scorer.model.zero_grad()
    dtype = scorer.base.dtype
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        scores = scorer(collate(rows_of()))
    scores.sum().backward()
    grads = [value.grad.clone() for value in scorer.model.parameters() if value.grad is not None]
    assert grads
    return scores.detach(), grads


def unfused_result(scorer: Scorer) -> Result:
    """Return the same, computed by PEFT and transformers."""
    for layer in scorer.model.modules():
        layer.__dict__.pop("forward", None)
    return result(scorer)


def assert_equal(actual: Result, expected: Result, tolerance: float) -> None:
    torch.testing.assert_close(actual[0], expected[0], rtol=tolerance, atol=tolerance)
    for one, other in zip(actual[1], expected[1], strict=True):
        assert (one - other).norm() <= tolerance * other.norm() + 1e-6


def layers_of(model: peft.PeftModel, test: Callable[[torch.nn.Module], bool]) -> int:
    return sum(test(layer) for layer in model.modules())


def is_plain_attention(layer: torch.nn.Module) -> bool:
    return adapted_linear.are_plain_lora(layer, "q_proj", "k_proj", "v_proj")


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_and_gradients_match_the_plain_layers(tiny: TinyModel, family: str) -> None:
    scorer = Scorer.create(wrap(tiny(family), LoraSpec(rank=4), torch.float32).train())
    expected = layers_of(scorer.model, adapted_linear.is_plain_lora)
    expected += layers_of(scorer.model, is_plain_attention)
    if family != "gemma3":  # has other norms and gates
        expected += layers_of(scorer.model, fused.is_plain_norm)
        expected += layers_of(scorer.model, fused.is_gated_mlp)
    assert scorer.fused.layers == expected > 0
    assert_equal(result(scorer), unfused_result(scorer), 1e-4)


def test_bfloat16_differs_only_by_rounding(tiny: TinyModel) -> None:
    model = wrap(tiny("llama3"), LoraSpec(rank=4), torch.bfloat16).train()
    with peft.helpers.disable_input_dtype_casting(model):
        scorer = Scorer.create(model)
        assert scorer.fused.layers
        assert_equal(result(scorer), unfused_result(scorer), 0.05)


def test_cpu_bfloat16_batches_have_few_distinct_lengths(tiny: TinyModel) -> None:
    model = wrap(tiny("llama3"), LoraSpec(rank=4), torch.bfloat16).train()
    exact = wrap(tiny("llama3"), LoraSpec(rank=4), torch.float32).train()
    scorer = Scorer.create(model)
    with peft.helpers.disable_input_dtype_casting(model):
        actual = result(scorer)
    assert scorer.lengths == (12, 12, 7, 1)
    assert_equal(actual, result(Scorer.create(exact)), 0.05)
    every = {chunked_logprobs.round_up_tokens(tokens) for tokens in range(1, 8193)}
    assert len(every) == 32 + 3 * 16
    assert all(size <= max(tokens * 17 / 16, tokens + 31) for tokens in range(1, 8193)
               for size in [chunked_logprobs.round_up_tokens(tokens)])  # fmt: skip


@pytest.mark.parametrize(
    "settings",
    [{"use_dora": True}, {"dropout": 0.2}, {"bias": "all"}],
    ids=["DoRA", "dropout", "biases"],
)
def test_only_plain_adapters_are_fused(tiny: TinyModel, settings: dict[str, Any]) -> None:
    model = wrap(tiny("llama3"), LoraSpec(rank=4, **settings), torch.float32).train()
    scorer = Scorer.create(model)
    adapted = [layer for layer in model.modules() if isinstance(layer, peft.tuners.lora.Linear)]
    changed = [layer for layer in adapted if "forward" in layer.__dict__]
    assert len(adapted) == 14
    assert changed == ([] if "bias" not in settings else adapted)  # Llama's layers have no bias
    assert_equal(result(scorer), unfused_result(scorer), 1e-4)


@pytest.mark.parametrize("double", [False, True], ids=["scales", "double scales"])
def test_fused_4bit_layers_equal_those_of_peft(tiny: TinyModel, double: bool) -> None:
    four = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=double,
        bnb_4bit_compute_dtype=torch.float32,
    )
    model = wrap(tiny("llama3"), LoraSpec(rank=4), torch.float32, quantization_config=four).train()
    scorer = Scorer.create(model)
    layers = [layer for layer in model.modules() if adapted_linear.is_4bit_lora(layer)]
    assert len(layers) == 14
    assert all("forward" in layer.__dict__ for layer in layers)
    assert scorer.packed
    actual = result(scorer)
    with torch.no_grad(), scorer.switch_to_reference():
        reference = scorer(collate(rows_of()))
    assert_equal(actual, unfused_result(scorer), 1e-5)
    with torch.no_grad(), model.disable_adapter():
        torch.testing.assert_close(scorer(collate(rows_of())), reference, rtol=1e-5, atol=1e-5)


def test_fused_4bit_layers_take_and_return_wider_numbers(tiny: TinyModel) -> None:
    four = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.bfloat16)
    model = wrap(tiny("llama3"), LoraSpec(rank=4), torch.float32, quantization_config=four)
    layer: Any = next(layer for layer in model.modules() if adapted_linear.is_4bit_lora(layer))
    x = torch.randn(5, layer.in_features, generator=torch.manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        compared = numerical_equivalence.compare_forward(
            layer, adapted_linear.compute_adapted_4bit, x, {}
        )
    assert compared == Comparison(True)


def test_scores_without_adapter_are_those_of_the_base(tiny: TinyModel) -> None:
    scorer = Scorer.create(wrap(tiny("qwen3"), LoraSpec(rank=4), torch.float32).eval())
    with torch.no_grad(), scorer.switch_to_reference():
        actual = scorer(collate(rows_of()))
    base = AutoModelForCausalLM.from_pretrained(tiny("qwen3"), dtype=torch.float32)
    untouched = Scorer.create(
        attach.attach_adapter(base, LoraSpec(rank=4), make_job()).eval()
    )  # B is zero
    with torch.no_grad():
        torch.testing.assert_close(actual, untouched(collate(rows_of())), rtol=1e-4, atol=1e-5)


def test_layer_with_other_gradients_is_not_fused(tiny: TinyModel) -> None:
    model = wrap(tiny("llama3"), LoraSpec(rank=4), torch.float32)
    odd = next(layer for layer in model.modules() if fused.is_plain_norm(layer))

    class Biased(type(odd)):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + 1.0

    Biased.__name__ = "OddRMSNorm"
    odd.__class__ = Biased
    scorer = Scorer.create(model)
    assert "forward" not in odd.__dict__
    kinds = (adapted_linear.is_plain_lora, is_plain_attention, fused.is_plain_norm, fused.is_gated_mlp)  # fmt: skip
    assert scorer.fused.layers == sum(layers_of(model, kind) for kind in kinds) - 1


def test_rounding_tolerance_follows_the_compute_dtype() -> None:
    torch.manual_seed(0)
    layer, x = torch.nn.Linear(64, 64), torch.randn(3, 64)

    def rounded(self: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
        y = torch.nn.Linear.forward(self, x)
        return y + (y.bfloat16().to(y.dtype) - y).detach()

    assert numerical_equivalence.compare_forward(layer, rounded, x, {}) == Comparison(False)
    with torch.autocast("cpu", torch.bfloat16):  # like with quantized weights
        assert numerical_equivalence.compare_forward(layer, rounded, x, {}) == Comparison(True)
