"""The attention cache of a batch: filled once for a shared beginning, then expanded to all rows."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import (
    Cache,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
)

#: Fewest tokens of a shared beginning that are worth a computation of their own.
MIN_SHARED = 8

#: Tokens by which a layer's buffer grows.
_BLOCK = 64


class GrowingLayer(DynamicLayer):
    """Keys and values of one layer, in buffers with room for the next tokens.

    transformers' own layer copies all keys and values for each token.
    """

    def __init__(self) -> None:
        super().__init__()
        self._buffers: list[torch.Tensor] = []

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append states [rows, heads, tokens, size]; return all states."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        begin = self.get_seq_length()
        end = begin + key_states.shape[-2]
        states = (key_states, value_states)
        if not self._buffers or self._buffers[0].shape[-2] < end:
            self._grow(end + max(_BLOCK, end // 8), states)
        for buffer, state in zip(self._buffers, states, strict=True):
            buffer[:, :, begin:end] = state
        self._show(end)
        return self.keys, self.values

    def _grow(self, capacity: int, states: Sequence[torch.Tensor]) -> None:
        length = self.get_seq_length()
        buffers = []
        for old, state in zip((self.keys, self.values), states, strict=True):
            rows, heads, _, size = state.shape
            buffer = state.new_empty(rows, heads, capacity, size)
            if length:
                buffer[:, :, :length] = old
            buffers.append(buffer)
        self._buffers = buffers

    def _show(self, length: int) -> None:
        self.keys, self.values = (buffer[:, :, :length] for buffer in self._buffers)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep the rows at `indices`; layers may be on different devices."""
        if length := self.get_seq_length():
            indices = indices.to(self.keys.device)
            self._buffers = [
                buffer[indices] for buffer in self._buffers or (self.keys, self.values)
            ]
            self._show(length)

    def select(self, rows: torch.Tensor | int) -> GrowingLayer:
        """Return a layer with a copy of these rows or, for a number, one row for so many rows."""
        layer = GrowingLayer()
        if not self.get_seq_length():
            return layer
        layer.lazy_initialization(self.keys, self.values)
        layer.keys, layer.values = (
            state.expand(rows, -1, -1, -1)
            if isinstance(rows, int)
            else state[rows.to(state.device)]
            for state in (self.keys, self.values)
        )
        return layer


def create_cache(network: Any) -> Cache:
    """Return an empty cache for a model that `find_window` accepts."""
    layers = DynamicCache(config=get_inner(network).config).layers
    return Cache(layers=[GrowingLayer() for _ in layers])


def select(cache: Cache, rows: torch.Tensor | int) -> Cache:
    """Return a new cache with these rows of a cache; a number expands its only row to so many."""
    return Cache(layers=[layer.select(rows) for layer in cache.layers])


def get_inner(network: Any) -> Any:
    """Return the transformers model inside of a PEFT model."""
    return network.get_base_model() if hasattr(network, "get_base_model") else network


def find_window(network: Any) -> float | None:
    """Return the tokens that every layer of a model attends to, infinite without a sliding window.

    None: its states can't be reused this way, as in recurrent models, encoder-decoders, and models that
    a backend has rewritten.
    """
    inner = get_inner(network)
    parameters = inspect.signature(inner.forward).parameters
    config = inner.config
    if (
        not {"position_ids", "past_key_values", "logits_to_keep"} <= parameters.keys()
        or config.is_encoder_decoder
        or getattr(inner, "_is_stateful", False)
        or inner.forward.__module__.startswith("unsloth")
    ):
        return None
    types = set(getattr(config.get_text_config(decoder=True), "layer_types", None) or ())
    layers = DynamicCache(config=config).layers
    known = all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)
    if not layers or not known or "chunked_attention" in types:
        return None
    windows = [
        layer.sliding_window for layer in layers if isinstance(layer, DynamicSlidingWindowLayer)
    ]
    return min(windows, default=math.inf)


def get_context_length(network: Any) -> int:
    """Return the most tokens that a model was made for, or a large number if its config doesn't say."""
    config = get_inner(network).config.get_text_config(decoder=True)
    return int(getattr(config, "max_position_embeddings", None) or 1 << 30)


@dataclass(frozen=True)
class PrefixGroup:
    """Rows that begin with the same `length` tokens."""

    rows: tuple[int, ...]
    length: int


def group_by_prefix(rows: Sequence[Sequence[int]], smallest: int = 4) -> list[PrefixGroup]:
    """Return rows grouped by shared beginnings, each at least one token shorter than every row.

    A part of a group gets a group of its own if it has `smallest` rows that share `MIN_SHARED` more
    tokens.
    """
    order = sorted(range(len(rows)), key=lambda index: tuple(rows[index]))
    return _split([rows[index] for index in order], order, smallest) if order else []


def _split(
    ordered: Sequence[Sequence[int]], names: Sequence[int], smallest: int
) -> list[PrefixGroup]:
    """Group rows in lexicographic order; `names` are their indices."""
    pending = [(0, len(ordered), 0)]
    groups: list[PrefixGroup] = []
    while pending:
        begin, end, known = pending.pop()
        shared = _count_shared(ordered, begin, end, known)
        others: list[int] = []
        for first, last in _iter_branches(ordered, begin, end, shared):
            is_large = smallest <= last - first < end - begin
            if is_large and _count_shared(ordered, first, last, shared) >= shared + MIN_SHARED:
                pending.append((first, last, shared))
            else:
                others.extend(range(first, last))
        length = shared if len(others) > 1 and shared >= MIN_SHARED else 0
        if others:
            groups.append(PrefixGroup(tuple(names[index] for index in others), length))
    return groups


def _count_shared(ordered: Sequence[Sequence[int]], begin: int, end: int, known: int) -> int:
    """Return how many tokens the rows from `begin` to `end` share, short of the whole shortest row.

    In lexicographic order the first and the last row share what all share.
    """
    first, last = ordered[begin], ordered[end - 1]
    shortest = min(len(row) for row in ordered[begin:end])
    count = known
    while count < shortest - 1 and first[count] == last[count]:
        count += 1
    return min(count, shortest - 1)


def _iter_branches(
    ordered: Sequence[Sequence[int]], begin: int, end: int, shared: int
) -> list[tuple[int, int]]:
    """Return the ranges of rows that have the same token at position `shared`."""
    branches: list[tuple[int, int]] = []
    for index in range(begin, end):
        is_same = branches and ordered[index][shared] == ordered[branches[-1][0]][shared]
        if is_same:
            branches[-1] = branches[-1][0], index + 1
        else:
            branches.append((index, index + 1))
    return branches
