"""Attention for packed rows on a CPU, with a backward pass that uses large matrix products.

PyTorch's kernel computes the backward pass in small tiles, which takes a third of a 16-bit training and
is one to three times slower than the products below: with 9 query heads of 64 and 3 key heads, 128 tokens
take 1.3 ms there and 0.4 ms here, 500 take 8.6 and 2.7, 2000 take 64 and 35 (two cores of an EPYC with
16-bit products). The forward pass uses PyTorch's kernel, which is faster. A training
step of SmolLM2's shape is 1.04 to 1.18 times as fast in total. With PyTorch's attention alone, a tiny
Qwen3 keeps 7 % more activations on a CPU and a Qwen3 mixture of experts 13 % more; memory estimates
ignore this difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from lora_studio.engine.devices.devices import has_bfloat16_instructions
from lora_studio.engine.training.kernels import numerical_equivalence

#: Columns to add to queries and keys: three are needed, and an aligned size is faster.
_EXTRA = 16

#: Queries at a time; keys that none of them attends to are skipped.
QUERIES_PER_BLOCK = 256

#: Maximum number of scores at a time, for all heads: 8 MB in 16 bits. Longer rows compute fewer queries at a time.
_SCORES = 1 << 22

#: Mean row length in tokens from which the products are faster: each row needs a few more calls than with
#: PyTorch's kernel, and 64 rows of 8 tokens take twice as long.
_MIN_TOKENS = 10

#: Largest relative difference from PyTorch's attention that counts as rounding.
_TOLERANCE = 2e-2

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
        groups = query.shape[1] // key.shape[1]
        keys, values = (tensor.repeat_interleave(groups, 1) for tensor in (key, value))
        y = query.new_empty(1, query.shape[2], query.shape[1], query.shape[3])
        sums = query.new_empty(query.shape[1], query.shape[2], dtype=torch.float32)
        for q, k, v, out, log_sum in zip(
            *(tensor.split(documents, 2) for tensor in (query, keys, values)),
            y.split(documents, 1), sums.split(documents, 1), strict=True,
        ):  # fmt: skip
            attended, log_sums = kernel(q, k, v, 0.0, is_causal=True, scale=scale)
            out.copy_(attended.transpose(1, 2))
            log_sum.copy_(log_sums[0])
        ctx.save_for_backward(query, key, value, y, sums)
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
        (heads, _, size), count = query.shape[1:], key.shape[1]
        layout = _layout(tuple(ctx.documents), heads, count)
        d = torch.linalg.vecdot(outer[0][0].float(), y[0].float())
        queries = layout.gather(
            _add_columns(query, -sums.t() / scale, _PADDING_OFFSET / scale), layout.query_index
        )
        grads = layout.gather(_add_columns(outer[0].transpose(1, 2), -d), layout.query_index)
        keys, values = (
            layout.gather(_add_columns(tensor), layout.key_index) for tensor in (key, value)
        )
        d_query = queries.new_empty(count, queries.shape[1], size)
        sum_dtype = torch.float32 if layout.sums_key_gradients else keys.dtype
        d_key, d_value = (keys.new_zeros(*keys.shape[:2], size, dtype=sum_dtype) for _ in "kv")
        # Allocated once: the system fills each new allocation with zeros.
        buffers = [queries.new_empty(layout.most_scores) for _ in "pz"]
        for block in layout.blocks:
            q, g = queries[:, block.queries], grads[:, block.queries]
            k, v = keys[:, block.keys], values[:, block.keys]
            shape = count, q.shape[1], k.shape[1]
            p, z = (tensor[: math.prod(shape)].view(shape) for tensor in buffers)
            torch.baddbmm(p, q, k.mT, beta=0, alpha=scale, out=p).exp_()
            p.unflatten(1, (heads // count, -1))[..., block.offset :].tril_()
            torch.bmm(g, v.mT, out=z).mul_(p)
            d_query[:, block.queries] = torch.bmm(z, k[..., :size])
            d_key[:, block.keys] += torch.bmm(z.mT, q[..., :size])
            d_value[:, block.keys] += torch.bmm(p.mT, g[..., :size])
        d_query = layout.restore(d_query, layout.query_positions).mul_(scale)
        d_key = layout.restore(d_key, layout.key_positions).mul_(scale).to(key.dtype)
        d_value = layout.restore(d_value, layout.key_positions).to(value.dtype)
        return d_query, d_key, d_value, None, None


def _add_columns(
    vectors: torch.Tensor, addend: torch.Tensor | None = None, padding_offset: float = 0.0
) -> torch.Tensor:
    """Return vectors [1, heads, tokens, size] as [tokens + 1, heads, size + extra columns].

    The extra columns hold `addend` [tokens, heads] in three parts or, without it, the ones that sum the
    parts up in a product. The last token is padding; `padding_offset` is subtracted from its scores.
    """
    _, heads, tokens, size = vectors.shape
    extended = vectors.new_zeros(tokens + 1, heads, size + _EXTRA)
    extended[:-1, :, :size] = vectors[0].transpose(0, 1)
    extended[:-1, :, size : size + 3] = 1 if addend is None else split_in_three(addend)
    extended[-1, :, size] = -padding_offset
    return extended


@dataclass(frozen=True)
class _Block:
    """Queries of one row that are computed at a time, and the row's keys up to the last of them.

    The slices are positions in the layout. `offset` is the number of keys before the queries' own.
    """

    queries: slice
    keys: slice
    offset: int


@dataclass(frozen=True)
class _Layout:
    """Where heads and tokens of packed rows are stored, so that each product reads adjacent rows.

    `query_index` and `key_index` have for each position the index into [tokens + 1, heads];
    `query_positions` and `key_positions` are their inverses. `key_heads` is the number of key heads.
    """

    blocks: list[_Block]
    key_heads: int
    query_index: torch.Tensor
    key_index: torch.Tensor
    query_positions: torch.Tensor
    key_positions: torch.Tensor

    @property
    def sums_key_gradients(self) -> bool:
        """Return whether the gradients of keys are sums over blocks."""
        return any(block.offset for block in self.blocks)

    @cached_property
    def most_scores(self) -> int:
        """Return the number of scores in the largest block, for all heads."""
        sizes = (_length(block.queries) * _length(block.keys) for block in self.blocks)
        return self.key_heads * max(sizes)

    def gather(self, vectors: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """Return [tokens + 1, heads, columns] as [key heads, positions, columns]."""
        return vectors.flatten(0, 1).index_select(0, index).unflatten(0, (self.key_heads, -1))

    def restore(self, vectors: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Return [key heads, positions, columns] as [1, heads, tokens, columns]."""
        tokens = len(self.key_positions) // self.key_heads
        selected = vectors.flatten(0, 1).index_select(0, positions)
        return selected.unflatten(0, (tokens, -1)).transpose(0, 1)[None]


@lru_cache(maxsize=4)
def _layout(documents: tuple[int, ...], heads: int, key_heads: int) -> _Layout:
    """Return the layout of a micro-batch, which all layers share.

    Each row has positions of its own and is padded to a rounded length.
    """
    groups, tokens = heads // key_heads, sum(documents)
    padding, first, blocks = tokens, 0, []
    query_tokens, query_groups, key_tokens = [], [], []
    query_count = key_count = 0
    for length in documents:
        padded = _round_up(length)
        row = torch.arange(first, first + padded)
        row[length:] = padding
        key_tokens.append(row)
        for offset in range(0, padded, block_size := _block_size(padded, heads)):
            block_tokens = row[offset : offset + block_size]
            query_tokens.append(block_tokens.repeat(groups))
            query_groups.append(torch.arange(groups).repeat_interleave(len(block_tokens)))
            queries = slice(query_count, query_count := query_count + groups * len(block_tokens))
            keys = slice(key_count, key_count + offset + len(block_tokens))
            blocks.append(_Block(queries, keys, offset))
        first, key_count = first + length, key_count + padded
    query_token, group, key_token = (
        torch.cat(parts) for parts in (query_tokens, query_groups, key_tokens)
    )
    key_head = torch.arange(key_heads)[:, None]
    query_index = (query_token * heads + key_head * groups + group).flatten()
    key_index = (key_token * key_heads + key_head).flatten()
    return _Layout(
        blocks, key_heads, query_index, key_index,
        _inverse(query_index, tokens * heads), _inverse(key_index, tokens * key_heads),
    )  # fmt: skip


def _length(positions: slice) -> int:
    return int(positions.stop - positions.start)


def _inverse(index: torch.Tensor, count: int) -> torch.Tensor:
    """Return the position of each of the first `count` entries."""
    positions = torch.empty(int(index.max()) + 1, dtype=torch.int64)
    positions[index] = torch.arange(len(index))
    return positions[:count]


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
