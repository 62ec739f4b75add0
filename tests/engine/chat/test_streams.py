"""Answers that this process computes: which errors reach the chat, and in what state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from lora_studio.core.chat import Sampling
from lora_studio.engine.chat.streams import TorchTokens, create_generation_config
from lora_studio.engine.runtime.failures import NotFiniteError
from tests.engine.conftest import TinyModel


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_are_never_drawn_from(
    temperature: float, value: float, tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On CUDA, drawing from them would make the device unusable for this process."""
    network: Any = AutoModelForCausalLM.from_pretrained(Path(tiny("llama3"))).eval()
    steps: list[int] = []

    def damage(_: object, __: object, logits: torch.Tensor) -> torch.Tensor:
        steps.append(len(logits))
        return logits * value if len(steps) == 3 else logits

    network.lm_head.register_forward_hook(damage)
    draw, drawn = torch.multinomial, []

    def record(shares: torch.Tensor, *rest: Any, **settings: Any) -> torch.Tensor:
        drawn.append(bool(shares.isfinite().all()))
        return draw(shares, *rest, **settings)

    monkeypatch.setattr(torch, "multinomial", record)
    sampling = Sampling(temperature=temperature, top_p=0.9, top_k=5, max_tokens=8)
    settings = create_generation_config(sampling, [], 0)
    tokens = TorchTokens(network, [5, 6, 7], settings, 0, lambda: None)
    assert [type(tokens.next_token(lambda: None)) for _ in range(2)] == [int, int]
    with pytest.raises(NotFiniteError):
        tokens.next_token(lambda: None)
    assert tokens.next_token(lambda: None) is None
    assert drawn == [True] * (3 if temperature else 0)
