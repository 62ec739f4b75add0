"""The arithmetic of the merge: what an adapter changes in one weight, in blocks of rows.

Each formula computes in the same data types and the same order as PEFT's merge, so that the result
is equal bit for bit. A block is small enough to stay in the processor's cache, which makes this ten
times faster than the same operations on a whole tensor.
"""

from __future__ import annotations

import functools
import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch

from lora_studio.engine.model.safetensors_files import StoredTensor

#: Changes a block, the rows `first` to `last` of the weight, and returns it in its data type.
Apply = Callable[[torch.Tensor, int, int], torch.Tensor]

#: Values in a block: two 32-bit copies of it fit into the second-level cache of one core.
BLOCK = 1 << 17

#: Minimum number of rows in a block. For fewer, the BLAS uses other kernels, which sum in another
#: order.
_FEWEST_ROWS = 64


class WeightDelta(ABC):
    """A change of one weight."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the weights that it fits."""

    @property
    def rank(self) -> int:
        """Return the rank of B·A, 0 without one."""
        return 0

    @property
    def whole(self) -> bool:
        """Return whether it needs the weight in one piece."""
        return False

    @abstractmethod
    def load(self) -> Apply:
        """Read the factors; return a function that several threads may call at once."""


@dataclass(frozen=True)
class LowRankFactor:
    """One half of B·A, or the part of it that belongs to one of several experts.

    PEFT stacks the experts of a layer: A is [experts · rank, in], B is [out, rank · experts] with
    the expert as the fastest index (peft/tuners/lora/layer.py, ParamWrapper.get_delta_weight).
    `first` and `last` bound the rows of B that are used.
    """

    stored: StoredTensor
    is_a: bool
    experts: int = 1
    expert: int = 0
    first: int = 0
    last: int | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Return the shape of the part."""
        rows, columns = self.stored.shape
        if self.is_a:
            return rows // self.experts, columns
        return (rows if self.last is None else self.last) - self.first, columns // self.experts

    def read(self) -> torch.Tensor:
        """Return the part in 32 bits, as PEFT holds an adapter."""
        if self.is_a:
            rank = self.stored.shape[0] // self.experts
            return self.stored.read_rows(self.expert * rank, (self.expert + 1) * rank).float()
        weights = _to_32_bits(self.stored) if self.experts > 1 else self.stored.read().float()
        part = weights[self.first : self.last]
        if self.experts > 1:
            part = part.reshape(len(part), -1, self.experts)[:, :, self.expert].contiguous()
        return part


@functools.lru_cache(maxsize=2)
def _to_32_bits(stored: StoredTensor) -> torch.Tensor:
    """Return the B of all experts of a layer, which are contiguous in a model's files."""
    return stored.read().float()


@dataclass(frozen=True)
class LowRankDelta(WeightDelta):
    """W' = W + scale · B·A; A is [rank, in], B is [out, rank].

    `transposed`: the weight is stored [in, out] and gets (B·A)ᵀ. `rounded`: the update is brought
    into the weight's data type before it is added, as PEFT does for embeddings and bare parameters.
    """

    a: LowRankFactor
    b: LowRankFactor
    scale: float
    transposed: bool = False
    rounded: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Return [out, in] of the layer, as stored."""
        shape = (self.b.shape[0], self.a.shape[1])
        return shape[::-1] if self.transposed else shape

    @property
    def rank(self) -> int:
        """Return the number of rows of A."""
        return self.a.shape[0]

    def load(self) -> Apply:
        """Read both factors into memory."""
        a, b = self.a.read(), self.b.read()

        def apply(block: torch.Tensor, first: int, last: int) -> torch.Tensor:
            delta = self.compute_delta(a, b, first, last)
            if self.rounded:
                block += delta.to(block.dtype)
                return block
            if block.dtype == torch.float32:
                block += delta
                return block
            # Add in 32 bits and round once: the result of adding 32 bits to 16 in place, but faster.
            total = _get_scratch_memory("sum", block.shape).copy_(block).add_(delta)
            return block.copy_(total)

        return apply

    def compute_delta(
        self, a: torch.Tensor, b: torch.Tensor, first: int, last: int
    ) -> torch.Tensor:
        """Return rows `first` to `last` of the update, in 32 bits.

        The result is valid until the thread's next call.
        """
        if self.transposed:
            out = _get_scratch_memory("product", (len(b), last - first))
            return torch.mm(b, a[:, first:last], out=out).mul_(self.scale).t()
        out = _get_scratch_memory("product", (last - first, a.shape[1]))
        return torch.mm(b[first:last], a, out=out).mul_(self.scale)


@dataclass(frozen=True)
class DoraDelta(WeightDelta):
    """W' = m / ‖W + ΔW‖ · (W + ΔW), norms over each output's inputs (Liu et al. 2024, DoRA).

    ΔW is that of `low_rank`, `magnitude` is m [out].
    """

    low_rank: LowRankDelta
    magnitude: StoredTensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the low-rank update."""
        return self.low_rank.shape

    @property
    def rank(self) -> int:
        """Return the rank of the low-rank update."""
        return self.low_rank.rank

    @property
    def whole(self) -> bool:
        """Return whether the weight is stored [in, out]: the norm of a column needs every row."""
        return self.low_rank.transposed

    def load(self) -> Apply:
        """Read both factors and the magnitudes."""
        a, b = self.low_rank.a.read(), self.low_rank.b.read()
        magnitude = self.magnitude.read().float().view(-1)

        def apply(block: torch.Tensor, first: int, last: int) -> torch.Tensor:
            changed = block + self.low_rank.compute_delta(a, b, first, last)
            norm = torch.linalg.norm(changed, dim=1).to(changed.dtype)
            return block.copy_((magnitude[first:last] / norm).view(-1, 1) * changed)

        def apply_to_columns(block: torch.Tensor, _first: int, _last: int) -> torch.Tensor:
            outputs = block.shape[1]
            step = count_block_rows(outputs, block.shape[0])
            for begin, end in split_range(outputs, step):
                delta = torch.mm(b[begin:end], a).mul_(self.low_rank.scale)
                part = block[:, begin:end]
                norm = torch.linalg.norm(part.t() + delta, dim=1).to(delta.dtype)
                part.copy_((magnitude[begin:end] / norm).view(1, -1) * (part + delta.t()))
            return block

        return apply_to_columns if self.whole else apply


@dataclass(frozen=True)
class StackedDelta(WeightDelta):
    """Updates of all experts of a layer whose weights are one tensor [experts, …]."""

    parts: tuple[LowRankDelta, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Return [experts, …]."""
        return (len(self.parts), *self.parts[0].shape)

    @property
    def rank(self) -> int:
        """Return the rank of one expert."""
        return self.parts[0].rank

    def load(self) -> Apply:
        """Return a function that reads each expert's factors when they are needed."""

        def apply(block: torch.Tensor, first: int, last: int) -> torch.Tensor:
            for index, expert in enumerate(range(first, last)):
                change = self.parts[expert].load()
                rows, columns = block.shape[1:]
                for begin, end in split_range(rows, count_block_rows(rows, columns)):
                    change(block[index, begin:end], begin, end)
            return block

        return apply


@dataclass(frozen=True)
class BiasDelta(WeightDelta):
    """b' = b + scale · the bias of the adapter's B (`lora_bias`)."""

    bias: StoredTensor
    scale: float

    @property
    def shape(self) -> tuple[int, ...]:
        """Return [out]."""
        return self.bias.shape

    def load(self) -> Apply:
        """Read the adapter's bias."""
        bias = self.bias.read().float() * self.scale

        def apply(block: torch.Tensor, first: int, last: int) -> torch.Tensor:
            block += bias[first:last]
            return block

        return apply


@dataclass(frozen=True)
class RowsDelta(WeightDelta):
    """Rows of new tokens that replace those of a weight [length, width]."""

    indices: tuple[int, ...]
    stored: StoredTensor
    length: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Return [length, width]."""
        return (self.length, self.stored.shape[1])

    def load(self) -> Apply:
        """Read the rows into memory."""
        rows, indices = self.stored.read(), torch.tensor(self.indices)

        def apply(block: torch.Tensor, first: int, last: int) -> torch.Tensor:
            inside = (indices >= first) & (indices < last)
            block[indices[inside] - first] = rows[inside].to(block.dtype)
            return block

        return apply


def count_block_rows(rows: int, columns: int) -> int:
    """Return how many rows to change at once.

    Few enough for the cache, and a multiple of what the BLAS computes at once. A small weight is
    one block.
    """
    fitting = BLOCK // max(columns, 1) // _FEWEST_ROWS * _FEWEST_ROWS
    return min(rows, max(fitting, _FEWEST_ROWS)) or 1


def split_range(length: int, step: int) -> list[tuple[int, int]]:
    """Return consecutive ranges of `step`; the last one also covers the remainder."""
    begins = list(range(0, max(length - step, 0) + 1, step)) if length else []
    return [
        (begin, begins[index + 1] if index + 1 < len(begins) else length)
        for index, begin in enumerate(begins)
    ]


_threads = threading.local()


def _get_scratch_memory(name: str, shape: tuple[int, ...] | torch.Size) -> torch.Tensor:
    """Return 32-bit memory of this thread, reused for every block.

    Fresh pages cost more than the arithmetic on them.
    """
    needed = math.prod(shape)
    scratch = getattr(_threads, name, None)
    if scratch is None or scratch.numel() < needed:
        scratch = torch.empty(max(needed, 4 * BLOCK))
        setattr(_threads, name, scratch)
    return scratch[:needed].view(shape)
