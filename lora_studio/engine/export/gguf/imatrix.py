"""The importance matrix: which columns of a weight matter, measured on the training data.

For a product y = W·x the quantizer weighs the error of column j by the mean of x_j² over tokens,
since the expected squared error of y is Σ_j E[x_j²] · (W_j − Ŵ_j)² when the columns are
uncorrelated. As in llama.cpp's own tool (tools/imatrix/imatrix.cpp, collect_imatrix), the measured
values are

in_sum2[j] = Σ_tokens x_j² and counts = number of tokens,

per expert where a layer has several, over batches of at least 16 tokens. llama.cpp computes them in
this process, on the file that is quantized, so names and layers match for any architecture. The
tool itself isn't used because it cuts text into chunks; this module reads whole conversations, as
trained.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lora_studio.core.messages import text
from lora_studio.core.problems import ProblemError, fail
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.llama_cpp import Llama
from lora_studio.engine.runtime.llama_trial import require_computable

#: Tokens that are read, and the maximum in one conversation. llama.cpp's users read 50,000
#: to 100,000 tokens of any text; with the training data itself, the order of the columns converges much
#: earlier.
TOKENS = 20_000
LENGTH = 1024

#: Fewer tokens at once are left out, as llama.cpp's tool does.
_LEAST = 16

_SUMS, _COUNTS = ".in_sum2", ".counts"

#: The beginning of `struct ggml_tensor` (ggml/include/ggml.h), up to the last field that is read.
_STRUCT = """
struct tensor {
    int type; void * buffer; int64_t ne[4]; size_t nb[4]; int op; int32_t op_params[16];
    int32_t flags; struct tensor * src[10]; struct tensor * view_src; size_t view_offs;
    void * data; char name[64];
};
"""
_F32, _I32 = 0, 26  # enum ggml_type


@dataclass
class ActivationSums:
    """Sums for one weight: `squares` float64 [experts, columns], `counts` [experts]."""

    squares: np.ndarray
    counts: np.ndarray


@dataclass
class ActivationCollector:
    """Add up the squared inputs of every product with a weight of a layer."""

    sums: dict[str, ActivationSums] = field(default_factory=dict)
    error: Exception | None = None

    def __call__(self, address: int, ask: bool) -> bool:
        """Observe one node of the computation; see `Llama`."""
        node = _get_ffi().cast("struct tensor *", address)
        weight = _weight(node)
        if weight is None:
            return not ask  # asked: values not needed; otherwise: continue
        if ask:
            return True
        try:
            self._add(weight, node)
        except Exception as error:  # can't propagate through C: stored, and raised by `measure`
            self.error = error
            return False
        return True

    def _add(self, name: str, node: Any) -> None:
        weight, inputs = node.src[0], node.src[1]
        values = _read_array(inputs, np.float32)
        columns, experts = int(weight.ne[0]), int(weight.ne[2])
        sums = self.sums.setdefault(
            name, ActivationSums(np.zeros((experts, columns)), np.zeros(experts, np.int64))
        )
        if _is_routed(node):
            # values [tokens, 1 or experts per token, columns]; ids [tokens, experts per token]
            ids = _read_array(node.src[2], np.int32)[0, 0]
            squares = np.square(values[0].astype(np.float64))
            for slot in range(ids.shape[1]):
                np.add.at(sums.squares, ids[:, slot], squares[:, slot % squares.shape[1]])
                sums.counts += np.bincount(ids[:, slot], minlength=experts)
            return
        flat = values.reshape(-1, columns) if experts == 1 else None
        if flat is not None:
            sums.squares[0] += np.einsum("tc,tc->c", flat, flat, dtype=np.float64)
            sums.counts += len(flat)
        else:
            for index in range(values.shape[1]):
                part = values[:, index].reshape(-1, columns)
                sums.squares[index % experts] += np.einsum("tc,tc->c", part, part, dtype=np.float64)
                sums.counts[index % experts] += len(part)


def measure(
    file: Path, conversations: Sequence[Sequence[int]], job: JobContext, *, tokens: int = TOKENS
) -> dict[str, ActivationSums]:
    """Read conversations (token ids) with a GGUF model until `tokens` tokens are read.

    They are spread evenly over the given conversations. Raises ProblemError.
    """
    chosen = select_evenly(
        [list(ids[:LENGTH]) for ids in conversations if len(ids) >= _LEAST], tokens
    )
    if not chosen:
        raise fail(
            "imatrix.no_data",
            "No conversation has the 16 tokens that an importance matrix needs.",
            "Choose quantizations that need no matrix, such as Q4_K_M.",
        )
    total = sum(map(len, chosen))
    collector = ActivationCollector()
    longest = max(map(len, chosen))
    done = 0
    require_computable(file, job)
    with Llama(
        file, context=longest + 8, cancelled=job.flags.cancel.is_set, observe=collector
    ) as llama:
        for ids in chosen:
            job.report_progress(text("computing the importance matrix"), done, total, "tokens")
            try:
                llama.read(ids)
            except ProblemError:
                if collector.error is None:
                    raise
            if collector.error is not None:
                raise collector.error
            done += len(ids)
    return _check_sums(collector.sums)


def select_evenly(conversations: list[list[int]], tokens: int) -> list[list[int]]:
    """Return conversations with about this many tokens in total, evenly spaced over all of them."""
    total = sum(map(len, conversations))
    if total <= tokens:
        return conversations
    count = max(1, round(len(conversations) * tokens / total))
    picks = np.linspace(0, len(conversations) - 1, count).round().astype(int)
    return [conversations[pick] for pick in dict.fromkeys(picks.tolist())]


def _check_sums(sums_by_tensor: dict[str, ActivationSums]) -> dict[str, ActivationSums]:
    """Raise ProblemError for sums that would ruin a file: none at all, or NaN and infinite values."""
    if not sums_by_tensor:
        raise fail(
            "imatrix.nothing_seen",
            "The importance matrix can't be computed with this version of llama.cpp.",
            "Choose quantizations that need no matrix, such as Q4_K_M, or update the engine.",
        )
    for name, sums in sums_by_tensor.items():
        if not np.isfinite(sums.squares).all():
            raise fail(
                "imatrix.not_finite",
                "The inputs of {tensor} contain NaN or infinite values.",
                "The model is broken. Check its self-test, then merge or train again.",
                tensor=name,
            )
    return sums_by_tensor


# --- the file ---------------------------------------------------------------------------------


def write(sums_by_tensor: dict[str, ActivationSums], file: Path, source: str) -> None:
    """Write an importance matrix in llama.cpp's GGUF format, which its own tools also read."""
    import gguf

    writer = gguf.GGUFWriter(file, "")
    writer.kv_data[0].clear()  # remove the architecture, which a matrix doesn't have
    writer.add_string("general.type", "imatrix")
    writer.add_array("imatrix.datasets", [source])
    tokens = max(int(sums.counts.max()) for sums in sums_by_tensor.values())
    writer.add_uint32("imatrix.chunk_count", max(1, tokens // 512))
    writer.add_uint32("imatrix.chunk_size", 512)
    for name in sorted(sums_by_tensor):
        sums = sums_by_tensor[name]
        writer.add_tensor(f"{name}{_SUMS}", sums.squares.astype(np.float32))
        writer.add_tensor(f"{name}{_COUNTS}", sums.counts.astype(np.float32)[:, None])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read(file: Path) -> dict[str, np.ndarray]:
    """Return the quantizer's input: mean squares, float32 [experts · columns] by tensor name.

    An expert that no token reached weighs all its columns equally, as in llama.cpp.
    """
    import gguf

    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(file).tensors}
    result: dict[str, np.ndarray] = {}
    for name, sums in tensors.items():
        if not name.endswith(_SUMS):
            continue
        counts = np.asarray(tensors[name.removesuffix(_SUMS) + _COUNTS]).reshape(-1, 1)
        squares = np.asarray(sums).reshape(len(counts), -1)
        means = np.where(counts > 0, squares / np.maximum(counts, 1), 1)
        result[name.removesuffix(_SUMS)] = np.ascontiguousarray(means, np.float32).reshape(-1)
    return result


# --- nodes of llama.cpp's computation ---------------------------------------------------------


@functools.cache
def _get_ffi() -> Any:
    from cffi import FFI

    ffi = FFI()
    ffi.cdef(_STRUCT)
    return ffi


def _weight(node: Any) -> str | None:
    """Return the name of the layer's weight that a node multiplies with; None for any other node.

    It is recognized by its operands, because operation numbers change between releases.
    """
    null = _get_ffi().NULL
    weight, inputs = node.src[0], node.src[1]
    if weight == null or inputs == null or inputs.type != _F32:
        return None
    name: str = _get_ffi().string(weight.name).decode("utf-8", errors="replace")
    name = name.split("#")[1] if "#" in name else name  # a copy on another device: "CPU#blk.…#0"
    if not (name.startswith("blk.") and name.endswith(".weight")):
        return None
    fits = weight.ne[1] > 1 and weight.ne[0] == inputs.ne[0] and node.ne[0] == weight.ne[1]
    if not fits:
        return None
    if _is_routed(node):
        return name
    return name if inputs.ne[1] >= _LEAST else None


def _is_routed(node: Any) -> bool:
    """Return whether tokens are routed to experts, whose indices are the third operand."""
    ids = node.src[2]
    return bool(ids != _get_ffi().NULL and ids.type == _I32 and node.src[0].ne[2] > 1)


def _read_array(tensor: Any, kind: type[np.generic]) -> np.ndarray:
    """Return the values of a tensor in main memory, outermost dimension first, without a copy."""
    shape = [int(tensor.ne[axis]) for axis in (3, 2, 1, 0)]
    strides = [int(tensor.nb[axis]) for axis in (3, 2, 1, 0)]
    length = sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    memory = _get_ffi().buffer(tensor.data, length + np.dtype(kind).itemsize)
    return np.ndarray(shape, kind, buffer=memory, strides=strides)
