"""Attention of packed rows on a CPU, with a backward pass of whole-matrix products.

PyTorch's kernel computes the backward pass in small tiles, which takes a third of a 16-bit training and
is one to three times slower than the products below: with 9 query heads of 64 and 3 key heads, 128 tokens
take 1.3 ms there and 0.4 ms here, 500 take 8.6 and 2.7, 2000 take 64 and 35 (two cores of an EPYC with
16-bit products). The forward pass uses PyTorch's kernel, which is faster.
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

#: Columns to add to queries and keys: three are used, and a round number is faster.
_EXTRA = 16

#: Queries at a time; keys that none of them attends to are skipped.
_QUERIES = 256

#: Most scores at a time, for all heads: 8 MB in 16 bits. Longer rows compute fewer queries at a time.
_SCORES = 1 << 22

#: Mean tokens of a row from which the products are faster: each row needs some more calls than PyTorch's
#: kernel, and 64 rows of 8 tokens take twice as long.
_MIN_TOKENS = 10

#: Largest relative difference from PyTorch's attention that counts as rounding.
_TOLERANCE = 2e-2

#: Subtracted from the scores of padding queries: exp(−this) is 0.
_PADDING_OFFSET = 1e4


class _Attended(torch.autograd.Function):
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
        """`query` [1, heads, tokens, size], `key` and `value` with as many heads or fewer, each for
        neighbours; the result is [1, tokens, heads, size]."""
        # PyTorch's own kernel, which tells the sums as well; AttributeError where it has none.
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        groups = query.shape[1] // key.shape[1]
        keys, values = (each.repeat_interleave(groups, 1) for each in (key, value))
        y = query.new_empty(1, query.shape[2], query.shape[1], query.shape[3])
        sums = query.new_empty(query.shape[1], query.shape[2], dtype=torch.float32)
        for q, k, v, out, total in zip(
            *(each.split(documents, 2) for each in (query, keys, values)),
            y.split(documents, 1), sums.split(documents, 1), strict=True,
        ):  # fmt: skip
            found, found_total = kernel(q, k, v, 0.0, is_causal=True, scale=scale)
            out.copy_(found.transpose(1, 2))
            total.copy_(found_total[0])
        ctx.save_for_backward(query, key, value, y, sums)
        ctx.documents, ctx.scale = documents, scale
        return y

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The gradients of queries, keys and values.

        The heads that share keys lie one below the other in one matrix. What is taken off each score, l_i
        and d_i, comes in as three more columns, so that it is off before the score is rounded to 16 bits:
        what matters most of p, where it is close to 1, is then the exponential of almost 0. For the same
        reason s is a factor of the product, not of queries: models with large biases have scores of
        hundreds, and s q_i in 16 bits would make these wrong by more than 1.
        """
        query, key, value, y, sums = ctx.saved_tensors
        (heads, _, size), count = query.shape[1:], key.shape[1]
        plan = _plan(tuple(ctx.documents), heads, count)
        less = torch.linalg.vecdot(outer[0][0].float(), y[0].float())
        scale = ctx.scale
        queries = plan.laid_out(
            _widened(query, -sums.t() / scale, _PADDING_OFFSET / scale), plan.queries
        )
        grads = plan.laid_out(_widened(outer[0].transpose(1, 2), -less), plan.queries)
        keys, values = (plan.laid_out(_widened(each), plan.keys) for each in (key, value))
        d_query = queries.new_empty(count, queries.shape[1], size)
        exact = torch.float32 if plan.adds_up else keys.dtype
        d_key, d_value = (keys.new_zeros(*keys.shape[:2], size, dtype=exact) for _ in "kv")
        # Memory that is there already: a new piece is filled with zeros by the system first.
        room = [queries.new_empty(plan.most_scores) for _ in "pz"]
        for part in plan.parts:
            q, g = queries[:, part.queries], grads[:, part.queries]
            k, v = keys[:, part.keys], values[:, part.keys]
            shape = count, q.shape[1], k.shape[1]
            p, z = (each[: math.prod(shape)].view(shape) for each in room)
            torch.baddbmm(p, q, k.mT, beta=0, alpha=scale, out=p).exp_()
            p.unflatten(1, (heads // count, -1))[..., part.begin :].tril_()
            torch.bmm(g, v.mT, out=z).mul_(p)
            d_query[:, part.queries] = torch.bmm(z, k[..., :size])
            d_key[:, part.keys] += torch.bmm(z.mT, q[..., :size])
            d_value[:, part.keys] += torch.bmm(p.mT, g[..., :size])
        return (
            plan.taken_back(d_query, plan.query_places).mul_(scale),
            plan.taken_back(d_key, plan.key_places).mul_(scale).to(key.dtype),
            plan.taken_back(d_value, plan.key_places).to(value.dtype),
            None,
            None,
        )


def _widened(
    rows: torch.Tensor, less: torch.Tensor | None = None, nobody: float = 0.0
) -> torch.Tensor:
    """Rows of [1, heads, tokens, size] with more columns, [tokens + 1, heads, size + more]: `less`
    [tokens, heads] in three parts, or ones that add these up. The last token stands for none, `nobody`
    is taken off its scores."""
    _, heads, tokens, size = rows.shape
    wide = rows.new_zeros(tokens + 1, heads, size + _EXTRA)
    wide[:-1, :, :size] = rows[0].transpose(0, 1)
    wide[:-1, :, size : size + 3] = 1 if less is None else _in_three(less)
    wide[-1, :, size] = -nobody
    return wide


@dataclass(frozen=True)
class _Part:
    """Queries of one row that are treated at a time, and the keys of the row up to the last of them:
    places in what is laid out. `begin` is the first of the queries' own keys."""

    queries: slice
    keys: slice
    begin: int


@dataclass(frozen=True)
class _Plan:
    """Where heads and tokens of packed rows lie, so that a product takes what lies side by side.

    `queries` and `keys` say which of [tokens + 1, heads] is at each place, the other two at which place
    each is.
    """

    parts: list[_Part]
    heads: int
    queries: torch.Tensor
    keys: torch.Tensor
    query_places: torch.Tensor
    key_places: torch.Tensor

    @property
    def adds_up(self) -> bool:
        """Whether the gradients of keys are sums over parts."""
        return any(part.begin for part in self.parts)

    @cached_property
    def most_scores(self) -> int:
        """The most scores of a part, for all heads."""
        return self.heads * max(_size(part.queries) * _size(part.keys) for part in self.parts)

    def laid_out(self, rows: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
        """[tokens + 1, any heads, columns] -> [heads of keys, places, columns]."""
        return rows.flatten(0, 1).index_select(0, which).unflatten(0, (self.heads, -1))

    def taken_back(self, rows: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """[heads of keys, places, columns] -> [1, any heads, tokens, columns]."""
        tokens = len(self.key_places) // self.heads
        found = rows.flatten(0, 1).index_select(0, places)
        return found.unflatten(0, (tokens, -1)).transpose(0, 1)[None]


@lru_cache(maxsize=4)
def _plan(documents: tuple[int, ...], heads: int, keys: int) -> _Plan:
    """The plan of a micro-batch, which all layers share.

    Each row begins at a place of its own and is rounded up by tokens that are none.
    """
    groups, tokens = heads // keys, sum(documents)
    nobody, first, parts = tokens, 0, []
    query_tokens, query_groups, key_tokens = [], [], []
    places = used = 0
    for length in documents:
        wide = _rounded(length)
        row = torch.arange(first, first + wide)
        row[length:] = nobody
        key_tokens.append(row)
        for begin in range(0, wide, at_once := _at_once(wide, heads)):
            own = row[begin : begin + at_once]
            query_tokens.append(own.repeat(groups))
            query_groups.append(torch.arange(groups).repeat_interleave(len(own)))
            queries = slice(places, places := places + groups * len(own))
            parts.append(_Part(queries, slice(used, used + begin + len(own)), begin))
        first, used = first + length, used + wide
    of_token, of_group, of_key = (torch.cat(x) for x in (query_tokens, query_groups, key_tokens))
    each = torch.arange(keys)[:, None]
    queries_at = (of_token * heads + each * groups + of_group).flatten()
    keys_at = (of_key * keys + each).flatten()
    return _Plan(
        parts, keys, queries_at, keys_at, _inverted(queries_at, tokens * heads),
        _inverted(keys_at, tokens * keys),
    )  # fmt: skip


def _size(places: slice) -> int:
    return int(places.stop - places.start)


def _inverted(which: torch.Tensor, count: int) -> torch.Tensor:
    """At which place each of the first `count` is."""
    found = torch.empty(int(which.max()) + 1, dtype=torch.int64)
    found[which] = torch.arange(len(which))
    return found[:count]


def _in_three(numbers: torch.Tensor) -> torch.Tensor:
    """32-bit numbers as sums of three of 16 bits, [..., 3]: exact but for the last bit or two."""
    first = numbers.bfloat16()
    second = (rest := numbers - first.float()).bfloat16()
    return torch.stack([first, second, (rest - second.float()).bfloat16()], -1)


def _rounded(tokens: int) -> int:
    """So many or a few more: each new number costs oneDNN the making of its code."""
    step = 32 if tokens <= 128 else 64 if tokens <= 512 else 128
    return -(-tokens // step) * step


@lru_cache
def _at_once(tokens: int, heads: int) -> int:
    queries = _QUERIES
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
    return cast(torch.Tensor, _Attended.apply(query, key, value, documents, scale))


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
    return _is_equal(query.shape[1], key.shape[1], query.shape[-1])


@cache
def _is_equal(heads: int, keys: int, size: int) -> bool:
    """Return whether the gradients of a short row agree with PyTorch's attention."""
    if not has_bfloat16_instructions():
        return False

    def create(heads: int) -> torch.Tensor:
        numbers = torch.arange(heads * 9 * size)
        return (numbers * 0.7).sin().view(1, heads, 9, size).bfloat16().requires_grad_()

    inputs = create(heads), create(keys), create(keys)
    # Gradient checkpointing counts what a pass saves; this test isn't part of it.
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
