"""Whether the values of a GGUF file are finite numbers.

The file is read after it has been written. Its pages are then still in memory, unless the file is larger, so that
this takes a fraction of the time of writing, and nothing stands between the converter and its tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.engine.export.gguf.tensor_comparison import BF16, F16, F32, read_rows
from lora_studio.engine.model import gguf_header

#: By ggml type: integers as wide, and the bits of the exponent, which are all set in NaN and infinity.
_EXPONENTS: dict[int, tuple[type[np.unsignedinteger[Any]], int]] = {
    F32: (np.uint32, 0x7F80_0000),
    F16: (np.uint16, 0x7C00),
    BF16: (np.uint16, 0x7F80),
}

#: Bits of the mantissa: any of them is set in NaN, none in infinity.
_MANTISSAS = {F32: 0x007F_FFFF, F16: 0x03FF, BF16: 0x007F}

#: Values that are checked at once: 9 GB/s on one core, and 3 GB/s with pieces larger than its cache.
_CHUNK = 1 << 18


def require_finite_file(file: Path, check: Callable[[], None]) -> None:
    """Raise ProblemError if a tensor of a GGUF file has NaN or infinite values; `check` is called between tensors."""
    for tensor in gguf_header.read_layout(file).tensors.values():
        check()
        if tensor.type in _EXPONENTS and tensor.bytes:
            require_finite(tensor.name, read_rows(file, tensor), tensor.type)


def require_finite(name: str, values: np.ndarray, kind: int) -> None:
    """Raise ProblemError if a contiguous array of ggml type `kind` has NaN or infinite values.

    Quantized types aren't checked.
    """
    if kind not in _EXPONENTS:
        return
    width, exponent = _EXPONENTS[kind]
    bits = values.reshape(-1).view(width)
    for first in range(0, len(bits), _CHUNK):
        chunk = bits[first : first + _CHUNK]
        if (chunk & exponent).max() == exponent:
            special = chunk[(chunk & exponent) == exponent]
            raise _not_finite_error(name, kind, has_nan=bool((special & _MANTISSAS[kind]).any()))


def _not_finite_error(name: str, kind: int, *, has_nan: bool) -> ProblemError:
    remedy = (
        "Training diverged, or a file of the model is damaged. Train again with a lower learning "
        "rate, or download the base model again."
    )
    if kind == F16 and not has_nan:
        remedy = (
            "Values above 65,504 don't fit into float16. Export F32 as well, or choose bfloat16 for "
            "the merged model."
        )
    return fail(
        "gguf.not_finite",
        "The tensor {tensor} contains NaN values."
        if has_nan
        else "The tensor {tensor} contains infinite values.",
        remedy,
        where=Where(step="export", field="quantizations"),
        tensor=name,
    )
