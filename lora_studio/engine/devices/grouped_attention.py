"""Attention whose query heads share keys, with copies of the keys only where a kernel needs them.

WORKAROUND: transformers copies keys and values for each query head where there is a mask, and nowhere else. But
PyTorch's kernels for CPUs need no copies, and of those for GPUs, all but FlashAttention do: without them, all
scores of a prompt are in memory at once. GPUs before Ampere have no FlashAttention, and none has it in 32 bits.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch.backends.cuda import SDPAParams, can_use_flash_attention
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

#: Name of this attention in transformers' registry.
NAME = "grouped"

#: Size of the largest heads that transformers doesn't repeat keys for.
_LARGEST_GROUPED = 256


def group_queries(model: PreTrainedModel) -> None:
    """Let a model that only answers use this attention instead of transformers' own for PyTorch's kernels."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", None)
    is_grouped = getattr(config, "num_key_value_heads", heads) != heads
    is_usual = model.config._attn_implementation == "sdpa"
    if is_grouped and is_usual and model._can_set_attn_implementation():
        model.set_attn_implementation(NAME)


def grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Return attention, [rows, queries, heads, size], and None for the weights, as transformers expects it."""
    if others.get("position_bias") is None and _copies_keys(query, key, attention_mask):
        attended = F.scaled_dot_product_attention(
            query, key, value, attention_mask, scale=scaling, enable_gqa=True
        )
        return attended.transpose(1, 2).contiguous(), None
    # With a mask, transformers repeats them itself, even if they are repeated already; newer versions do so
    # for larger heads, too. Its own test for that takes other arguments in each version.
    if (
        attention_mask is None
        and key.shape[-1] == value.shape[-1] <= _LARGEST_GROUPED
        and should_repeat_keys(query, key, value, attention_mask)
    ):
        groups = query.shape[1] // key.shape[1]
        key, value = (tensor.repeat_interleave(groups, 1) for tensor in (key, value))
    result: tuple[torch.Tensor, None] = sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout, scaling, **others
    )
    return result


def _copies_keys(query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None) -> bool:
    """Return whether transformers copies keys and values for each query head in vain.

    It does so where there is a mask. While answers are written on a CPU, these copies take ten times as long
    as the attention: for 32 rows of 80 tokens with 9 query heads of 64 and 3 key heads, 9.5 ms instead of 0.9.
    """
    is_grouped = mask is not None and query.shape[1] != key.shape[1]
    return is_grouped and query.device.type == "cpu" and not torch.is_grad_enabled()


def should_repeat_keys(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
) -> bool:
    """Return whether grouped-query attention needs the keys repeated for each query head.

    On a GPU, FlashAttention supports grouped queries, but not GPUs before Ampere, 32-bit or masks. The
    memory-efficient kernel doesn't support them, and the math kernel computes all scores at once, and keeps
    them for the backward pass.
    """
    if query.device.type != "cuda" or query.shape[1] == key.shape[1]:
        return False
    # Whether a mask is allowed doesn't depend on its values. A single query without a mask sees all keys.
    is_causal = mask is None and query.shape[2] > 1
    params = SDPAParams(query, key, value, mask, 0.0, is_causal, True)
    return not can_use_flash_attention(params)


AttentionInterface.register(NAME, grouped_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
