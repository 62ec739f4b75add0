"""Quantize rows exactly as llama.cpp's quantizer does, with the packaged library's own function."""

from __future__ import annotations

import ctypes
import functools
from importlib.util import find_spec
from pathlib import Path

import numpy as np

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
