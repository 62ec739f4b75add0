"""Rows packed end to end into one sequence, with attention inside each row only.

Nothing is padded, so nothing is computed for padding, and each row's attention costs the square of
its own length rather than of the whole sequence. The result is that of each row alone; whether it is
for a given model is measured, not assumed (`enable`): layers that carry a state along the sequence,
or that take no word on where rows begin, are found out and trained on padded rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from itertools import accumulate
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch.backends.cuda import SDPAParams, can_use_flash_attention
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from lora_studio.engine.training.kernels import attention, numerical_equivalence

#: Name of this attention in transformers' registry.
_NAME = "per_document"

#: Largest relative difference that rounding may make, by bytes of the number format.
_TOLERANCE = {2: 2e-2, 4: 1e-4}


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    documents: Sequence[int] | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each document; query is [1, heads, tokens, size], the result
    [1, tokens, heads, size]. `documents` are the lengths of the documents in tokens; without them
    it is transformers' own attention.

    Raises NotImplementedError for attention sinks and capped scores, which the fused kernels of
    PyTorch do not have.
    """
    if documents is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, **others
        )
    if softcap is not None or s_aux is not None:
        raise NotImplementedError("attention with capped scores or sinks")
    query, key, value = _as_autocast(query, key, value)
    if dropout == 0.0 and takes_all_at_once(query, key, value):
        return at_once(query, key, value, tuple(documents), scaling, sliding_window), None
    sees_all = sliding_window is None or max(documents) <= sliding_window
    if dropout == 0.0 and sees_all and attention.serves(query, key, value, documents):
        return attention.attend(query, key, value, documents, scaling), None
    return one_by_one(query, key, value, documents, scaling, sliding_window, dropout), None


def _as_autocast(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Tensors as autocast puts them before PyTorch's own attention; it does not know the others.

    With a quantised base that computes in float16 all that is not quantised is in 32-bit, and so are
    queries, keys and values.
    """
    kind = tensors[0].device.type
    if kind not in ("cuda", "cpu") or not torch.is_autocast_enabled(kind):
        return tensors
    return tuple(tensor.to(torch.get_autocast_dtype(kind)) for tensor in tensors)


def one_by_one(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    documents: Sequence[int],
    scaling: float | None,
    sliding_window: int | None,
    dropout: float = 0.0,
) -> torch.Tensor:
    """Each document by PyTorch's own attention, which every device has."""
    windows = [_window(length, sliding_window, query.device) for length in documents]
    groups = query.shape[1] // key.shape[1]
    if groups > 1 and any(_needs_own_keys(query, key, value, window) for window in windows):
        key, value = (each.repeat_interleave(groups, 1) for each in (key, value))
    parts = [
        F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=window,
            dropout_p=dropout,
            is_causal=window is None,
            scale=scaling,
            enable_gqa=q.shape[1] != k.shape[1],
        )
        for q, k, v, window in zip(
            query.split(documents, 2), key.split(documents, 2), value.split(documents, 2), windows,
            strict=True,
        )
    ]  # fmt: skip
    return torch.cat(parts, 2).transpose(1, 2).contiguous()


def _needs_own_keys(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
) -> bool:
    """Whether heads that share keys have to get copies of them.

    On a GPU PyTorch's FlashAttention knows shared ones, but neither cards before Ampere nor 32-bit nor
    masks. Its next best kernel does not, and the one that is left keeps all scores for the backward pass.
    """
    if query.device.type != "cuda":
        return False
    # Whether a mask is allowed does not depend on what it holds.
    about = SDPAParams(query, key, value, mask, 0.0, mask is None, True)
    return not can_use_flash_attention(about)


def at_once(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    documents: tuple[int, ...],
    scaling: float | None,
    sliding_window: int | None,
    kernel: Callable[..., Any] | None = None,
) -> torch.Tensor:
    """All documents in one launch of FlashAttention's kernel for rows of any length (Dao 2023).

    A GPU has short rows done before the next launch reaches it; so one launch takes them all.
    """
    bounds = _bounds(documents, query.device)
    longest = max(documents)
    found = (kernel or _kernel())(
        *(tensor[0].transpose(0, 1) for tensor in (query, key, value)),
        bounds,
        bounds,
        longest,
        longest,
        scale=scaling,
        window_size=(-1 if sliding_window is None else sliding_window - 1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return cast(torch.Tensor, found)[None]


def _kernel() -> Callable[..., Any]:
    """PyTorch's interface to it; raises ImportError where PyTorch is older than 2.10."""
    from torch.nn.attention.varlen import varlen_attn

    return cast(Callable[..., Any], varlen_attn)


@lru_cache(maxsize=8)
def _bounds(documents: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Where documents begin and end, [documents + 1] int32; every layer asks for the same."""
    return torch.tensor([0, *accumulate(documents)], dtype=torch.int32, device=device)


def takes_all_at_once(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> bool:
    """Whether `at_once` is to be had for heads of this kind: on a CUDA GPU in 16 bits, and tried."""
    if (
        not query.is_cuda
        or query.element_size() != 2
        or not query.dtype == key.dtype == value.dtype
    ):
        return False
    about = (
        query.dtype,
        query.device,
        query.shape[1],
        key.shape[1],
        query.shape[-1],
        value.shape[-1],
    )
    return _tried(*about)


def described(model: PreTrainedModel, dtype: torch.dtype) -> str:
    """Which of the two it is for a model that computes in a number format, in words."""
    config, device = model.config.get_text_config(), next(model.parameters()).device
    heads = config.num_attention_heads
    keys = getattr(config, "num_key_value_heads", None) or heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    half = dtype in (torch.bfloat16, torch.float16)
    if device.type == "cuda" and half and _tried(dtype, device, heads, keys, size, size):
        return "FlashAttention takes all of them at once"
    return "attention goes row by row"


@lru_cache(maxsize=32)
def _tried(
    dtype: torch.dtype, device: torch.device, heads: int, keys: int, size: int, values: int
) -> bool:
    """Whether two short rows come out the same both ways, and their gradients."""
    lengths = 5, 9

    def made(heads: int, size: int) -> torch.Tensor:
        numbers = torch.arange(heads * sum(lengths) * size, device=device)
        return (numbers * 0.7).sin().view(1, heads, sum(lengths), size).to(dtype).requires_grad_()

    given = made(heads, size), made(keys, size), made(keys, values)
    try:
        with torch.enable_grad():
            both = [
                [found.detach(), *torch.autograd.grad(found.float().square().sum(), given)]
                for found in (
                    at_once(*given, lengths, None, None),
                    one_by_one(*given, lengths, None, None),
                )
            ]
    except (ImportError, NotImplementedError, RuntimeError, ValueError, TypeError, AttributeError):
        return False
    return all(
        bool((one.float() - other.float()).norm() <= _TOLERANCE[2] * other.float().norm())
        for one, other in zip(*both, strict=True)
    )


def _window(length: int, window: int | None, device: torch.device) -> torch.Tensor | None:
    """The mask of a row that is longer than the window, [length, length] bool; else none."""
    if window is None or length <= window:
        return None
    position = torch.arange(length, device=device)
    distance = position[:, None] - position[None, :]
    return (distance >= 0) & (distance < window)


_packing: ContextVar[bool] = ContextVar("packing", default=False)


def _mask(*about: Any, **named: Any) -> torch.Tensor | None:
    """None while rows are packed: which token sees which is settled in `attend` then."""
    return None if _packing.get() else sdpa_mask(*about, **named)


AttentionInterface.register(_NAME, attend)
AttentionMaskInterface.register(_NAME, _mask)


@contextmanager
def packing() -> Iterator[None]:
    """Around the forward pass of packed rows.

    Layers that are computed once more in the backward pass need it no longer: their mask and the
    lengths of the documents are among what they were given.
    """
    token = _packing.set(True)
    try:
        yield
    finally:
        _packing.reset(token)


def positions(documents: Sequence[int], device: torch.device) -> torch.Tensor:
    """Position of each token in its own document, [1, tokens] int64."""
    return torch.cat([torch.arange(length, device=device) for length in documents])[None]


@torch.no_grad()
def enable(model: PreTrainedModel, decoder: torch.nn.Module) -> bool:
    """Makes `attend` the model's attention; False, and nothing changed, where that would change its
    hidden states, which two short rows, packed and alone, show.

    `decoder` is the part of the model below its output layer. Costs three passes over 24 tokens.
    """
    before = model.config._attn_implementation
    if before != "sdpa":
        return False
    device = next(model.parameters()).device
    lengths = 9, 15  # on average as long as it takes for every kind of attention here to be used
    vocabulary = model.config.get_text_config().vocab_size
    ids = (torch.arange(sum(lengths), device=device)[None] * 7 + 11) % vocabulary
    was_training = model.training
    model.eval()
    fits = False
    try:
        alone = [decoder(input_ids=part).last_hidden_state for part in ids.split(lengths, 1)]
        expected = torch.cat(alone, 1).float()
        model.config._attn_implementation = _NAME
        with packing():
            packed = decoder(
                input_ids=ids,
                position_ids=positions(lengths, device),
                documents=lengths,
                use_cache=False,
            ).last_hidden_state
        difference = (packed.float() - expected).norm() / expected.norm()
        fits = bool(difference < _TOLERANCE[numerical_equivalence.bytes_computed_with(packed)])
    except (TypeError, NotImplementedError, RuntimeError, ValueError, AttributeError):
        fits = False
    finally:
        model.train(was_training)
        if not fits:
            model.config._attn_implementation = before
    return fits
