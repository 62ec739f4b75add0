"""Logits in chunks: used where they equal the model's own up to rounding."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM

from lora_studio.engine.kernels.chunked_logprobs import find_decoder, find_frozen_head
from tests.engine.conftest import TinyModel


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
