"""Safetensors files read and written tensor by tensor, so that no model has to fit into memory.

Format: 8 bytes little-endian length, a JSON header {name: {dtype, shape, data_offsets}}, the data
(https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch

from lora_studio.core.problems import ProblemError, Where, fail

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"

#: Names of data types in the format.
DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in DTYPES.items()}

_COPY_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Stored:
    """One tensor on disk; `start` and `end` are byte offsets in its file."""

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def floating(self) -> bool:
        """Whether the tensor holds floating-point numbers of 16 bits or more."""
        return self.dtype in ("F64", "F32", "F16", "BF16")

    def read(self) -> torch.Tensor:
        """The tensor, in memory of its own."""
        with self.file.open("rb") as file:
            file.seek(self.start)
            raw = bytearray(file.read(self.end - self.start))
        if not raw:
            return torch.empty(self.shape, dtype=DTYPES[self.dtype])
        return torch.frombuffer(raw, dtype=DTYPES[self.dtype]).reshape(self.shape)

    def copy_to(self, target: BinaryIO) -> None:
        """Appends the bytes of the tensor to an open file."""
        with self.file.open("rb") as file:
            file.seek(self.start)
            left = self.end - self.start
            while left:
                left -= target.write(file.read(min(left, _COPY_BYTES)))


@dataclass(frozen=True)
class Planned:
    """A tensor to be written, known before it is computed."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Size of the data."""
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize


def index(folder: Path) -> dict[str, Stored]:
    """Every tensor of a Hugging Face model, in the order of its files.

    Raises ProblemError when there are no safetensors files or one of them is missing or torn.
    """
    tensors: dict[str, Stored] = {}
    for file in _files(folder):
        tensors |= {tensor.name: tensor for tensor in header(file)}
    return tensors


def header(file: Path) -> list[Stored]:
    """The tensors of one file; raises ProblemError when it is no complete safetensors file."""
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if length > file.stat().st_size:
                raise ValueError("its header is longer than the file")
            entries = json.loads(opened.read(length))
        entries.pop("__metadata__", None)
        base = 8 + length
        found = [
            Stored(
                name,
                file,
                entry["dtype"],
                tuple(entry["shape"]),
                base + entry["data_offsets"][0],
                base + entry["data_offsets"][1],
            )
            for name, entry in entries.items()
        ]
        if max((tensor.end for tensor in found), default=base) > file.stat().st_size:
            raise ValueError("it ends too early")
    except FileNotFoundError:
        raise _broken(file, "it is missing") from None
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise _broken(file, str(error) or "its header cannot be read") from error
    return found


def parameters(folder: Path) -> int:
    """Number of values in all tensors of a model."""
    return sum(math.prod(tensor.shape) for tensor in index(folder).values())


def name_of(dtype: torch.dtype) -> str:
    """The format's name of a data type."""
    return _NAMES[dtype]


def shards(tensors: list[Planned], limit: int) -> list[list[Planned]]:
    """Tensors by file: as many in each as fit into `limit` bytes, but at least one."""
    result: list[list[Planned]] = [[]]
    size = 0
    for tensor in tensors:
        if result[-1] and size + tensor.bytes > limit:
            result.append([])
            size = 0
        result[-1].append(tensor)
        size += tensor.bytes
    return result


def shard_names(count: int) -> list[str]:
    """File names of a model in so many parts."""
    if count == 1:
        return [SINGLE]
    return [f"model-{part:05d}-of-{count:05d}.safetensors" for part in range(1, count + 1)]


@contextmanager
def writing(file: Path, tensors: list[Planned]) -> Iterator[BinaryIO]:
    """Opens a new file for the data of these tensors, to be written in this order."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in tensors:
        entries[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.bytes],
        }
        offset += tensor.bytes
    raw = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    raw += b" " * (-len(raw) % 8)
    with file.open("wb") as opened:
        opened.write(struct.pack("<Q", len(raw)) + raw)
        yield opened
        if opened.tell() != 8 + len(raw) + offset:
            raise AssertionError(f"{file.name} does not hold what its header says")


def append(file: BinaryIO, tensor: torch.Tensor) -> None:
    """Appends the data of a tensor."""
    file.write(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)


def _files(folder: Path) -> list[Path]:
    if (folder / INDEX).is_file():
        try:
            names = json.loads((folder / INDEX).read_text("utf-8"))["weight_map"].values()
        except (ValueError, KeyError, AttributeError) as error:
            raise _broken(folder / INDEX, "it lists no files") from error
        return [folder / name for name in dict.fromkeys(names)]
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    raise fail(
        "model.no_safetensors",
        f"{folder} holds no .safetensors weights.",
        "Choose a folder whose weights are safetensors files; others could run code when loaded.",
        where=Where(step="model", field="source", file=str(folder)),
    )


def _broken(file: Path, reason: str) -> ProblemError:
    return fail(
        "model.unreadable",
        f"{file.name} cannot be read: {reason}.",
        "Copy or download the file again.",
        where=Where(file=str(file)),
    )
