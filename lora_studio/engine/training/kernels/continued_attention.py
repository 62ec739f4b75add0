"""Attention for rows that continue another one: several answers after a prompt that is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from lora_studio.engine.devices.grouped_attention import should_repeat_keys
from lora_studio.engine.model.capped_attention import attend


def continued_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    documents: Sequence[int],
    parents: Sequence[int],
    scaling: float | None,
    sliding_window: int | None,
    dropout: float = 0.0,
    softcap: float | None = None,
) -> torch.Tensor:
    """Compute row by row; a row with a parent also attends to all of its parent.

    A parent has none itself. No `parents` at all means that no row has one. `softcap` caps the scores.
    """
    parents = parents or [-1] * len(documents)
    keys, values = key.split(documents, 2), value.split(documents, 2)
    parts = []
    for number, (q, parent) in enumerate(zip(query.split(documents, 2), parents, strict=True)):
        k, v, before = keys[number], values[number], 0
        if parent >= 0:
            before = documents[parent]
            k, v = torch.cat([keys[parent], k], 2), torch.cat([values[parent], v], 2)
        if softcap is not None:
            parts.append(
                attend(q, k, v, softcap, scale=scaling, window=sliding_window, dropout=dropout)
            )
            continue
        mask = _get_continuation_mask(before, documents[number], sliding_window, query.device)
        if should_repeat_keys(q, k, v, mask):
            k, v = (tensor.repeat_interleave(q.shape[1] // k.shape[1], 1) for tensor in (k, v))
        parts.append(
            F.scaled_dot_product_attention(
                q,
                k,
                v,
                mask,
                dropout,
                mask is None,
                scale=scaling,
                enable_gqa=q.shape[1] != k.shape[1],
            )
        )
    return torch.cat(parts, 2).transpose(1, 2).contiguous()


def get_window_mask(length: int, window: int | None, device: torch.device) -> torch.Tensor | None:
    """Return the mask of a row longer than the window, [length, length] bool; None for others."""
    if window is None or length <= window:
        return None
    position = torch.arange(length, device=device)
    distance = position[:, None] - position[None, :]
    return (distance >= 0) & (distance < window)


def _get_continuation_mask(
    before: int, length: int, window: int | None, device: torch.device
) -> torch.Tensor | None:
    """Return what `length` tokens after `before` others see, [length, before + length] bool; None: as usual."""
    if not before:
        return get_window_mask(length, window, device)
    # Rows after the same prompt have similar lengths, and all layers need the same.
    mask = _get_rounded_mask(before, -(-length // 64) * 64, window, device)
    return mask[:length, : before + length]


@lru_cache(maxsize=4)
def _get_rounded_mask(
    before: int, length: int, window: int | None, device: torch.device
) -> torch.Tensor:
    distance = (
        torch.arange(before, before + length, device=device)[:, None]
        - torch.arange(before + length, device=device)[None, :]
    )
    return (distance >= 0) & (distance < (window or before + length))
