"""Attention whose scores are capped before the softmax, as Gemma 2 has it.

WORKAROUND: transformers passes the cap to its attention, whose default implementation, PyTorch's own kernels,
ignores it. Such a model answers a little differently from llama.cpp, and an adapter would be trained for the
answers of another model. The implementation that does cap keeps all scores of a sequence for the backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import nn
from transformers import AttentionInterface, PreTrainedConfig, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from lora_studio.core.memory.estimate import CAPPED_SCORES

#: Name of this attention in transformers' registry.
NAME = "capped"

#: Maximum number of scores at a time, for all heads.
_CPU_SCORES, _GPU_SCORES = CAPPED_SCORES["cpu"], CAPPED_SCORES["cuda"]


def has_capped_scores(config: PreTrainedConfig) -> bool:
    """Return whether a configuration asks for capped attention scores."""
    return bool(getattr(config.get_text_config(), "attn_logit_softcapping", None))


def enable_attention_softcapping(model: PreTrainedModel) -> None:
    """Let a model cap its attention scores if its configuration asks for it."""
    if has_capped_scores(model.config):
        model.set_attn_implementation(NAME)


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cap: float,
    *,
    scale: float | None,
    mask: torch.Tensor | None = None,
    window: int | None = None,
    dropout: float = 0.0,
) -> torch.Tensor:
    """Return Σ_j p_ij v_j with p_i = softmax_j(c·tanh(s q_i·k_j / c)), [rows, heads, queries, size].

    `query` is [rows, heads, queries, size]; `key` and `value` have as many heads or fewer, each for a group of
    neighboring query heads. `mask` [rows, 1, queries, keys] is true where a query sees a key. Without a mask,
    attention is causal, aligned to the last key, and limited to `window` keys. Scores are computed in 32 bits,
    and again in the backward pass; those of a single query are multiplied in the format of the keys.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    with torch.autocast(query.device.type, enabled=False):
        if dropout:  # all scores at once; no known model has it
            scores = _Scores(query, key, mask, window, cap, scale)
            weights, _ = scores.compute(slice(0, query.shape[2]), slice(0, key.shape[2]))
            kept = nn.functional.dropout(weights, dropout).to(value.dtype)
            return _leave_groups(kept @ value, query)
        attended = _CappedAttention.apply(query, key, value, mask, window, cap, scale)
    return cast(torch.Tensor, attended)


def cast_as_autocast(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Cast tensors as autocast does for PyTorch's own attention; it doesn't cover other kernels.

    In a quantized base that computes in float16, everything else is in 32-bit, and so are queries, keys
    and values.
    """
    kind = tensors[0].device.type
    if kind not in ("cuda", "cpu") or not torch.is_autocast_enabled(kind):
        return tensors
    return tuple(tensor.to(torch.get_autocast_dtype(kind)) for tensor in tensors)


class _Scores:
    """The scores of queries and keys, one block of queries at a time."""

    def __init__(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        mask: torch.Tensor | None,
        window: int | None,
        cap: float,
        scale: float,
    ) -> None:
        self.query = query
        # A single query isn't worth a copy of all keys.
        self._key = key.float() if query.shape[2] > 1 else key
        self.offset = key.shape[2] - query.shape[2]  # position of the first query
        self._mask, self._window, self._cap, self._scale = mask, window, cap, scale

    def iter_blocks(self) -> Iterator[tuple[slice, slice]]:
        """Yield blocks of queries, and the keys that they may see."""
        (rows, heads, queries, _), keys = self.query.shape, self._key.shape[2]
        most = _GPU_SCORES if self.query.is_cuda else _CPU_SCORES
        step = max(most // (rows * heads * keys), 1)
        for begin in range(0, queries, step):
            end = min(begin + step, queries)
            if self._mask is not None:
                yield slice(begin, end), slice(0, keys)
            else:
                first = 0 if self._window is None else begin + self.offset - self._window + 1
                yield slice(begin, end), slice(max(first, 0), end + self.offset)

    def compute(self, queries: slice, keys: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the weights of keys and tanh(s q·k / c), [rows, key heads, group · queries, keys]."""
        key = self._key[:, :, keys]
        query = _join_groups(self.query[:, :, queries], key.shape[1]).to(key.dtype)
        ratio = (query @ key.mT).float().mul_(self._scale / self._cap).tanh_()
        hidden = ~self._get_visible(queries, keys)
        scores = (ratio * self._cap).unflatten(2, (-1, hidden.shape[-2]))
        scores.masked_fill_(hidden[:, :, None], torch.finfo(scores.dtype).min)
        return scores.flatten(2, 3).softmax(-1), ratio

    def _get_visible(self, queries: slice, keys: slice) -> torch.Tensor:
        """Return which keys each query sees, [rows or 1, 1, queries, keys] bool."""
        if self._mask is not None:
            return self._mask[:, :, queries, keys]
        device = self.query.device
        distance = (
            torch.arange(queries.start, queries.stop, device=device)[:, None]
            + self.offset
            - torch.arange(keys.start, keys.stop, device=device)[None, :]
        )
        visible = distance >= 0
        if self._window is not None:
            visible &= distance < self._window
        return visible[None, None]


def _join_groups(vectors: torch.Tensor, key_heads: int) -> torch.Tensor:
    """Return [rows, heads, queries, size] as [rows, key heads, group · queries, size]."""
    return vectors.unflatten(1, (key_heads, -1)).flatten(2, 3)


def _leave_groups(vectors: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return [rows, key heads, group · queries, size] as [rows, heads, queries, size]."""
    groups = like.shape[1] // vectors.shape[1]
    return vectors.unflatten(2, (groups, -1)).flatten(1, 2)


class _CappedAttention(torch.autograd.Function):
    """With g = dL/dy: dv_j = Σ_i p_ij g_i, z_ij = p_ij (g_i·v_j − Σ_k p_ik g_i·v_k) (1 − tanh²(s q_i·k_j / c)),
    dq_i = s Σ_j z_ij k_j, dk_j = s Σ_i z_ij q_i.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        window: int | None,
        cap: float,
        scale: float,
    ) -> torch.Tensor:
        """Return y [rows, heads, queries, size]."""
        scores = _Scores(query, key, mask, window, cap, scale)
        result = query.new_empty(*query.shape[:3], value.shape[-1])
        for queries, keys in scores.iter_blocks():
            weights = scores.compute(queries, keys)[0].to(value.dtype)
            part = weights @ value[:, :, keys]
            result[:, :, queries] = _leave_groups(part, query)
        ctx.save_for_backward(query, key, value, mask)
        ctx.window, ctx.cap, ctx.scale = window, cap, scale
        return result

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of queries, keys, and values."""
        query, key, value, mask = ctx.saved_tensors
        scores = _Scores(query, key, mask, ctx.window, ctx.cap, ctx.scale)
        dq = torch.empty_like(query)
        dk, dv = (torch.zeros_like(each, dtype=torch.float32) for each in (key, value))
        with torch.autocast(query.device.type, enabled=False):
            for queries, keys in scores.iter_blocks():
                weights, ratio = scores.compute(queries, keys)
                grad = _join_groups(outer[0][:, :, queries], key.shape[1])
                dv[:, :, keys] += weights.to(grad.dtype).mT @ grad
                change = (grad @ value[:, :, keys].mT).float().mul_(weights)
                change = torch.addcmul(change, weights, change.sum(-1, keepdim=True), value=-1)
                change = change.mul_(1 - ratio.square_()).mul_(ctx.scale).to(key.dtype)
                dq[:, :, queries] = _leave_groups(change @ key[:, :, keys], query)
                dk[:, :, keys] += change.mT @ _join_groups(query[:, :, queries], key.shape[1])
        return dq, dk.to(key.dtype), dv.to(value.dtype), None, None, None, None


def capped_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Return attention, [rows, queries, heads, size], and None for the weights, as transformers expects it."""
    if softcap is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, **others
        )
    query, key, value = cast_as_autocast(query, key, value)
    attended = attend(
        query, key, value, softcap, scale=scaling, mask=attention_mask, window=sliding_window, dropout=dropout,
    )  # fmt: skip
    return attended.transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, capped_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
