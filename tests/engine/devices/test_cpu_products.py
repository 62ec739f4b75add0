"""Products with 16-bit weights on processors without instructions for 16 bits."""

from __future__ import annotations

import platform
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn import functional as F  # noqa: N812 - its usual name
from torch.utils._python_dispatch import TorchDispatchMode

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.model.spec import ModelSpec
from lora_studio.engine.devices import cpu_products, devices, grouped_attention
from lora_studio.engine.lora import attach
from lora_studio.engine.model import capped_attention, loading
from tests.engine.conftest import TinyModel
from tests.helpers.runs.jobs import make_job

_PRODUCTS = ("mm", "addmm", "linear")


class _ProductTypes(TorchDispatchMode):
    """Records the data types of the matrices that are multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.types: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in _PRODUCTS:
            self.types.add(args[-1].dtype)
        return func(*args, **(kwargs or {}))


def _record_types(layer: nn.Module, *inputs: torch.Tensor) -> set[torch.dtype]:
    with torch.inference_mode(), _ProductTypes() as recorded:
        for each in inputs:
            layer(each)
    return recorded.types


@pytest.fixture
def old_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A made-up processor without instructions for 16 bits."""
    monkeypatch.setattr(devices, "has_bfloat16_instructions", lambda: False)


@pytest.mark.usefixtures("old_cpu")
@pytest.mark.parametrize("has_bias", [True, False])
def test_widened_product_is_that_of_32_bits_rounded_once(
    monkeypatch: pytest.MonkeyPatch, has_bias: bool
) -> None:
    monkeypatch.setattr(cpu_products, "_BLOCK", 7 * 64)  # 20 rows in blocks of 7
    layer = nn.Linear(64, 20, bias=has_bias).bfloat16()
    x = torch.randn(2, 9, 64).bfloat16()
    cpu_products.widen_products(layer)
    bias = layer.bias.float() if has_bias else None
    expected = functional.linear(x.float(), layer.weight.float(), bias)
    assert torch.allclose(layer(x).float(), expected, atol=0, rtol=2.0**-8)
    assert layer(x).dtype == layer.weight.dtype == torch.bfloat16
    assert _record_types(layer, x) == {torch.float32}


@pytest.mark.usefixtures("old_cpu")
def test_product_of_few_rows_reads_weights_as_stored() -> None:
    layer = nn.Linear(64, 20).bfloat16()
    cpu_products.widen_products(layer)
    assert _record_types(layer, torch.randn(1, 3, 64).bfloat16()) == {torch.bfloat16}


@pytest.mark.usefixtures("old_cpu")
def test_model_that_answers_multiplies_in_32_bits(tiny: TinyModel) -> None:
    spec = ModelSpec(source=str(tiny("llama3")), precision="bf16", device="cpu")
    ids = torch.arange(20)[None]
    model: Any = loading.load(spec, make_job()).model.eval()
    assert _record_types(model, ids) == {torch.float32}
    adapted: Any = attach.attach_adapter(model, LoraSpec(rank=4), make_job())
    assert _record_types(adapted.eval(), ids) == {torch.float32}


@pytest.mark.usefixtures("old_cpu")
def test_model_that_trains_is_not_widened(tiny: TinyModel) -> None:
    spec = ModelSpec(source=str(tiny("llama3")), precision="bf16", device="cpu")
    model = loading.load(spec, make_job(), training=True).model
    assert not any(isinstance(each, cpu_products.WidenedLinear) for each in model.modules())


def test_fast_16_bit_products_are_not_widened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "has_bfloat16_instructions", lambda: True)
    layer = nn.Sequential(nn.Linear(64, 20).bfloat16(), nn.Linear(64, 20))
    cpu_products.widen_products(layer)
    assert [type(each) for each in layer] == [nn.Linear, nn.Linear]


def test_pytorch_without_onednn_has_no_fast_16_bit_products(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    for dtype in (torch.bfloat16, torch.float16):
        layer = nn.Sequential(nn.Linear(64, 20).to(dtype))
        cpu_products.widen_products(layer)
        assert type(layer[0]) is cpu_products.WidenedLinear


#: The families of tiny models with grouped queries that PyTorch's attention computes.
FAMILIES = ("llama3", "qwen3", "gemma3", "mistral", "phi3", "granite", "smollm3", "qwen3_moe")


def load(tiny: TinyModel, family: str, *, training: bool = False) -> Any:
    spec = ModelSpec(source=str(tiny(family)), device="cpu", precision="fp32")
    return loading.load(spec, make_job(), training=training).model.eval()


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_logits_equal_those_of_transformers(tiny: TinyModel, family: str) -> None:
    model = load(tiny, family)
    assert model.config._attn_implementation == grouped_attention.NAME
    ids = torch.arange(2 * 40).view(2, -1) * 7 % 90
    mask = torch.ones_like(ids)
    mask[0, :9] = 0
    for inputs in ({"input_ids": ids[:1]}, {"input_ids": ids, "attention_mask": mask}):
        actual = model(**inputs).logits
        model.set_attn_implementation("sdpa")
        expected = model(**inputs).logits
        model.set_attn_implementation(grouped_attention.NAME)
        seen = inputs.get("attention_mask", torch.ones_like(ids[:1])).bool()
        torch.testing.assert_close(actual[seen], expected[seen], rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_prompt_keeps_no_scores_on_a_gpu_without_flash_attention(
    tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There, PyTorch's kernel that keeps none needs keys for each query head."""
    model = load(tiny, "llama3")
    counts: set[tuple[int, int]] = set()
    compute = F.scaled_dot_product_attention

    def record(query: torch.Tensor, key: torch.Tensor, *others: Any, **named: Any) -> torch.Tensor:
        counts.add((query.shape[1], key.shape[1]))
        return compute(query, key, *others, **named)

    monkeypatch.setattr(F, "scaled_dot_product_attention", record)
    monkeypatch.setattr(grouped_attention, "should_repeat_keys", lambda *_: True)
    model(input_ids=torch.arange(30)[None])
    assert counts == {(4, 4)}


def test_training_and_other_attention_stay_as_they_are(tiny: TinyModel) -> None:
    assert load(tiny, "llama3", training=True).config._attn_implementation == "sdpa"
    assert load(tiny, "gemma2").config._attn_implementation == capped_attention.NAME
