"""Answers written without the modules of transformers and PEFT equal those of the model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from lora_studio.engine.generation import direct_decoder
from lora_studio.engine.generation.direct_decoder import can_decode_directly
from lora_studio.engine.generation.group_sampling import GroupSampling, sample_groups
from lora_studio.engine.model.loading import load_tokenizer
from tests.engine.conftest import TinyModel

_PROMPTS = [[5, 6, 7, 8, 9, 10], [40, 41, 42], [100]]
_SAMPLING = GroupSampling(answers=3, max_tokens=12, rows=9, seed="0 1")


def adapt(folder: Any, dtype: torch.dtype = torch.float32, **config: Any) -> Any:
    """Return a tiny model with an adapter that changes its answers, and biases where its family may have them."""
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attention_bias=True)
    lora = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "o_proj", "up_proj"], **config)
    model = get_peft_model(network, lora)
    torch.manual_seed(3)
    for name, value in model.named_parameters():
        if "lora_B" in name or name.endswith("bias"):
            value.data.normal_(std=0.3)
    return model.eval()


@pytest.mark.parametrize("family", ["llama3", "qwen3"])
def test_direct_answers_equal_those_of_the_model(tiny: TinyModel, family: str) -> None:
    model, tokenizer = adapt(tiny(family)), load_tokenizer(tiny(family))
    assert can_decode_directly(model)
    by_model = sample_groups(model, tokenizer, _PROMPTS, _SAMPLING, lambda _: None)
    for rows in (9, 4, 1):
        sampling = replace(_SAMPLING, rows=rows)
        directly = sample_groups(
            model, tokenizer, _PROMPTS, sampling, lambda _: None, directly=True
        )
        assert directly == by_model, rows
    with model.disable_adapter():
        base = sample_groups(model, tokenizer, _PROMPTS, _SAMPLING, lambda _: None, directly=True)
    assert base != by_model


def test_rows_that_end_leave_the_others_unchanged(tiny: TinyModel) -> None:
    model = adapt(tiny("llama3"))
    ids, mask = direct_decoder.pad_left(_PROMPTS, 0)

    def decode(rows: list[int], kept: list[int]) -> torch.Tensor:
        cache = direct_decoder.prefix_cache.create_cache(model)
        direct_decoder.compute_logits(model, ids, cache, mask=mask)
        decoder = direct_decoder.DirectDecoder(model, cache, mask, rows)
        decoder.compute_logits([20 + row for row in range(len(rows))])
        decoder.keep(kept)
        return decoder.compute_logits([30 + row for row in kept])

    every = decode([0, 0, 1, 2, 2], [0, 1, 2, 3, 4])
    torch.testing.assert_close(decode([0, 0, 1, 2, 2], [1, 3, 4]), every[[1, 3, 4]])
    torch.testing.assert_close(decode([0, 0, 1, 2, 2], [2]), every[[2]])


def test_bfloat16_logits_are_close_to_those_of_the_model(tiny: TinyModel) -> None:
    model = adapt(tiny("llama3"), torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert can_decode_directly(model)


def test_models_with_other_parts_are_left_to_transformers(
    tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not can_decode_directly(adapt(tiny("llama3"), use_dora=True))
    assert not can_decode_directly(adapt(tiny("gemma3")))
    model = adapt(tiny("llama3"))
    assert can_decode_directly(model)
    monkeypatch.setattr(direct_decoder._Layer, "finish", lambda self, x, attended: x)
    assert not can_decode_directly(model)


def test_checks_between_layers_also_run_while_writing_directly(tiny: TinyModel) -> None:
    model, tokenizer = adapt(tiny("llama3")), load_tokenizer(tiny("llama3"))
    calls: list[int] = []

    def check(*_: object) -> None:
        calls.append(1)
        if len(calls) == 5:  # two blocks for the prompts, two for a token
            raise MemoryError

    for block in model.get_base_model().model.layers:
        block.register_forward_pre_hook(check)
    with pytest.raises(MemoryError):
        sample_groups(model, tokenizer, _PROMPTS, _SAMPLING, lambda _: None, directly=True)
