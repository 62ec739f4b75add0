"""Compare the tensors of GGUF files with those that the converter would write now.

The converter runs as usual, but what it would write is compared instead, one tensor at a time
(`converter_program.py`). A quantized tensor is held against the quantization of its source, which
llama.cpp computes without randomness, so that equal means equal in every byte.
"""

from __future__ import annotations

import ctypes
import functools
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from lora_studio.engine.model import gguf_header
from lora_studio.engine.model.gguf_header import GgufLayout, GgufTensor
from lora_studio.engine.runtime import disk
from lora_studio.engine.runtime.llama_cpp import count_threads

#: A row is odd if its error is so many times that of a fresh quantization. Importance matrices of extreme
#: spread (log-normal, σ = 3) reach 3.9 on heavy-tailed weights; usual ones stay below 1.3.
_ODD_ROW = 6.0

#: Values that one thread quantizes at once.
_CHUNK = 1 << 20


class ComparisonRequest(BaseModel):
    """What the child compares: GGUF files by stage, where it writes its result, and suspects.

    With `suspects`, tensors by stage, it looks only for what those tensors are instead.
    """

    files: dict[str, Path]
    result: Path
    suspects: dict[str, list[str]] = {}


class TensorDifference(BaseModel):
    """How one tensor of a file differs from what it should be.

    `rows` of its `total` rows differ. `error` is ‖stored − source‖ and `healthy` that of a fresh
    quantization, both None where the type needs an importance matrix or isn't a quantization; `size` is
    ‖source‖. `factor` and `healthy_factor` are f of stored ≈ f · source by least squares. `odd_rows` have
    errors that no importance matrix explains. `zeros`, `permuted` and `infinite` say what it looks like.
    """

    rows: int
    total: int
    error: float | None = None
    healthy: float | None = None
    size: float = 0.0
    factor: float = 1.0
    healthy_factor: float = 1.0
    odd_rows: int = 0
    zeros: bool = False
    permuted: bool = False
    infinite: bool = False


class TensorDifferences(BaseModel):
    """What differs, by stage and tensor; for suspects: the equal tensors."""

    differences: dict[str, dict[str, TensorDifference]] = {}
    equal_to: dict[str, dict[str, str]] = {}


@dataclass(frozen=True)
class ReferenceTensor:
    """A tensor as the converter writes it: its bytes, uint8 [rows, bytes of a row]."""

    name: str
    shape: tuple[int, ...]
    type: int
    raw: np.ndarray


@dataclass
class _Sums:
    """Σ (values − source)² and Σ values · source."""

    error: float = 0.0
    product: float = 0.0

    def add(self, values: np.ndarray, source: np.ndarray) -> np.ndarray:
        """Add rows and return the squared error of each."""
        errors = ((values - source) ** 2).sum(axis=-1, dtype=np.float64)
        self.error += float(errors.sum())
        self.product += float((values * source).sum(dtype=np.float64))
        return np.asarray(errors)

    def get_factor(self, size: float) -> float:
        """Return f of values ≈ f · source, given Σ source²; 1 if that isn't a number."""
        factor = self.product / size if size else 1.0
        return factor if math.isfinite(factor) else 1.0


@dataclass
class _Errors:
    """The stored tensor and a fresh quantization compared with their source; `size` is Σ source²."""

    stored: _Sums
    fresh: _Sums | None
    size: float = 0.0
    odd_rows: int = 0


@dataclass
class _Comparer:
    request: ComparisonRequest
    layouts: dict[str, GgufLayout]
    pool: ThreadPoolExecutor
    result: TensorDifferences = field(default_factory=TensorDifferences)

    def compare(self, reference: ReferenceTensor) -> None:
        """Compare one tensor with the tensor of that name in every file."""
        for stage, layout in self.layouts.items():
            stored = layout.tensors.get(reference.name)
            if stored is None or stored.shape != reference.shape or stored.bytes is None:
                continue  # the parent compares names, shapes, and types
            raw = read_rows(layout.file, stored)
            rows = np.concatenate(self._find_unequal_rows(reference, stored, raw))
            if rows.any():
                differences = self.result.differences.setdefault(stage, {})
                differences[stored.name] = self._describe(reference, stored, raw, rows)

    def identify(self, reference: ReferenceTensor) -> None:
        """Note the suspects that equal this tensor."""
        for stage, names in self.request.suspects.items():
            layout = self.layouts[stage]
            for name in names:
                stored = layout.tensors[name]
                if stored.shape != reference.shape or stored.bytes is None:
                    continue
                raw = read_rows(layout.file, stored)
                first = next(self._iter_chunks(reference, stored))
                equal = not _compare_chunk(reference, stored, raw, first).any()
                if equal and not any(
                    rows.any() for rows in self._find_unequal_rows(reference, stored, raw)
                ):
                    self.result.equal_to.setdefault(stage, {}).setdefault(name, reference.name)

    def _find_unequal_rows(
        self, reference: ReferenceTensor, stored: GgufTensor, raw: np.ndarray
    ) -> list[np.ndarray]:
        """Return for each row whether it differs, in chunks."""
        chunks = self._iter_chunks(reference, stored)
        return list(
            self.pool.map(lambda chunk: _compare_chunk(reference, stored, raw, chunk), chunks)
        )

    @staticmethod
    def _iter_chunks(reference: ReferenceTensor, stored: GgufTensor) -> Iterator[slice]:
        step = max(_CHUNK // max(reference.shape[-1] if reference.shape else 1, 1), 1)
        for first in range(0, max(stored.rows, 1), step):
            yield slice(first, min(first + step, stored.rows))

    def _describe(
        self, reference: ReferenceTensor, stored: GgufTensor, raw: np.ndarray, rows: np.ndarray
    ) -> TensorDifference:
        difference = TensorDifference(rows=int(rows.sum()), total=len(rows))
        try:
            errors = self._measure_errors(reference, stored, raw)
        except NotImplementedError:  # a type that only other programs read
            return difference
        error = math.sqrt(errors.stored.error)
        fresh = errors.fresh
        known = {"healthy": math.sqrt(fresh.error), "healthy_factor": fresh.get_factor(errors.size)} if fresh else {}  # fmt: skip
        update = known | {
            "error": error if math.isfinite(error) else None,
            "size": math.sqrt(errors.size),
            "factor": errors.stored.get_factor(errors.size),
            "odd_rows": errors.odd_rows,
            "zeros": not raw.any() or bool(error and _is_zero(stored, raw)),
            "permuted": self._is_permuted(reference, stored, raw),
            "infinite": not math.isfinite(error),
        }
        return difference.model_copy(update=update)

    def _measure_errors(
        self, reference: ReferenceTensor, stored: GgufTensor, raw: np.ndarray
    ) -> _Errors:
        errors = _Errors(_Sums(), _Sums())
        for chunk in self._iter_chunks(reference, stored):
            source = widen(reference.raw[chunk], reference.type)
            quantized = _convert(source, stored.type)
            with np.errstate(all="ignore"):  # a damaged tensor may hold anything
                errors.size += float((source**2).sum(dtype=np.float64))
                rows = errors.stored.add(_widen(stored, raw[chunk]), source)
                if quantized is None:
                    errors.fresh = None
                elif errors.fresh is not None:
                    healthy = errors.fresh.add(_widen(stored, quantized), source)
                    errors.odd_rows += int((rows > _ODD_ROW**2 * healthy).sum())
        return errors

    def _is_permuted(self, reference: ReferenceTensor, stored: GgufTensor, raw: np.ndarray) -> bool:
        """Return whether the rows are the right ones in another order."""
        expected: list[bytes] = []
        for chunk in self._iter_chunks(reference, stored):
            converted = _convert_reference(reference, stored.type, chunk)
            if converted is None:
                return False
            expected += [row.tobytes() for row in converted]
        return sorted(expected) == sorted(row.tobytes() for row in raw)


def compare_tensors(
    references: Iterable[ReferenceTensor],
    request: ComparisonRequest,
) -> TensorDifferences:
    """Return how the files of a request differ from these tensors."""
    layouts = {stage: gguf_header.read_layout(file) for stage, file in request.files.items()}
    with ThreadPoolExecutor(count_threads()) as pool:
        comparer = _Comparer(request, layouts, pool)
        for reference in references:
            (comparer.identify if request.suspects else comparer.compare)(reference)
    return comparer.result


def read_rows(file: Path, tensor: GgufTensor) -> np.ndarray:
    """Return a view of a tensor's bytes, uint8 [rows, bytes of a row]."""
    size = tensor.bytes or 0
    if not size:
        return np.empty((0, 0), np.uint8)
    mapped = np.memmap(file, np.uint8, mode="r", offset=tensor.start, shape=size)
    return mapped.reshape(max(tensor.rows, 1), -1)


def iter_written(
    tensors: Mapping[str, Any], on_progress: Callable[[float], None]
) -> Iterator[ReferenceTensor]:
    """Yield what gguf's writer would write, each in a temporary file of its own size."""
    total, done = sum(item.nbytes for item in tensors.values()) or 1, 0
    with tempfile.TemporaryDirectory(prefix="lora-studio-tensor-") as folder:
        file = Path(folder, "tensor")
        for name, item in tensors.items():
            with file.open("wb") as stream:
                disk.reserve_space(
                    stream, int(item.nbytes)
                )  # tofile reports no cause on a full disk
                item.tensor.tofile(stream)
            item.tensor = None  # frees what the converter computed
            done += item.nbytes
            on_progress(done / total)
            shape = tuple(map(int, item.shape))
            raw = np.fromfile(file, np.uint8).reshape(max(math.prod(shape[:-1]), 1), -1)
            yield ReferenceTensor(name, shape, int(item.dtype), raw)


def _compare_chunk(
    reference: ReferenceTensor, stored: GgufTensor, raw: np.ndarray, chunk: slice
) -> np.ndarray:
    """Return for each row whether its bytes differ from those of its source in the stored type."""
    expected = _convert_reference(reference, stored.type, chunk)
    if expected is None:  # only an importance matrix would give the same bytes
        return np.ones(chunk.stop - chunk.start, bool)
    return np.asarray((expected != raw[chunk]).any(axis=1))


def _convert_reference(reference: ReferenceTensor, kind: int, chunk: slice) -> np.ndarray | None:
    if kind == reference.type:
        return reference.raw[chunk]
    return _convert(widen(reference.raw[chunk], reference.type), kind)


def _convert(values: np.ndarray, kind: int) -> np.ndarray | None:
    if kind == F32:
        return np.ascontiguousarray(values, np.float32).view(np.uint8)
    return quantize_rows(values, kind)


def _widen(stored: GgufTensor, raw: np.ndarray) -> np.ndarray:
    return widen(raw, stored.type)


def _is_zero(stored: GgufTensor, raw: np.ndarray) -> bool:
    """Return whether all values are zero, as quantized zeros needn't have zero bytes."""
    if stored.type in (F32, F16, BF16):
        return not raw.any()
    return not _widen(stored, raw[: min(len(raw), 64)]).any() and not _widen(stored, raw).any()


#: ggml types that hold plain numbers.
F32, F16, BF16 = 0, 1, 30

#: Types that nothing is quantized to: Q8_1, Q8_K, I8, I16, I32, I64, and F64.
_NOT_FOR_WEIGHTS = frozenset({9, 15, 24, 25, 26, 27, 28})


def widen(raw: np.ndarray, kind: int) -> np.ndarray:
    """Return rows of any type as float32 [rows, columns], from their bytes, uint8 [rows, bytes]."""
    raw = np.ascontiguousarray(raw)
    if kind == F32:
        return raw.view(np.float32)
    if kind == F16:
        return raw.view(np.float16).astype(np.float32)
    if kind == BF16:
        return (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    from gguf.constants import GGMLQuantizationType
    from gguf.quants import dequantize

    return np.asarray(dequantize(raw, GGMLQuantizationType(kind)), np.float32)


def quantize_rows(values: np.ndarray, kind: int) -> np.ndarray | None:
    """Return float32 [rows, columns] in another type, as bytes, uint8 [rows, bytes].

    None if the type needs an importance matrix, or isn't for weights: the library ends the process then.
    """
    if kind in _NOT_FOR_WEIGHTS:
        return None
    library = _load_library()
    rows, columns = values.shape
    if library.ggml_quantize_requires_imatrix(kind):
        return None
    source = np.ascontiguousarray(values, np.float32)
    width = library.ggml_row_size(kind, columns)
    target = np.empty((rows, width), np.uint8)
    library.ggml_quantize_chunk(
        kind, source.ctypes.data, target.ctypes.data, 0, rows, columns, None
    )
    return target


@functools.cache
def _load_library() -> ctypes.CDLL:
    """Return the library with ggml's quantization, which llama.cpp's quantizer calls."""
    spec = find_spec("llama_cpp_py_sync")
    folders = spec.submodule_search_locations if spec else None
    files = sorted(Path(folders[0]).glob("*ggml-base*")) if folders else []
    if not files:
        raise OSError("llama.cpp's library is missing from the engine")
    library = ctypes.CDLL(str(files[0]))
    library.ggml_quantize_requires_imatrix.restype = ctypes.c_bool
    library.ggml_quantize_requires_imatrix.argtypes = [ctypes.c_int]
    library.ggml_row_size.restype = ctypes.c_size_t
    library.ggml_row_size.argtypes = [ctypes.c_int, ctypes.c_int64]
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p,
        ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p,
    ]  # fmt: skip
    return library
