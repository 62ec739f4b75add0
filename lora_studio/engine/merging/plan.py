"""Plan a merge before reading any tensor: where each one comes from and what changes it."""

from __future__ import annotations

import functools
import math
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from lora_studio.core import limits
from lora_studio.core.lora.adapters import CLASSIFIES
from lora_studio.core.messages import Template, Text, text
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.system.foreign_files import read_json
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.lora.adapter_files import Adapter, Layer, TrainedRows
from lora_studio.engine.model import safetensors_files
from lora_studio.engine.model.safetensors_files import PlannedFile, StoredTensor

# The arithmetic of the merge: what an adapter changes in one weight, in blocks of rows.
#
# Each formula computes in the same data types and the same order as PEFT's merge, so that the result
# is equal bit for bit. A block is small enough to stay in the processor's cache, which makes this ten
# times faster than the same operations on a whole tensor.

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


class WeightSource(Protocol):
    """A tensor that can be read in rows: as stored, or dequantized from packed values."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def floating(self) -> bool: ...
    @property
    def length(self) -> int: ...
    def read_rows(self, first: int, last: int) -> torch.Tensor: ...


@dataclass(frozen=True)
class GrownTensor:
    """A weight with more rows than it is stored with; the additional ones are zero until updated."""

    stored: WeightSource
    length: int

    @property
    def name(self) -> str:
        """Return the name of the stored tensor."""
        return self.stored.name

    @property
    def dtype(self) -> str:
        """Return the data type of the stored tensor."""
        return self.stored.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape with all rows."""
        return (self.length, *self.stored.shape[1:])

    @property
    def floating(self) -> bool:
        """Return whether it holds floating-point numbers."""
        return self.stored.floating

    def read_rows(self, first: int, last: int) -> torch.Tensor:
        """Return the rows from `first` to before `last`."""
        known = min(self.stored.length, last)
        if first >= known:
            return torch.zeros_like(self.stored.read_rows(0, 1)).repeat(last - first, 1)
        rows = self.stored.read_rows(first, known)
        return torch.cat([rows, rows.new_zeros(last - known, *rows.shape[1:])])


HEAD = "lm_head.weight"
#: Most tensors that a message names.
_NAMED = 3

#: Names of the embedding in families where it shares one tensor with the head.
_EMBEDDING = re.compile(r"(.*\.)?(embed_tokens|wte|word_embeddings)\.weight")
#: Other names of the head; such heads aren't tied to the embedding.
_OTHER_HEAD = re.compile(r".+\.lm_head\.weight|(.*\.)?(embed_out|output)\.weight")

#: Parameters that hold all experts of a layer in memory, and the names of their parts on disk, in
#: their order along the outputs.
_EXPERT_PARTS = {
    "gate_up_proj": (("gate_proj", "up_proj"), ("w1", "w3")),
    "down_proj": (("down_proj",), ("w2",)),
}
#: Other names of the module that holds the experts.
_EXPERT_MODULES = ((".mlp.", ".block_sparse_moe."), (".mlp.", ".feed_forward."))


class NeedsPeftError(Exception):
    """The merge can't be done tensor by tensor; `reason` says why."""

    def __init__(self, reason: Template | Text) -> None:
        """Use the reason as the message."""
        super().__init__(str(reason))
        self.reason = Text.model_validate(reason)


@dataclass(frozen=True)
class MergedTensor:
    """One tensor of the merged model: its source, and the changes applied to it, in that order."""

    name: str
    source: WeightSource
    dtype: torch.dtype
    updates: tuple[WeightDelta, ...] = ()
    replaced: bool = False

    @property
    def changed(self) -> bool:
        """Return whether it differs from the base model's tensor."""
        return bool(self.updates) or self.replaced

    @property
    def copied(self) -> bool:
        """Return whether its bytes are those of its source."""
        return (
            not self.updates
            and isinstance(self.source, StoredTensor)
            and self.source.dtype == self.planned.dtype
        )

    @property
    def planned(self) -> PlannedFile:
        """Return the tensor as it will be in the file."""
        return PlannedFile(
            self.name, safetensors_files.get_format_name(self.dtype), self.source.shape
        )


def make_outputs(
    tensors: dict[str, WeightSource],
    merged: Sequence[Adapter],
    dtype: torch.dtype | None,
    settings: dict[str, Any],
) -> list[MergedTensor]:
    """Return every tensor of the merged model in the order of the base's files.

    Floating-point tensors are converted to `dtype`, or keep their own type if it is None;
    `settings` are those of the base model. Each tensor of an adapter is used exactly once. Raises
    NeedsPeftError or ProblemError.
    """
    sources = add_head(tensors, merged)
    _require_mergeable(merged, sources)
    new = _find_replacements(sources, merged)
    updates = _plan_updates(sources, merged, settings)
    _untie(sources, new, updates, merged)
    sources.update(new)
    for adapter in merged:
        rows = {_get_stored_name(f"{name}.weight", sources): r for name, r in adapter.rows.items()}
        if HEAD in rows and HEAD not in sources:
            raise NeedsPeftError(text("its head has rows of its own, and shares the model's"))
        for name, delta in plan_rows(adapter, rows, sources, settings).items():
            updates.setdefault(name, []).append((adapter, delta))
    for name, source in sources.items():
        for adapter, update in updates.get(name, ()):
            _check(adapter, name, source, update.shape)
    return [
        MergedTensor(
            name,
            source,
            dtype
            if dtype is not None and source.floating
            else _get_stored_type(name, source, tensors),
            tuple(update for _, update in updates.get(name, ())),
            name in new,
        )
        for name, source in sources.items()
        if not is_dropped(name, merged)
    ]


def _get_stored_type(
    name: str, source: WeightSource, tensors: dict[str, WeightSource]
) -> torch.dtype:
    """Return the type that a tensor has in the base model; a head that it doesn't have, of that for tokens."""
    original = tensors.get(name, tensors.get(find_tied_embedding(tensors) or HEAD))
    return safetensors_files.DTYPES[(original or source).dtype]


def _require_mergeable(merged: Sequence[Adapter], tensors: dict[str, WeightSource]) -> None:
    """Raise ProblemError if the base lacks a weight, NeedsPeftError if only PEFT can merge these."""
    require_one_vocabulary(merged)
    for adapter in merged:
        if missing := adapter_files.find_missing_weights(adapter, tensors):
            raise fail(
                "merging.missing_weights",
                "The adapter in {folder} is incomplete: it lacks {tensors}, which its settings list as trained in "
                "full.",
                "Copy or download the adapter again. If it was never complete, ask its author for the missing weights.",
                where=Where(step="merging", file=str(adapter.folder)),
                folder=str(adapter.folder),
                tensors=", ".join(missing[:_NAMED]) + (" …" if len(missing) > _NAMED else ""),
            )
        if adapter.complication:
            raise NeedsPeftError(adapter.complication)
    if len(merged) > 1 and any(layer.magnitude for other in merged for layer in other.layers):
        raise NeedsPeftError(text("several adapters are merged and one of them is a DoRA adapter"))


def _find_replacements(
    sources: dict[str, WeightSource], merged: Sequence[Adapter]
) -> dict[str, StoredTensor]:
    """Return tensors that an adapter replaces completely, by their name in the base's files."""
    replacements: dict[str, StoredTensor] = {}
    for adapter in merged:
        for name, stored in adapter.replacements.items():
            target = _get_stored_name(name, sources)
            if target in replacements and not is_equal(replacements[target], stored):
                raise fail(
                    "merging.two_wholes",
                    "Two of the adapters trained {tensor} in full, and a model can have only one.",
                    "Merge only one of them.",
                    where=Where(step="merging", file=str(adapter.folder)),
                    tensor=name,
                )
            if adapter.weight != 1.0 and name in adapter.trained_whole:
                raise fail(
                    "merging.weighted_whole",
                    "The adapter trained {tensor} in full, which can't be weighted.",
                    "Set this adapter's weight to 1.",
                    where=Where(step="merging", file=str(adapter.folder)),
                    tensor=name,
                )
            embedding = find_tied_embedding(sources)
            original = sources.get(target, sources.get(embedding))
            # If the vocabulary grew for training, the stored tensor has more rows.
            has_grown = original is not None and original.shape[1:] == stored.shape[1:]
            has_grown = has_grown and target in (HEAD, embedding)
            if original is not None and not has_grown:
                _check(adapter, name, original, stored.shape)
            replacements[target] = stored
    return replacements


def _untie(
    sources: dict[str, WeightSource],
    new: dict[str, StoredTensor],
    updates: dict[str, list[tuple[Adapter, WeightDelta]]],
    merged: Sequence[Adapter],
) -> None:
    """Give the model its own head where head and embedding were one tensor and no longer are.

    PEFT's merge would write the update of one into both, which is not what was trained.
    """
    name = find_tied_embedding(sources)
    if HEAD in sources or not name:
        return
    ends = (HEAD, name)
    is_replaced = any(
        _get_stored_name(n, sources) in ends for adapter in merged for n in adapter.trained_whole
    )
    embedding, head = new.get(name), new.get(HEAD)
    is_untied = bool({*ends} & updates.keys())
    if head is None and embedding is not None and is_replaced:
        is_untied = True
    elif head is not None and not (embedding is not None and is_equal(head, embedding)):
        is_untied = is_untied or not is_equal(head, sources[name])
    if is_untied:
        sources[HEAD] = head or (sources[name] if is_replaced else embedding or sources[name])
    else:
        new.pop(HEAD, None)


def _plan_updates(
    sources: dict[str, WeightSource], merged: Sequence[Adapter], settings: dict[str, Any]
) -> dict[str, list[tuple[Adapter, WeightDelta]]]:
    """Return what changes each tensor, in the order of the adapters."""
    updates: dict[str, list[tuple[Adapter, WeightDelta]]] = {}
    for adapter in merged:
        for layer in adapter.layers:
            for name, update in _plan_layer(adapter, layer, sources, settings):
                updates.setdefault(name, []).append((adapter, update))
    return updates


def _plan_layer(
    adapter: Adapter, layer: Layer, sources: dict[str, WeightSource], settings: dict[str, Any]
) -> Iterable[tuple[str, WeightDelta]]:
    if layer.of == "parameter":
        yield from _plan_parameter(adapter, layer, sources, settings)
        return
    embedding = layer.of == "embedding"
    change = LowRankDelta(
        LowRankFactor(layer.a, is_a=True),
        LowRankFactor(layer.b, is_a=False),
        layer.scale,
        transposed=embedding or adapter.transposed,
        rounded=embedding,
    )
    if len(layer.a.shape) != 2 or len(layer.b.shape) != 2:
        raise NeedsPeftError(text("{module} is a convolution", module=layer.module))
    name = _get_stored_name(f"{layer.module}.weight", sources)
    if layer.magnitude is None:
        yield name, change
    else:
        yield name, DoraDelta(replace(change, rounded=False), layer.magnitude)
    if layer.bias is not None:
        yield _get_stored_name(f"{layer.module}.bias", sources), BiasDelta(layer.bias, layer.scale)


def _plan_parameter(
    adapter: Adapter, layer: Layer, sources: dict[str, WeightSource], settings: dict[str, Any]
) -> Iterable[tuple[str, WeightDelta]]:
    """Return the updates of a bare parameter: a matrix, stacked experts, or separate experts.

    The names in an adapter don't say which parameter of a module they belong to; shapes do.
    """
    targets = [name.rpartition(".")[2] for name in adapter.config["target_parameters"]]
    outputs, inputs = layer.b.shape[0], layer.a.shape[1]
    for target in dict.fromkeys(targets):
        update = adapter_files.get_parameter_layer(adapter, layer, target)
        stored = sources.get(f"{layer.module}.{target}")
        if stored is not None and stored.shape == (outputs, inputs) and update.experts == 1:
            change = LowRankDelta(
                LowRankFactor(update.a, True),
                LowRankFactor(update.b, False),
                update.scale,
                rounded=True,
            )
            yield stored.name, change
            return
        stacked = ((update.experts, outputs, inputs), (update.experts, inputs, outputs))
        if stored is not None and stored.shape in stacked:
            transposed = _is_transposed(stored, (outputs, inputs), settings)
            experts = tuple(
                _create_expert_delta(update, e, transposed) for e in range(update.experts)
            )
            yield stored.name, StackedDelta(experts)
            return
        parts = _get_part_names(update, target, sources)
        if sum(sources[name].shape[0] for name in parts) == outputs and all(
            sources[name].shape[1] == inputs for name in parts
        ):
            yield from _plan_separate_experts(update, parts, sources)
            return
    raise NeedsPeftError(
        text("the base model's files don't contain the parameters of {module}", module=layer.module)
    )


def _plan_separate_experts(
    layer: Layer, first_expert: Sequence[str], sources: dict[str, WeightSource]
) -> Iterable[tuple[str, WeightDelta]]:
    """Return the updates of experts whose weights are separate tensors."""
    if _get_expert_name(first_expert[0], layer.experts) in sources:
        raise NeedsPeftError(
            text("{module} has more experts than the adapter", module=layer.module)
        )
    for expert in range(layer.experts):
        first = 0
        for name in first_expert:
            last = first + sources[name].shape[0]
            expert_name = _get_expert_name(name, expert)
            if expert_name not in sources:
                raise NeedsPeftError(
                    text("the base model's files don't contain {tensor}", tensor=expert_name)
                )
            yield expert_name, _create_expert_delta(layer, expert, False, first, last)
            first = last


def _get_expert_name(first_expert: str, expert: int) -> str:
    """Return the name of another expert's tensor."""
    return re.sub(r"\.experts\.0\.", f".experts.{expert}.", first_expert)


def _create_expert_delta(
    layer: Layer, expert: int, transposed: bool, first: int = 0, last: int | None = None
) -> LowRankDelta:
    a = LowRankFactor(layer.a, True, layer.experts, expert)
    b = LowRankFactor(layer.b, False, layer.experts, expert, first, last)
    return LowRankDelta(a, b, layer.scale, transposed=transposed, rounded=True)


def _get_part_names(layer: Layer, target: str, sources: dict[str, WeightSource]) -> list[str]:
    """Return the names of the first expert's tensors that make up a stacked parameter, or []."""
    modules = [layer.module, *(layer.module.replace(*pair) for pair in _EXPERT_MODULES)]
    for module in modules:
        for parts in _EXPERT_PARTS.get(target, ()):
            names = [f"{module}.0.{part}.weight" for part in parts]
            if all(name in sources for name in names):
                return names
    return []


def _is_transposed(
    stacked: WeightSource, wanted: tuple[int, int], settings: dict[str, Any]
) -> bool:
    """Return whether stacked experts are [experts, in, out], which PEFT reads from the model's
    code.
    """
    if wanted[0] != wanted[1]:
        return stacked.shape[1:] != wanted
    if settings.get("model_type") == "gpt_oss":
        return True
    raise NeedsPeftError(
        text("{tensor} is square, so its orientation is ambiguous", tensor=stacked.name)
    )


def find_tied_embedding(tensors: Iterable[str]) -> str:
    """Return the name of the embedding that is also the head; "" where the head is another tensor."""
    names = list(tensors)
    embeddings = [name for name in names if _EMBEDDING.fullmatch(name)]
    tied = len(embeddings) == 1 and not any(map(_OTHER_HEAD.fullmatch, names))
    return embeddings[0] if tied else ""


def _get_stored_name(name: str, tensors: dict[str, WeightSource]) -> str:
    """Return the name that a tensor of the model in memory has in the base's files."""
    if name in tensors or (name == HEAD and find_tied_embedding(tensors)):
        return name
    # A checkpoint of the bare transformer lacks the prefix that its model with a head has.
    for prefix in ("model.", "transformer."):
        if (bare := name.removeprefix(prefix)) in tensors:
            return bare
        # An adapter for embeddings was saved for the transformer without its head.
        if prefix + name in tensors:
            return prefix + name
    raise NeedsPeftError(text("the base model's files don't contain {tensor}", tensor=name))


def _check(adapter: Adapter, name: str, stored: WeightSource, shape: tuple[int, ...]) -> None:
    if stored.shape != shape:
        raise adapter_files.foreign_adapter_error(
            adapter.folder,
            text(
                "{tensor} has the shape {stored} in the base model and {wanted} in the adapter",
                tensor=name,
                stored=_format_shape(stored.shape),
                wanted=_format_shape(shape),
            ),
        )
    if not stored.floating:
        raise NeedsPeftError(text("{tensor} is stored as {dtype}", tensor=name, dtype=stored.dtype))


def is_equal(one: WeightSource, other: WeightSource) -> bool:
    """Return whether two tensors have the same values, whatever their data types."""
    if one.shape != other.shape:
        return False
    step = max((1 << 20) // max(one.shape[-1], 1), 1)
    for first in range(0, one.length, step):
        last = min(first + step, one.length)
        if not torch.equal(
            one.read_rows(first, last).float(), other.read_rows(first, last).float()
        ):
            return False
    return True


def _format_shape(shape: tuple[int, ...]) -> str:
    return " × ".join(str(length) for length in shape)


def require_one_vocabulary(merged: Sequence[Adapter]) -> None:
    """Raise ProblemError where the merged model can't have the new tokens of all adapters."""
    with_tokens = [adapter for adapter in merged if adapter.rows]
    if with_tokens and (len(with_tokens) > 1 or with_tokens[0] is not merged[0]):
        raise new_tokens_error(
            with_tokens[-1].folder,
            text("only the first adapter can have new tokens, because its tokenizer is used"),
        )
    if with_tokens and with_tokens[0].weight != 1.0:
        raise new_tokens_error(
            with_tokens[0].folder,
            text("the rows of new tokens can't be weighted"),
        )


def new_tokens_error(folder: Path, reason: Text) -> ProblemError:
    """Return the error for an adapter with new tokens that can't be used with others or weighted."""
    return fail(
        "merging.new_tokens",
        "The new tokens of the adapter in {folder} can't be used: {reason}.",
        "Use this adapter as the first one with a weight of 1, and no other adapter with new tokens.",
        where=Where(step="merging", file=str(folder)),
        folder=str(folder),
        reason=reason,
    )


def plan_rows(
    adapter: Adapter,
    rows: dict[str, TrainedRows],
    sources: dict[str, WeightSource],
    settings: dict[str, Any],
) -> dict[str, RowsDelta]:
    """Return the updates with an adapter's rows, by weight; enlarge those weights in `sources`.

    A head that is stored with the embedding's values, because the model ties them, gets the same rows.
    """
    if not rows:
        return {}
    rows = dict(rows)
    if HEAD in sources and HEAD not in rows:
        shared = next(iter(rows.values()))
        is_tied = settings.get("tie_word_embeddings", False)
        rows[HEAD] = shared if is_tied else replace(shared, indices=())
    length = max(1 + max(each.indices, default=-1) for each in rows.values())
    updates = {}
    for name, each in rows.items():
        source = sources[name]
        if length > source.length + limits.ADDED_TOKENS:
            reason = text("the ID of a new token is far beyond the model's vocabulary")
            raise adapter_files.foreign_adapter_error(adapter.folder, reason)
        if length > source.length:
            sources[name] = GrownTensor(source, length)
        if each.indices:
            updates[name] = RowsDelta(each.indices, each.stored, sources[name].length)
    return updates


SCORE = "score.weight"
#: Tensors of heads that predict tokens, which no classifier has.
_TOKEN_HEADS = ("lm_head.weight", "lm_head.bias", "embed_out.weight")


def is_classifier(merged: Sequence[Adapter]) -> bool:
    """Return whether one of the adapters belongs to a classifier."""
    return any(adapter.config.get("task_type") == CLASSIFIES for adapter in merged)


def is_dropped(name: str, merged: Sequence[Adapter]) -> bool:
    """Return whether a base model's tensor isn't part of the merged model: the head of a classifier's base."""
    return name in _TOKEN_HEADS and is_classifier(merged)


def add_head(
    tensors: Mapping[str, WeightSource], merged: Sequence[Adapter]
) -> dict[str, WeightSource]:
    """Return a base model's tensors, with the head of the classifier if the adapter belongs to one.

    Raises ProblemError if there are other adapters, or no head.
    """
    if not is_classifier(merged):
        return dict(tensors)
    adapter = merged[0]
    if len(merged) > 1:
        raise fail(
            "merging.classifier_alone",
            "The adapter of a classifier can't be merged with other adapters.",
            "Merge it alone.",
            where=Where(step="merging", field="further"),
        )
    if SCORE not in adapter.replacements:
        raise adapter_files.foreign_adapter_error(
            adapter.folder, text("it has no head, which predicts the labels")
        )
    return {**tensors, SCORE: adapter.replacements[SCORE]}


def read_settings(merged: Sequence[Adapter]) -> dict[str, Any]:
    """Return the settings that make transformers load a classifier, {} for other adapters.

    The adapter's config.json has them. Raises ProblemError unless it names a label for each row of the head.
    """
    if not is_classifier(merged):
        return {}
    adapter = merged[0]
    try:
        config = read_json(adapter.folder / "config.json")
        names = config["id2label"]
        count = adapter.replacements[SCORE].shape[0]
        labels = [str(names[str(number)]) for number in range(count)]
        (architecture,) = config["architectures"]
        is_valid = len(names) == count and str(architecture).endswith("ForSequenceClassification")
        padding = config.get("pad_token_id")
    except (OSError, ValueError, KeyError, TypeError):
        is_valid = False
    if not is_valid:
        reason = text("its config.json doesn't name a label for each output of its head")
        raise adapter_files.foreign_adapter_error(adapter.folder, reason)
    return {
        "architectures": [str(architecture)],
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
        "pad_token_id": padding if isinstance(padding, int) else None,
    }
