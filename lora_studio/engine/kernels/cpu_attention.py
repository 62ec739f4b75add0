"""Attention for packed rows on a CPU, with a backward pass that uses large matrix products.

PyTorch's kernel computes the backward pass in small tiles, which takes a third of a 16-bit training and
is one to three times slower than the products below: with 9 query heads of 64 and 3 key heads, 128 tokens
take 1.3 ms there and 0.4 ms here, 500 take 8.6 and 2.7, 2000 take 64 and 35 (two cores of an EPYC with
16-bit products). The forward pass uses PyTorch's kernel, which is faster. A training
step of SmolLM2's shape is 1.04 to 1.18 times as fast in total. Rows of one padded length are computed at
once: for four rows of 72 to 124 tokens, attention and its gradients take 11 to 26 % less processor time than
row by row (one core of a Xeon with AMX).

With PyTorch's attention alone, a tiny Qwen3 keeps 7 % more activations on a CPU and a Qwen3 mixture of
experts 13 % more; memory estimates ignore this difference.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import accumulate
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from packaging.version import Version

from lora_studio.engine.devices.devices import has_bfloat16_instructions
from lora_studio.engine.kernels import numerical_equivalence

#: Columns to add to queries and keys: three are needed, and an aligned size is faster.
_EXTRA = 16

#: Queries at a time; keys that none of them attends to are skipped.
QUERIES_PER_BLOCK = 256

#: Maximum number of scores at a time, for all heads: 8 MB in 16 bits. Longer rows compute fewer queries at a time.
_SCORES = 1 << 22

#: Number of scores up to which several rows are computed at once: 1 MB in 16 bits, which fit the CPU's cache.
_GROUP_SCORES = 1 << 19

#: Mean row length in tokens from which the products are faster: each row needs a few more calls than with
#: PyTorch's kernel, and 64 rows of 8 tokens take twice as long.
_MIN_TOKENS = 10

#: Largest relative difference from PyTorch's attention that counts as rounding.
_TOLERANCE = 2e-2

#: Whether PyTorch's kernel accepts fewer key heads than query heads, tested from 2.13 on; otherwise they are repeated.
_KERNEL_GROUPS_HEADS = Version(torch.__version__) >= Version("2.13")

#: Subtracted from the scores of padding queries: exp(−this) is 0.
_PADDING_OFFSET = 1e4


class _CausalAttention(torch.autograd.Function):
    """y_i = Σ_j≤i p_ij v_j with p_ij = exp(s q_i·k_j − l_i), l_i the logarithm of the sum of exp(s q_i·k_j).

    With g = dL/dy and d_i = g_i·y_i (Dao et al. 2022, appendix B.2): dv_j = Σ_i p_ij g_i,
    z_ij = p_ij (g_i·v_j − d_i), dq_i = s Σ_j z_ij k_j, dk_j = s Σ_i z_ij q_i.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        documents: Sequence[int],
        scale: float,
    ) -> torch.Tensor:
        """Return y [1, tokens, heads, size] for `query` [1, heads, tokens, size].

        `key` and `value` have as many heads or fewer, each for a group of neighboring query heads.
        """
        # PyTorch's own kernel, which also returns l; AttributeError in versions without it.
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        heads, count = query.shape[1], key.shape[1]
        layout = compute_layout(tuple(documents), heads, count)
        results = []
        for rows in layout.groups:
            q, k, v = (rows.gather(tensor) for tensor in (query, key, value))
            if not _KERNEL_GROUPS_HEADS:
                k, v = (tensor.repeat_interleave(heads // count, 1) for tensor in (k, v))
            both = kernel(q, k, v, 0.0, is_causal=True, scale=scale)
            results.append([each.transpose(1, 2).flatten(0, 1) for each in both])
        y, sums = (
            torch.cat(parts).index_select(0, layout.token_positions)
            for parts in zip(*results, strict=True)
        )
        ctx.save_for_backward(query, key, value, y := y[None], sums)
        ctx.documents, ctx.scale = documents, scale
        return y

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of queries, keys and values.

        The query heads that share keys are stacked in one matrix. The terms subtracted from each score,
        l_i and d_i, enter the product as three extra columns, so they are subtracted before the score is
        rounded to 16 bits: where p matters most, close to 1, it is then the exponential of almost 0.
        For the same reason s multiplies the product, not the queries: models with large biases have scores
        in the hundreds, and s q_i in 16 bits would make these wrong by more than 1.
        """
        (query, key, value, y, sums), scale = ctx.saved_tensors, ctx.scale
        layout = compute_layout(tuple(ctx.documents), query.shape[1], key.shape[1])
        d = outer[0][0].float().mul_(y[0]).sum(-1)
        vectors = (
            layout.extend_queries(query, sums / -scale, -_PADDING_OFFSET / scale),
            layout.extend_queries(outer[0].transpose(1, 2), -d),
            layout.extend_keys(key),
            layout.extend_keys(value),
        )
        query_grads, *key_grads = (
            query.new_empty(len(vectors[number]), query.shape[-1]) for number in (0, 2, 3)
        )
        # Allocated once: the system fills each new allocation with zeros.
        buffers = [query.new_empty(layout.most_scores) for _ in "pz"]
        for rows in layout.groups:
            rows.compute_gradients(vectors, query_grads, key_grads, buffers, scale)
        return (
            layout.restore(query_grads, layout.query_positions),
            *(layout.restore(grads, layout.key_positions) for grads in key_grads),
            None,
            None,
        )


@dataclass(frozen=True)
class _Block:
    """Queries of each row of a group that are computed at a time.

    `queries` are their positions in the layout; `offset` is the number of keys before the queries' own, and
    `keys` that up to the last of them.
    """

    queries: slice
    offset: int
    keys: int


@dataclass(frozen=True)
class _RowGroup:
    """Rows of one padded length, which are computed at once.

    `tokens` [rows, padded length] has the token at each position; padding repeats the row's last one.
    `keys` are positions in the layout, `key_heads` is the number of key heads.
    """

    tokens: torch.Tensor
    keys: slice
    key_heads: int
    blocks: list[_Block]

    def gather(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return vectors [1, heads, tokens, size] as [rows, heads, padded length, size]."""
        selected = vectors[0].transpose(0, 1).index_select(0, self.tokens.flatten())
        return selected.unflatten(0, self.tokens.shape).transpose(1, 2)

    def compute_gradients(
        self,
        vectors: Sequence[torch.Tensor],
        query_grads: torch.Tensor,
        key_grads: Sequence[torch.Tensor],
        buffers: Sequence[torch.Tensor],
        scale: float,
    ) -> None:
        """Write the gradients of the rows, [positions, size], into `query_grads` and `key_grads`.

        `vectors` are extended queries, their outer gradients, keys and values; `key_grads` are those of keys
        and values. `buffers` have room for the scores of a block.
        """
        queries, grads, *keys_and_values = vectors
        k, v, dk, dv = (self._split(each[self.keys]) for each in (*keys_and_values, *key_grads))
        is_summed, size = len(self.blocks) > 1, dk.shape[-1]
        sums = [torch.zeros_like(each, dtype=torch.float32) for each in (dk, dv) if is_summed]
        for block in self.blocks:
            q, g, dq = (self._split(each[block.queries]) for each in (queries, grads, query_grads))
            seen, shape = slice(block.keys), (len(q), q.shape[1], block.keys)
            p, z = (buffer[: math.prod(shape)].view(shape) for buffer in buffers)
            torch.baddbmm(p, q, k[:, seen].mT, beta=0, alpha=scale, out=p).exp_()
            p.unflatten(1, (-1, block.keys - block.offset))[..., block.offset :].tril_()
            torch.bmm(g, v[:, seen].mT, out=z).mul_(p)
            torch.baddbmm(dq, z, k[:, seen, :size], beta=0, alpha=scale, out=dq)
            if is_summed:
                sums[0][:, seen].add_(torch.bmm(z.mT, q[..., :size]), alpha=scale)
                sums[1][:, seen].add_(torch.bmm(p.mT, g[..., :size]))
            else:
                torch.baddbmm(dk, z.mT, q[..., :size], beta=0, alpha=scale, out=dk)
                torch.bmm(p.mT, g[..., :size], out=dv)
        for grad, total in zip((dk, dv), sums, strict=False):
            grad.copy_(total)

    def _split(self, positions: torch.Tensor) -> torch.Tensor:
        """Return the vectors of each row and key head, [rows × key heads, positions, columns]."""
        return positions.unflatten(0, (len(self.tokens) * self.key_heads, -1))


@dataclass(frozen=True)
class _Layout:
    """Where heads and tokens of packed rows are stored, so that each product reads adjacent vectors.

    `query_index` and `key_index` have for each position the index into [tokens, heads], and `column_index`
    into [tokens × heads + 1], whose last entry is that of padding. `query_positions`, `key_positions` and,
    for all heads of a token, `token_positions` are their inverses.
    """

    groups: list[_RowGroup]
    query_index: torch.Tensor
    column_index: torch.Tensor
    key_index: torch.Tensor
    query_positions: torch.Tensor
    key_positions: torch.Tensor
    token_positions: torch.Tensor

    @cached_property
    def most_scores(self) -> int:
        """Return the number of scores in the largest block, for all rows and heads."""
        blocks = [block for rows in self.groups for block in rows.blocks]
        return max((block.queries.stop - block.queries.start) * block.keys for block in blocks)

    def extend_queries(
        self, vectors: torch.Tensor, addend: torch.Tensor, padding: float = 0.0
    ) -> torch.Tensor:
        """Return vectors [1, heads, tokens, size] as [positions, size + extra columns].

        The extra columns hold `addend` [tokens, heads] in three parts; that of padding is `padding`.
        """
        columns = vectors.new_zeros(addend.numel() + 1, _EXTRA)
        columns[:-1, :3] = split_in_three(addend.flatten())
        columns[-1, 0] = padding
        selected = vectors[0].transpose(0, 1).flatten(0, 1).index_select(0, self.query_index)
        return torch.cat([selected, columns.index_select(0, self.column_index)], 1)

    def extend_keys(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return the same of keys or values, with ones that sum the three parts up in a product."""
        selected = vectors[0].transpose(0, 1).flatten(0, 1).index_select(0, self.key_index)
        size = selected.shape[1]
        extended = selected.new_zeros(len(selected), size + _EXTRA)
        extended[:, :size] = selected
        extended[:, size : size + 3] = 1
        return extended

    def restore(self, vectors: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Return [positions, size] as [1, heads, tokens, size]."""
        selected = vectors.index_select(0, positions)
        return selected.unflatten(0, (len(self.token_positions), -1)).transpose(0, 1)[None]


@lru_cache(maxsize=4)
def compute_layout(documents: tuple[int, ...], heads: int, key_heads: int) -> _Layout:
    """Return the layout of a micro-batch, which all layers share.

    Each row has positions of its own and is padded to a rounded length.
    """
    groups, tokens, queries, keys = [], _Index(), _Index(), _Index()
    head = torch.arange(heads).view(key_heads, -1, 1)
    key_head = torch.arange(key_heads).view(-1, 1)
    for padded, starts, lengths in _group_rows(documents, heads):
        start, length = torch.tensor(starts)[:, None], torch.tensor(lengths)[:, None]
        position = torch.arange(padded)
        row, padding = start + position.minimum(length - 1), position >= length
        tokens.add(row, padding)
        key_slice = keys.add(row[:, None] * key_heads + key_head, padding[:, None])
        blocks = []
        for offset in range(0, padded, size := _block_size(padded, heads)):
            part = slice(offset, offset + size)
            block = queries.add(
                row[:, None, None, part] * heads + head, padding[:, None, None, part]
            )
            blocks.append(_Block(block, offset, min(padded, offset + size)))
        groups.append(_RowGroup(row, key_slice, key_heads, blocks))
    count = sum(documents)
    return _Layout(
        groups, torch.cat(queries.parts), queries.mark_padding(count * heads), torch.cat(keys.parts),
        queries.invert(count * heads), keys.invert(count * key_heads), tokens.invert(count),
    )  # fmt: skip


class _Index:
    """What is at each position of the layout, as it grows."""

    def __init__(self) -> None:
        self.parts: list[torch.Tensor] = []
        self._padding: list[torch.Tensor] = []
        self._count = 0

    def add(self, part: torch.Tensor, padding: torch.Tensor) -> slice:
        """Append indices and whether each is padding, and return their positions."""
        self.parts.append(part.flatten())
        self._padding.append(padding.expand(part.shape).flatten())
        start, self._count = self._count, self._count + part.numel()
        return slice(start, self._count)

    def mark_padding(self, count: int) -> torch.Tensor:
        """Return the indices, those of padding replaced by `count`."""
        return torch.cat(self.parts).masked_fill(torch.cat(self._padding), count)

    def invert(self, count: int) -> torch.Tensor:
        """Return the position of each of the `count` indices."""
        index = self.mark_padding(count)
        positions = torch.empty(count + 1, dtype=torch.int64)
        positions[index] = torch.arange(len(index))
        return positions[:count]


def _group_rows(
    documents: tuple[int, ...], heads: int
) -> Iterator[tuple[int, list[int], list[int]]]:
    """Yield the padded length of each group of rows, and where its rows start and how long they are."""
    by_length: dict[int, list[int]] = {}
    for number, length in enumerate(documents):
        by_length.setdefault(_round_up(length), []).append(number)
    starts = [0, *accumulate(documents)]
    for padded, rows in by_length.items():
        most = max(1, _GROUP_SCORES // (heads * padded * min(padded, _block_size(padded, heads))))
        while rows:
            # Powers of 2, because oneDNN generates code for each new number of products.
            count = 1 << (min(most, len(rows)).bit_length() - 1)
            group, rows = rows[:count], rows[count:]
            yield padded, [starts[row] for row in group], [documents[row] for row in group]


def split_in_three(numbers: torch.Tensor) -> torch.Tensor:
    """Split 32-bit numbers into sums of three bfloat16, [..., 3]: exact except for the last bit or two."""
    first = numbers.bfloat16()
    second = (rest := numbers - first.float()).bfloat16()
    return torch.stack([first, second, (rest - second.float()).bfloat16()], -1)


def _round_up(tokens: int) -> int:
    """Round up to one of a few lengths, because oneDNN generates code for each new one."""
    step = 32 if tokens <= 128 else 64 if tokens <= 512 else 128
    return -(-tokens // step) * step


@lru_cache
def _block_size(tokens: int, heads: int) -> int:
    """Return the number of queries in a block of a row with this number of tokens."""
    queries = QUERIES_PER_BLOCK
    while queries > 32 and queries * tokens * heads > _SCORES:
        queries //= 2
    return queries


def causal_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    documents: Sequence[int],
    scaling: float | None,
) -> torch.Tensor:
    """Return causal attention within each packed row, [1, tokens, heads, size].

    `query` is [1, heads, tokens, size]; `documents` are the lengths of the rows in tokens.
    """
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return cast(torch.Tensor, _CausalAttention.apply(query, key, value, documents, scale))


def is_faster(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, documents: Sequence[int]
) -> bool:
    """Return whether `causal_attention` works for such heads and is faster for such rows.

    That needs bfloat16, on a CPU that multiplies it.
    """
    if query.device.type != "cpu" or not (
        sum(documents) >= _MIN_TOKENS * len(documents)
        and query.dtype == key.dtype == value.dtype == torch.bfloat16
        and query.shape[-1] == value.shape[-1]
        and query.shape[1] % key.shape[1] == 0
    ):
        return False
    return is_equal_to_pytorch(query.shape[1], key.shape[1], query.shape[-1])


@cache
def is_equal_to_pytorch(heads: int, keys: int, size: int) -> bool:
    """Return whether the gradients of a short row agree with PyTorch's attention."""
    if not has_bfloat16_instructions():
        return False

    def create(heads: int) -> torch.Tensor:
        numbers = torch.arange(heads * 9 * size)
        return (numbers * 0.7).sin().view(1, heads, 9, size).bfloat16().requires_grad_()

    inputs = create(heads), create(keys), create(keys)
    # Gradient checkpointing counts the tensors that a pass saves; exclude those of this test.
    uncounted = torch.autograd.graph.saved_tensors_hooks(lambda saved: saved, lambda saved: saved)

    def with_gradients(y: torch.Tensor) -> list[torch.Tensor]:
        return [y.detach(), *torch.autograd.grad(y.float().square().sum(), inputs)]

    def both() -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        # Training computes gradients without autocast, which may be on here.
        with torch.enable_grad(), uncounted, torch.autocast("cpu", enabled=False):
            expected = F.scaled_dot_product_attention(
                *inputs, is_causal=True, enable_gqa=heads != keys
            )
            return (
                with_gradients(causal_attention(*inputs, (9,), None)),
                with_gradients(expected.transpose(1, 2)),
            )

    return numerical_equivalence.compare_results(both, _TOLERANCE).agrees
