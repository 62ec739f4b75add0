"""The check for packed rows: rounding of deep models passes, tokens of another row don't."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from lora_studio.engine.kernels import sequence_packing
from lora_studio.engine.kernels.sequence_packing import find_blocks


def make_llama(layers: int, dtype: torch.dtype = torch.bfloat16) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2,
    )  # fmt: skip
    return LlamaForCausalLM._from_config(config, dtype=dtype)


def round_differently(model: LlamaForCausalLM) -> None:
    """Change results of attention over packed rows by one unit in the last place, as other kernels do."""
    for layer in model.model.layers:
        attention: Any = layer.self_attn

        def compute(*args: Any, forward: Any = attention.forward, **kwargs: Any) -> Any:
            attended, *others = forward(*args, **kwargs)
            if kwargs.get("documents"):
                signs = torch.randint(0, 2, attended.shape) * 2 - 1
                attended = (attended.float() * (1 + signs * 2.0**-8)).to(attended.dtype)
            return attended, *others

        attention.forward = compute


def compute_last_difference(model: LlamaForCausalLM) -> float:
    """Return how far packing moves the last hidden state, relative to its norm."""
    ids = (torch.arange(24)[None] * 7 + 11) % 64
    with torch.no_grad():
        rows = [model.model(input_ids=row).last_hidden_state for row in ids.split((9, 15), 1)]
        with sequence_packing.use_packed_rows():
            packed = model.model(
                input_ids=ids,
                position_ids=sequence_packing.build_position_ids((9, 15), ids.device),
                documents=(9, 15),
                use_cache=False,
            ).last_hidden_state
    alone = torch.cat(rows, 1).float()
    return float((packed.float() - alone).norm() / alone.norm())


def test_deep_model_is_packed_despite_rounding() -> None:
    model = make_llama(80)
    round_differently(model)
    assert sequence_packing.enable_packing(model, model.model)
    assert model.config._attn_implementation == "per_document"
    assert not any(block._forward_hooks or block._forward_pre_hooks for block in find_blocks(model))
    # More than the difference that is allowed in a single block: the last state alone can't tell.
    assert compute_last_difference(model) > 0.02


def forget_rows(attention: Any) -> None:
    """Let all packed rows count as one."""
    forward = attention.forward

    def compute(*args: Any, documents: Any = None, **kwargs: Any) -> Any:
        return forward(*args, documents=documents and (sum(documents),), **kwargs)

    attention.forward = compute


def test_wrong_attention_is_noticed_beside_larger_states() -> None:
    model = make_llama(4)
    attention = model.model.layers[1].self_attn
    with torch.no_grad():
        attention.o_proj.weight.mul_(1e-3)
    forget_rows(attention)
    assert not sequence_packing.enable_packing(model, model.model)


@pytest.mark.parametrize("layer", [0, 79])
def test_one_block_that_sees_another_row_is_noticed(layer: int) -> None:
    model = make_llama(80)
    forget_rows(model.model.layers[layer].self_attn)
    assert not sequence_packing.enable_packing(model, model.model)
    assert model.config._attn_implementation == "sdpa"


def test_block_with_a_state_along_the_sequence_is_noticed() -> None:
    model = make_llama(4)
    mlp: Any = model.model.layers[2].mlp
    forward = mlp.forward
    mlp.forward = lambda hidden: forward(hidden + 0.5 * hidden.cumsum(1))
    assert not sequence_packing.enable_packing(model, model.model)


def test_packing_is_tried_without_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = make_llama(2), []
    monkeypatch.setattr(
        sequence_packing, "is_independent_of_packing", lambda *_, **__: seen.append(torch.is_grad_enabled())
    )  # fmt: skip
    sequence_packing.enable_packing(model, model.model)
    assert seen == [False]


def test_lack_of_memory_says_nothing_about_packing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> bool:
        raise torch.OutOfMemoryError

    model = make_llama(2)
    monkeypatch.setattr(sequence_packing, "is_independent_of_packing", fail)
    with pytest.raises(torch.OutOfMemoryError):
        sequence_packing.enable_packing(model, model.model)
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("uses_int8", [False, True])
def test_int8_weights_may_round_more(uses_int8: bool) -> None:
    model = make_llama(2)
    model.is_loaded_in_8bit = uses_int8
    attention: Any = model.model.layers[0].self_attn
    forward = attention.forward

    def compute(*args: Any, **kwargs: Any) -> Any:
        attended, *others = forward(*args, **kwargs)
        return attended * (1.04 if kwargs.get("documents") else 1.0), *others

    attention.forward = compute
    assert sequence_packing.enable_packing(model, model.model) == uses_int8
