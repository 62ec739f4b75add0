"""Where everything is in a GGUF file: the byte range of each value and each tensor.

Two files are compared by these ranges, so token lists needn't be parsed, which takes a minute.
Layout: the GGUF specification, version 3 (ggml, docs/gguf.md).
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_studio.core.problems import InvalidContentError
from lora_studio.core.system.foreign_files import open_regular
from lora_studio.engine.model import gguf_header
from lora_studio.engine.model.gguf_header import LIST, TEXT

#: Alignment of tensors in bytes, unless `general.alignment` says otherwise.
_ALIGNMENT = 32


@dataclass(frozen=True)
class GgufValue:
    """The value of a key: its type, of a list the type of its items, and its bytes in the file."""

    kind: int
    item_kind: int
    start: int
    end: int

    @property
    def type(self) -> tuple[int, int]:
        """Return the types that a reader must expect."""
        return self.kind, self.item_kind


@dataclass(frozen=True)
class GgufTensor:
    """A tensor: its shape, slowest axis first, its ggml type, and its bytes in the file.

    `bytes` is None for a type that the package gguf doesn't know.
    """

    name: str
    shape: tuple[int, ...]
    type: int
    start: int
    bytes: int | None

    @property
    def rows(self) -> int:
        """Return the number of rows: values of the fastest axis are quantized together."""
        return math.prod(self.shape[:-1])


@dataclass(frozen=True)
class GgufLayout:
    """All keys and tensors of a file, in its order."""

    file: Path
    values: dict[str, GgufValue]
    tensors: dict[str, GgufTensor]

    @property
    def needed_bytes(self) -> int:
        """Return the size of the complete file, up to the padding of its last tensor."""
        ends = [tensor.start + (tensor.bytes or 0) for tensor in self.tensors.values()]
        return max(ends, default=0)

    def read_raw(self, key: str) -> bytes:
        """Return the bytes of a value."""
        value = self.values[key]
        with open_regular(self.file) as stream:
            stream.seek(value.start)
            return stream.read(value.end - value.start)

    def read_value(self, key: str) -> Any:
        """Return a value; of a list, a list."""
        value, raw = self.values[key], self.read_raw(key)
        if value.kind == TEXT:
            return raw[8:].decode("utf-8", "replace")
        if value.kind != LIST:
            return struct.unpack("<" + gguf_header.FIXED[value.kind], raw)[0]
        length = struct.unpack_from("<Q", raw, 4)[0]
        if value.item_kind == TEXT:
            return _read_texts(raw, length)
        if value.item_kind == LIST:
            return raw.hex()  # no file has lists of lists
        return list(struct.unpack_from(f"<{length}{gguf_header.FIXED[value.item_kind]}", raw, 12))


def read(file: Path) -> GgufLayout:
    """Return the layout of a file; raises OSError, and InvalidContentError if it is damaged."""
    with open_regular(file, 1 << 20) as stream:
        tensor_count, pairs = gguf_header.read_counts(stream)
        values: dict[str, GgufValue] = {}
        alignment = _ALIGNMENT
        for _ in range(gguf_header.check_count(stream, pairs, 13)):
            key = gguf_header.read_text(stream)
            (kind,) = struct.unpack("<I", gguf_header.read_exactly(stream, 4))
            start, item_kind, content = stream.tell(), 0, None
            if kind == LIST:
                (item_kind,) = struct.unpack("<I", gguf_header.read_exactly(stream, 4))
                stream.seek(start)
                gguf_header.skip_list(stream)
            else:
                content = gguf_header.read_value(stream, kind, key)
            if key in values:
                raise InvalidContentError("it has the key {key} twice", key=key)
            values[key] = GgufValue(kind, item_kind, start, stream.tell())
            if key == "general.alignment" and isinstance(content, int) and content > 0:
                alignment = content
        count = gguf_header.check_count(stream, tensor_count, 24)
        infos = [_read_tensor_info(stream) for _ in range(count)]
        data = -(-stream.tell() // alignment) * alignment
    tensors: dict[str, GgufTensor] = {}
    for name, shape, kind, offset in infos:
        if name in tensors:
            raise InvalidContentError("it has the tensor {tensor} twice", tensor=name)
        tensors[name] = GgufTensor(name, shape, kind, data + offset, count_bytes(kind, shape))
    return GgufLayout(file, values, tensors)


def count_bytes(kind: int, shape: tuple[int, ...]) -> int | None:
    """Return the bytes of a tensor of a ggml type; None for an unknown type or a partial block."""
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    try:
        size, width = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    except (ValueError, KeyError):
        return None
    values = math.prod(shape)
    return None if shape and shape[-1] % size else values // size * width


def get_type_name(kind: int) -> str:
    """Return the name of a ggml type, such as Q8_0."""
    from gguf.constants import GGMLQuantizationType

    try:
        return GGMLQuantizationType(kind).name
    except ValueError:
        return str(kind)


def _read_tensor_info(stream: Any) -> tuple[str, tuple[int, ...], int, int]:
    name = gguf_header.read_text(stream)
    shape = gguf_header.read_shape(stream)
    kind, offset = struct.unpack("<IQ", gguf_header.read_exactly(stream, 12))
    return name, shape[::-1], kind, offset


def _read_texts(raw: bytes, length: int) -> list[str]:
    texts, position = [], 12
    for _ in range(length):
        (size,) = struct.unpack_from("<Q", raw, position)
        texts.append(raw[position + 8 : position + 8 + size].decode("utf-8", "replace"))
        position += 8 + size
    return texts
