"""The header of a GGUF file, read without its token lists.

`gguf.GGUFReader` parses every token and merge: 62 s for a vocabulary of 128,000 tokens and 280,000
merges where this module takes 0.5 s (measured on one busy core), too slow for a list of models.
Layout: the GGUF specification, version 3 (ggml, docs/gguf.md).
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lora_studio.core import limits
from lora_studio.core.messages import text
from lora_studio.core.problems import InvalidContentError
from lora_studio.core.system.foreign_files import open_regular

#: Bytes of the fixed-width value types, by their number in the file, and how struct reads them.
FIXED = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
TEXT, LIST = 8, 9

#: Called while a header is read; may raise an exception.
Check = Callable[[], None]
#: Items between two checks: some hundredths of a second.
_PIECE = 1 << 15

#: Architectures that can be unpacked for training; a test holds it equal to what transformers reads.
TRAINABLE = (
    "bloom", "deci", "falcon", "gemma2", "gemma3", "gemma4", "gpt-oss", "gpt2", "lfm2", "llama",
    "mamba", "minimax-m2", "nemotron", "phi3", "qwen2", "qwen2moe", "qwen3", "qwen3moe", "stablelm",
    "starcoder2",
)  # fmt: skip


class HeaderTooLargeError(InvalidContentError):
    """Raised for a header that is intact, but larger than what is read here."""


@dataclass(frozen=True)
class GgufFacts:
    """The plain values of a header by key, and the numbers of weights in its tensors, of tokens, and of
    values in all its lists.
    """

    values: dict[str, Any]
    parameters: int
    vocabulary: int
    items: int

    @property
    def architecture(self) -> str:
        """Return llama.cpp's name of the architecture."""
        return str(self.values.get("general.architecture", ""))

    @property
    def is_part(self) -> bool:
        """Return whether the file is one of several that contain a model together."""
        count = self.values.get("split.count")
        return isinstance(count, int) and count > 1

    def get_number(self, key: str) -> int:
        """Return a value of the architecture, such as `block_count`; 0 where there is none."""
        value = self.values.get(f"{self.architecture}.{key}")
        return value if isinstance(value, int) else 0


def read(file: Path, check: Check = lambda: None) -> GgufFacts:
    """Return the facts of a GGUF file; raises ValueError or OSError if it isn't one or is damaged.

    `check` is called again and again, and may raise an exception: a large file may have billions of empty texts.
    """
    with open_regular(file, 1 << 20) as stream:
        tensors, pairs = read_counts(stream)
        values: dict[str, Any] = {}
        vocabulary = items = 0
        for key, value, content in _iter_values(stream, pairs, check):
            if value.kind != LIST:
                values[key] = content
                continue
            items += content
            if key == "tokenizer.ggml.tokens":
                vocabulary = content
        count = check_count(stream, tensors, 24)
        infos = (_read_tensor_info(stream) for _ in _iter_checked(count, check))
        parameters = sum(math.prod(shape) for _, shape, _, _ in infos)
    return GgufFacts(values, parameters, vocabulary, items)


def get_file_type(facts: GgufFacts) -> str:
    """Return the quantization of a file, such as Q4_K_M; "" if it is unknown."""
    from gguf.constants import LlamaFileType

    try:
        name = LlamaFileType(facts.values.get("general.file_type")).name
    except ValueError:
        return ""
    return name.removeprefix("MOSTLY_").removeprefix("ALL_")


def read_counts(stream: BinaryIO) -> tuple[int, int]:
    """Read the first bytes of a file and return its numbers of tensors and keys."""
    magic, version, tensors, pairs = struct.unpack("<4sIQQ", read_exactly(stream, 24))
    if magic != b"GGUF":
        raise InvalidContentError("it isn't a GGUF file")
    if version not in (2, 3):
        raise InvalidContentError("GGUF version {version:d} isn't supported", version=version)
    return tensors, pairs


def read_value(stream: BinaryIO, kind: int, key: str) -> Any:
    """Return the plain value of a type that comes next, whose key is named if it is too long."""
    if kind == TEXT:
        return read_text(stream, key)
    letter = "<" + _check_kind(kind)
    return struct.unpack(letter, read_exactly(stream, struct.calcsize(letter)))[0]


def _iter_values(
    stream: BinaryIO, pairs: int, check: Check = lambda: None
) -> Iterator[tuple[str, GgufValue, Any]]:
    """Yield each key, where its value is, and the plain value; of a list, how many values it has."""
    for _ in _iter_checked(check_count(stream, pairs, 13), check):
        key = read_text(stream)
        (kind,) = struct.unpack("<I", read_exactly(stream, 4))
        start, item_kind = stream.tell(), 0
        if kind == LIST:
            (item_kind,) = struct.unpack("<I", read_exactly(stream, 4))
            stream.seek(start)
            content: Any = skip_list(stream, check=check)
        else:
            content = read_value(stream, kind, key)
        yield key, GgufValue(kind, item_kind, start, stream.tell()), content


def _iter_checked(count: int, check: Check) -> Iterator[int]:
    """Yield the numbers of items, with a check before the first of each piece."""
    for first in range(0, count, _PIECE):
        check()
        yield from range(first, min(first + _PIECE, count))


def skip_list(stream: BinaryIO, depth: int = 1, check: Check = lambda: None) -> int:
    """Skip a list and return how many values it has, those of lists inside it included."""
    kind, length = struct.unpack("<IQ", read_exactly(stream, 12))
    items = int(length)
    if kind == TEXT:
        for _ in _iter_checked(check_count(stream, length, 8), check):
            (size,) = struct.unpack("<Q", read_exactly(stream, 8))
            stream.seek(_check_text(size), 1)  # the next read notices the end of the file
    elif kind == LIST and depth < limits.GGUF_DEPTH:
        for _ in _iter_checked(check_count(stream, length, 12), check):
            items += skip_list(stream, depth + 1, check)
    else:
        size = struct.calcsize("<" + _check_kind(kind))
        stream.seek(check_count(stream, length, size) * size, 1)
    return items


def _check_kind(kind: int) -> str:
    if kind not in FIXED:
        raise InvalidContentError("it has a value of the unknown type {kind:d}", kind=kind)
    return FIXED[kind]


def read_text(stream: BinaryIO, key: str = "") -> str:
    """Return the text that comes next, which may be the value of a key."""
    (size,) = struct.unpack("<Q", read_exactly(stream, 8))
    if key and size > limits.GGUF_TEXT:
        check_count(stream, size, 1)
        raise HeaderTooLargeError(
            text(
                "{key} in its header has more than {limit:size}",
                key=key[:80],
                limit=limits.GGUF_TEXT,
            )
        )
    return read_exactly(stream, _check_text(size)).decode("utf-8", "replace")


def _check_text(size: int) -> int:
    if size > limits.GGUF_TEXT:
        raise InvalidContentError("its header is damaged")
    return size


def check_count(stream: BinaryIO, count: int, size: int) -> int:
    """Return how many items follow; raises ValueError if they, of `size` bytes each or more, can't."""
    remaining = os.fstat(stream.fileno()).st_size - stream.tell()
    if count * size > remaining:
        raise InvalidContentError("its header is damaged")
    return count


def read_exactly(stream: BinaryIO, size: int) -> bytes:
    """Return the next bytes; raises InvalidContentError if the file ends before."""
    data = stream.read(size)
    if len(data) < size:
        raise InvalidContentError("it ends in the middle of its header")
    return data


# Where everything is in a GGUF file: the byte range of each value and each tensor.
#
# Two files are compared by these ranges, so token lists needn't be parsed, which takes a minute.
# Layout: the GGUF specification, version 3 (ggml, docs/gguf.md).

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

    The shape has no first axes of length 1: some programs write them, and llama.cpp doesn't tell the difference.
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
            return struct.unpack("<" + FIXED[value.kind], raw)[0]
        length = struct.unpack_from("<Q", raw, 4)[0]
        if value.item_kind == TEXT:
            return _read_texts(raw, length)
        if value.item_kind == LIST:
            return raw.hex()  # no file has lists of lists
        return list(struct.unpack_from(f"<{length}{FIXED[value.item_kind]}", raw, 12))


def read_layout(file: Path) -> GgufLayout:
    """Return the layout of a file; raises OSError, and InvalidContentError if it is damaged."""
    with open_regular(file, 1 << 20) as stream:
        tensor_count, pairs = read_counts(stream)
        values: dict[str, GgufValue] = {}
        alignment = _ALIGNMENT
        for key, value, content in _iter_values(stream, pairs):
            if key in values:
                raise InvalidContentError("it has the key {key} twice", key=key)
            values[key] = value
            if key == "general.alignment" and isinstance(content, int) and content > 0:
                alignment = content
        count = check_count(stream, tensor_count, 24)
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


def _read_tensor_info(stream: BinaryIO) -> tuple[str, tuple[int, ...], int, int]:
    """Return name, shape with the slowest axis first, type, and offset of the next tensor of the list."""
    name = read_text(stream)
    (dimensions,) = struct.unpack("<I", read_exactly(stream, 4))
    if dimensions > 8:
        raise InvalidContentError("a tensor has more than eight dimensions")
    shape = struct.unpack(f"<{dimensions}Q", read_exactly(stream, 8 * dimensions))
    kind, offset = struct.unpack("<IQ", read_exactly(stream, 12))
    return name, drop_first_ones(shape[::-1]), kind, offset


def drop_first_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without its first axes of length 1, as GgufTensor has it."""
    while len(shape) > 1 and shape[0] == 1:
        shape = shape[1:]
    return shape


def _read_texts(raw: bytes, length: int) -> list[str]:
    texts, position = [], 12
    for _ in range(length):
        (size,) = struct.unpack_from("<Q", raw, position)
        texts.append(raw[position + 8 : position + 8 + size].decode("utf-8", "replace"))
        position += 8 + size
    return texts
