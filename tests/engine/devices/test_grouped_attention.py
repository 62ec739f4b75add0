"""Models that answer attend without copies of keys, or with them where a GPU would keep all scores otherwise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - its usual name

from lora_studio.core.model.spec import ModelSpec
from lora_studio.engine.devices import grouped_attention
from lora_studio.engine.model import capped_attention, loading
from tests.engine.conftest import TinyModel
from tests.helpers.runs.jobs import make_job

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
