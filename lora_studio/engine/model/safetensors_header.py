"""Read the headers of safetensors files, without torch.

Format: 8 bytes little-endian length, a JSON header {name: {dtype, shape, data_offsets}}, the data
(https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, TypeGuard

from lora_studio.core import limits
from lora_studio.core.messages import text
from lora_studio.core.problems import InvalidContentError
from lora_studio.core.system.files import describe_os_error
from lora_studio.core.system.foreign_files import open_regular, parse_json

#: Bits of one number in each format.
_BITS = {
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32,
    "U64": 64, "I64": 64, "F64": 64, "C64": 64,
}  # fmt: skip

#: Tensor name -> {dtype, shape, data_offsets}; offsets count from the start of the data.
Header = dict[str, dict[str, Any]]


def read_header_bytes(file: Path) -> bytes:
    """Return a file's JSON header; raises OSError and InvalidContentError."""
    with open_regular(file) as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > file.stat().st_size:
            raise InvalidContentError("the header is longer than the file")
        if length > limits.WEIGHTS_HEADER:
            raise InvalidContentError("the header is too long")
        return stream.read(length)


def read_header(file: Path) -> tuple[Header, int]:
    """Return a file's tensors without its metadata, and the position of the data in bytes.

    Raises OSError, and InvalidContentError unless it is a complete safetensors file.
    """
    raw = read_header_bytes(file)
    start = 8 + len(raw)
    try:
        header = parse_json(raw, limits.WEIGHTS_VALUES)
    except ValueError as error:
        reason = text("its header is invalid ({reason})", reason=describe_os_error(error))
        raise InvalidContentError(reason) from error
    if not isinstance(header, dict):
        raise InvalidContentError("its header isn't a JSON object")
    header.pop("__metadata__", None)
    size = max((_check_entry(name, entry) for name, entry in header.items()), default=0)
    if start + size > file.stat().st_size:
        raise InvalidContentError("the file is truncated")
    return header, start


def _check_entry(name: str, entry: Any) -> int:
    """Return where a tensor's data ends; raises InvalidContentError for an invalid description."""
    if type(entry) is dict:
        dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
        if (
            type(dtype) is str
            and _has_lengths(shape)
            and _has_lengths(offsets)
            and len(offsets) == 2
        ):
            size = offsets[1] - offsets[0]
            bits = _BITS.get(dtype)  # other formats may come; only their bytes are copied
            fits = size * 8 - math.prod(shape) * bits in range(8) if bits else size >= 0
            # PyTorch computes strides of empty tensors, too.
            if fits and (0 not in shape or math.prod(filter(None, shape)) < 1 << 63):
                return int(offsets[1])
    raise InvalidContentError("the description of the tensor {name} is invalid", name=name[:200])


def _has_lengths(values: Any) -> TypeGuard[list[int]]:
    """Return whether a value is a list of few 64-bit numbers that aren't negative."""
    if type(values) is not list or len(values) > limits.TENSOR_DIMENSIONS:
        return False
    return not values or (
        {*map(type, values)} == {int} and 0 <= min(values) <= max(values) < 1 << 63
    )
