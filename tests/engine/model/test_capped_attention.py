"""Capped attention scores: a model computes as transformers' slow attention does, which has the cap."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import Gemma2Config, Gemma2ForCausalLM, PreTrainedModel

from lora_studio.core.memory.estimate import estimate_capped_attention_bytes
from lora_studio.core.model.spec import ModelSpec
from lora_studio.engine.kernels import sequence_packing
from lora_studio.engine.kernels.chunked_logprobs import (
    OutputHead,
    compute_chunked_logprobs,
)
from lora_studio.engine.model import capped_attention, loading
from lora_studio.engine.model.shape import get_model_shape
from tests.helpers.models import plans
from tests.helpers.models.tiny_models import tiny_model
from tests.helpers.runs.jobs import recorded_job

#: More tokens than the window of the layers that have one.
TOKENS = 40


@pytest.fixture
def model() -> PreTrainedModel:
    """A model whose scores are large enough for their cap to matter."""
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=300, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, sliding_window=16, attn_logit_softcapping=5.0,
        query_pre_attn_scalar=1,
    )  # fmt: skip
    network = Gemma2ForCausalLM(config).eval()
    with torch.no_grad():
        for layer in network.model.layers:
            layer.self_attn.q_proj.weight *= 12
            layer.self_attn.k_proj.weight *= 12
    return network


def compute(model: PreTrainedModel, attention: str, **inputs: Any) -> list[torch.Tensor]:
    """Return logits where there is a token, and gradients of what scores depend on."""
    model.set_attn_implementation(attention)
    parameters = [
        getattr(layer.self_attn, name).weight
        for layer in model.model.layers
        for name in ("q_proj", "k_proj", "v_proj")
    ]
    logits = model(**inputs, use_cache=False).logits[inputs["attention_mask"].bool()]
    return [logits.detach(), *torch.autograd.grad(logits.square().sum(), parameters)]


def difference(results: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    return max(
        float((one - other).abs().max() / other.abs().max())
        for one, other in zip(results, expected, strict=True)
    )


@pytest.mark.parametrize("padding", [0, 7])
@pytest.mark.parametrize("scores", [1 << 22, 500], ids=["at once", "in blocks"])
def test_logits_and_gradients_equal_those_of_eager(
    model: PreTrainedModel, scores: int, padding: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capped_attention, "_CPU_SCORES", scores)
    mask = torch.ones(2, TOKENS, dtype=torch.int64)
    mask[0, :padding] = 0
    inputs = {"input_ids": torch.arange(2 * TOKENS).view(2, -1) * 7 % 300, "attention_mask": mask}
    expected = compute(model, "eager", **inputs)
    assert difference(compute(model, capped_attention.NAME, **inputs), expected) < 1e-4
    assert difference(compute(model, "sdpa", **inputs), expected) > 0.1  # the cap matters


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that were made inside, and holds their peak."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            storage = tensor.untyped_storage() if isinstance(tensor, torch.Tensor) else None
            if storage is not None and storage._cdata not in self._known:
                self._known.add(storage._cdata)
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._free, storage._cdata, storage.nbytes())
        return result

    def _free(self, address: int, size: int) -> None:
        self._known.discard(address)
        self.now -= size


@pytest.mark.parametrize("tokens", [150, 700, 2500])
def test_estimate_equals_the_measured_peak(tokens: int) -> None:
    query = torch.randn(1, 8, tokens, 64, dtype=torch.bfloat16, requires_grad=True)
    key, value = (torch.randn(1, 4, tokens, 64).bfloat16().requires_grad_() for _ in range(2))
    result = capped_attention.attend(query, key, value, 50.0, scale=None)
    outer = torch.ones_like(result)
    with LiveBytes() as live:
        torch.autograd.grad(result, (query, key, value), outer)
    size = {"heads": 8, "kv_heads": 4, "head_size": 64, "caps_scores": True}
    shape = plans.plan().shape.model_copy(update=size)
    plan = replace(plans.plan(name="cpu"), inspected=plans.inspected(shape=shape))
    plan = replace(plan, rows=replace(plan.rows, longest=tokens), limit=tokens)
    assert 0.9 < estimate_capped_attention_bytes(plan) / live.peak < 1.25


def test_capped_logits_of_a_chunk_have_four_copies() -> None:
    hidden = torch.randn(64, 8, dtype=torch.bfloat16, requires_grad=True)
    layer = torch.nn.Linear(8, 1 << 15, bias=False, dtype=torch.bfloat16).requires_grad_(False)
    peaks = []
    for finish in (lambda logits: logits, lambda logits: torch.tanh(logits / 30) * 30):
        with LiveBytes() as live:
            compute_chunked_logprobs(hidden, torch.arange(64), OutputHead(layer, finish))
        peaks.append(live.peak)
    chunk = 2 * 64 * (1 << 15)
    assert peaks[1] / chunk == pytest.approx(4, rel=0.1)
    assert peaks[0] < 2 * chunk


def test_outline_says_what_is_capped(model: PreTrainedModel) -> None:
    shape = get_model_shape(model)
    assert (shape.caps_scores, shape.caps_logits) == (True, True)
    model.config.attn_logit_softcapping = model.config.final_logit_softcapping = None
    shape = get_model_shape(model)
    assert (shape.caps_scores, shape.caps_logits) == (False, False)


def test_answers_equal_those_of_eager(model: PreTrainedModel) -> None:
    written = []
    for attention in ("eager", capped_attention.NAME):
        model.set_attn_implementation(attention)
        ids = torch.arange(TOKENS)[None] * 7 % 300
        written.append(model.generate(ids, max_new_tokens=20, do_sample=False))
    assert torch.equal(*written)


def test_packed_rows_have_the_cap_in_the_window(model: PreTrainedModel) -> None:
    lengths = (30, 21)
    ids = torch.arange(sum(lengths))[None] * 7 % 300
    model.set_attn_implementation("eager")
    alone = [model(input_ids=row, use_cache=False).logits for row in ids.split(lengths, 1)]
    model.set_attn_implementation(capped_attention.NAME)
    assert sequence_packing.enable_packing(model, model.model)
    with sequence_packing.use_packed_rows():
        packed = model(
            input_ids=ids,
            position_ids=sequence_packing.build_position_ids(lengths, ids.device),
            documents=lengths,
            use_cache=False,
        ).logits
    assert torch.allclose(packed, torch.cat(alone, 1), atol=1e-4)
    assert sequence_packing.can_share_prompts(model, model.model)


@pytest.mark.parametrize("training", [True, False])
def test_loaded_model_caps_scores_with_an_adapter(training: bool, tmp_path: Any) -> None:
    folder = tiny_model("gemma2", tmp_path)
    spec = ModelSpec(source=str(folder), precision="fp32", device="cpu")
    network = loading.load(spec, recorded_job()[0], training=training).model
    adapted = get_peft_model(network, LoraConfig(target_modules=["q_proj"])).eval()
    ids = torch.arange(TOKENS)[None]
    results = []
    for attention in (None, "eager"):
        if attention:
            network.set_attn_implementation(attention)
        results.append(adapted(input_ids=ids).logits.detach())
    assert torch.allclose(*results, atol=1e-4)


def test_formats_are_those_of_autocast() -> None:
    """In a quantized base that computes in 16 bits, rotations are in 32 bits and values are not."""
    query, key = torch.randn(1, 4, 6, 8), torch.randn(1, 2, 6, 8)
    value = torch.randn(1, 2, 6, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        result, _ = capped_attention.capped_attention(
            torch.nn.Module(), query, key, value, None, softcap=5.0
        )
    assert result.dtype == torch.bfloat16
    in_16_bits = capped_attention.attend(query.bfloat16(), key.bfloat16(), value, 5.0, scale=None)
    assert torch.equal(result, in_16_bits.transpose(1, 2))


def test_dropout_trains_as_without_it_on_average() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 2, 6, 8, requires_grad=True) for _ in range(3))
    whole = capped_attention.attend(query, key, value, 5.0, scale=None)
    dropped = torch.stack(
        [
            capped_attention.attend(query, key, value, 5.0, scale=None, dropout=0.1)
            for _ in range(400)
        ]
    )
    assert torch.allclose(dropped.mean(0), whole, atol=0.1)
    dropped.sum().backward()
    assert all(bool(each.grad.isfinite().all()) for each in (query, key, value))


def test_single_query_equals_the_last_of_several() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 2, 6, 8) for _ in range(3))
    several = capped_attention.attend(query, key, value, 5.0, scale=None, window=4)
    single = capped_attention.attend(query[:, :, -1:], key, value, 5.0, scale=None, window=4)
    assert torch.allclose(single, several[:, :, -1:], atol=1e-6)


def test_no_kernel_of_flash_attention_is_reported(model: PreTrainedModel) -> None:
    assert not sequence_packing.should_use_varlen_kernel(model, torch.bfloat16)
