"""Fused layers: the same values and gradients as PEFT and transformers, or not fused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.engine.kernels import (
    adapted_linear,
    chunked_logprobs,
    fused,
    numerical_equivalence,
)
from lora_studio.engine.kernels.chunked_logprobs import (
    TokenLogprobs,
    find_decoder,
    find_frozen_head,
)
from lora_studio.engine.kernels.logprobs import LogprobModel
from lora_studio.engine.kernels.numerical_equivalence import Comparison
from lora_studio.engine.lora import attach
from lora_studio.engine.tokens.batches import collate
from tests.engine.conftest import TinyModel
from tests.engine.tasks.test_objectives import rows_of
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


def result(logprob_model: LogprobModel) -> Result:
    """Return the scores of three rows and the gradients of their sum."""
    torch.manual_seed(5)  # for dropout
    logprob_model.model.zero_grad()
    dtype = logprob_model.base.dtype
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        scores = logprob_model(collate(rows_of()))
    scores.sum().backward()
    grads = [
        value.grad.clone() for value in logprob_model.model.parameters() if value.grad is not None
    ]
    assert grads
    return scores.detach(), grads


def unfused_result(logprob_model: LogprobModel) -> Result:
    """Return the same, computed by PEFT and transformers."""
    for layer in logprob_model.model.modules():
        layer.__dict__.pop("forward", None)
    return result(logprob_model)


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
    logprob_model = LogprobModel.create(wrap(tiny(family), LoraSpec(rank=4), torch.float32).train())
    expected = layers_of(logprob_model.model, adapted_linear.is_plain_lora)
    expected += layers_of(logprob_model.model, is_plain_attention)
    if family != "gemma3":  # has other norms and gates
        expected += layers_of(logprob_model.model, fused.is_plain_norm)
        expected += layers_of(logprob_model.model, fused.is_gated_mlp)
    assert logprob_model.fused.layers == expected > 0
    assert_equal(result(logprob_model), unfused_result(logprob_model), 1e-4)


def test_bfloat16_differs_only_by_rounding(tiny: TinyModel) -> None:
    model = wrap(tiny("llama3"), LoraSpec(rank=4), torch.bfloat16).train()
    with peft.helpers.disable_input_dtype_casting(model):
        logprob_model = LogprobModel.create(model)
        assert logprob_model.fused.layers
        assert_equal(result(logprob_model), unfused_result(logprob_model), 0.05)


def test_cpu_bfloat16_batches_have_few_distinct_lengths(tiny: TinyModel) -> None:
    model = wrap(tiny("llama3"), LoraSpec(rank=4), torch.bfloat16).train()
    exact = wrap(tiny("llama3"), LoraSpec(rank=4), torch.float32).train()
    logprob_model = LogprobModel.create(model)
    with peft.helpers.disable_input_dtype_casting(model):
        actual = result(logprob_model)
    assert logprob_model.lengths == (12, 12, 7, 1)
    assert_equal(actual, result(LogprobModel.create(exact)), 0.05)
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
    logprob_model = LogprobModel.create(model)
    adapted = [layer for layer in model.modules() if isinstance(layer, peft.tuners.lora.Linear)]
    changed = [layer for layer in adapted if "forward" in layer.__dict__]
    assert len(adapted) == 14
    assert changed == ([] if "bias" not in settings else adapted)  # Llama's layers have no bias
    assert_equal(result(logprob_model), unfused_result(logprob_model), 1e-4)


@pytest.mark.parametrize("double", [False, True], ids=["scales", "double scales"])
def test_fused_4bit_layers_equal_those_of_peft(tiny: TinyModel, double: bool) -> None:
    four = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=double,
        bnb_4bit_compute_dtype=torch.float32,
    )
    model = wrap(tiny("llama3"), LoraSpec(rank=4), torch.float32, quantization_config=four).train()
    logprob_model = LogprobModel.create(model)
    layers = [layer for layer in model.modules() if adapted_linear.is_4bit_lora(layer)]
    assert len(layers) == 14
    assert all("forward" in layer.__dict__ for layer in layers)
    assert logprob_model.packed
    actual = result(logprob_model)
    with torch.no_grad(), logprob_model.switch_to_reference():
        reference = logprob_model(collate(rows_of()))
    assert_equal(actual, unfused_result(logprob_model), 1e-5)
    with torch.no_grad(), model.disable_adapter():
        torch.testing.assert_close(
            logprob_model(collate(rows_of())), reference, rtol=1e-5, atol=1e-5
        )


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
    logprob_model = LogprobModel.create(wrap(tiny("qwen3"), LoraSpec(rank=4), torch.float32).eval())
    with torch.no_grad(), logprob_model.switch_to_reference():
        actual = logprob_model(collate(rows_of()))
    base = AutoModelForCausalLM.from_pretrained(tiny("qwen3"), dtype=torch.float32)
    untouched = LogprobModel.create(
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
    logprob_model = LogprobModel.create(model)
    assert "forward" not in odd.__dict__
    kinds = (adapted_linear.is_plain_lora, is_plain_attention, fused.is_plain_norm, fused.is_gated_mlp)  # fmt: skip
    assert logprob_model.fused.layers == sum(layers_of(model, kind) for kind in kinds) - 1


def test_rounding_tolerance_follows_the_compute_dtype() -> None:
    torch.manual_seed(0)
    layer, x = torch.nn.Linear(64, 64), torch.randn(3, 64)

    def rounded(self: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
        y = torch.nn.Linear.forward(self, x)
        return y + (y.bfloat16().to(y.dtype) - y).detach()

    assert numerical_equivalence.compare_forward(layer, rounded, x, {}) == Comparison(False)
    with torch.autocast("cpu", torch.bfloat16):  # like with quantized weights
        assert numerical_equivalence.compare_forward(layer, rounded, x, {}) == Comparison(True)


@pytest.mark.parametrize(("noise", "is_chunked"), [(0.004, True), (0.5, False)])
def test_kernels_that_add_in_any_order_keep_chunks(
    tiny: TinyModel, noise: float, is_chunked: bool
) -> None:
    """On a GPU, two equal passes differ in the last digit of bfloat16."""
    base = AutoModelForCausalLM.from_pretrained(tiny("llama3"), dtype=torch.bfloat16)
    base.requires_grad_(False)
    torch.manual_seed(0)
    base.lm_head.register_forward_hook(
        lambda _, __, logits: logits * (1 + noise * torch.randn_like(logits))
    )
    decoder = find_decoder(base)
    assert decoder is not None
    assert (find_frozen_head(base, decoder) is not None) == is_chunked


POSITIONS, VOCABULARY = 13, 50_000  # several blocks of 5 positions


def make_logits(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.manual_seed(0)
    logits = torch.randn(POSITIONS, VOCABULARY, generator=generator) * 4
    targets = torch.randint(VOCABULARY, (POSITIONS,), generator=generator)
    logits[0, targets[0]] = 30.0  # a certain token: its gradient is tiny
    return logits.to(dtype), targets


def exact(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return −log p and its gradient in 64-bit."""
    leaf = logits.double().requires_grad_()
    value = F.cross_entropy(leaf, targets, reduction="none")
    (gradient,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), gradient


@pytest.mark.parametrize(
    "compute",
    [
        chunked_logprobs.compute_cross_entropy,
        lambda logits, targets, wants: chunked_logprobs.compute_by_log_softmax(
            logits, targets[:, None], wants
        ),
    ],
    ids=["on CPUs", "on GPUs"],
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 4e-3)])
def test_loss_and_gradient_equal_the_exact_ones(
    compute: Any, dtype: torch.dtype, tolerance: float
) -> None:
    logits, targets = make_logits(dtype)
    value, gradient = exact(logits, targets)
    actual = compute(logits, targets, True)
    torch.testing.assert_close(actual.double(), value, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits.double(), gradient, rtol=tolerance, atol=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 4e-3)])
def test_trained_output_layers_get_the_exact_gradient(dtype: torch.dtype, tolerance: float) -> None:
    logits, targets = make_logits(dtype)
    value, gradient = exact(logits, targets)
    weights = torch.linspace(-1, 1, POSITIONS)
    leaf = logits.requires_grad_()
    actual = TokenLogprobs.apply(leaf, targets)
    (actual * weights).sum().backward()
    torch.testing.assert_close(-actual.double(), value, rtol=1e-5, atol=1e-5)
    expected = -gradient * weights[:, None]
    torch.testing.assert_close(leaf.grad.double(), expected, rtol=tolerance, atol=1e-6)


class _Operations(TorchDispatchMode):
    """Lists the names of operations."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.names.append(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


def test_softmax_is_one_operation_on_a_gpu() -> None:
    """Each one reads and writes all logits, and a CPU's cache isn't there to help."""
    logits = torch.empty(POSITIONS, VOCABULARY, dtype=torch.bfloat16, device="meta")
    targets = torch.empty(POSITIONS, dtype=torch.int64, device="meta")
    with _Operations() as listed:
        chunked_logprobs.compute_cross_entropy(logits, targets, True)
    assert [listed.names.count(name) for name in ("_log_softmax", "exp", "sub", "sub_")] == [
        1,
        1,
        0,
        0,
    ]


class _LargestResult(TorchDispatchMode):
    """Notes the most elements of any 32-bit tensor that an operation returns."""

    elements = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, torch.Tensor) and value.dtype == torch.float32:
                self.elements = max(self.elements, value.numel())
        return result


def test_no_copy_of_all_logits_is_made_in_32_bit() -> None:
    logits, targets = make_logits(torch.bfloat16)
    with _LargestResult() as largest:
        TokenLogprobs.apply(logits.requires_grad_(), targets).sum().backward()
    assert 0 < largest.elements < logits.numel() / 2
