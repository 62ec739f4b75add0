"""Read and write safetensors files tensor by tensor, so that no model has to fit into memory.

`safetensors.safe_open` reads headers and rows faster (0.07 s instead of 0.15 s for a header of
7,000 tensors), but doesn't report where a tensor's bytes are. Merging needs that: it copies
unchanged tensors within the kernel, writes blocks from several threads, and verifies shards after a
kill.
"""

from __future__ import annotations

import errno
import itertools
import json
import math
import os
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy
import torch

from lora_studio.core.messages import Text, text
from lora_studio.core.model.folders import INDEX, list_weight_files
from lora_studio.core.problems import InvalidContentError, ProblemError, Where, fail
from lora_studio.core.system.files import describe_os_error
from lora_studio.core.system.foreign_files import NamingFile, open_raw
from lora_studio.engine.model import safetensors_header

SINGLE = "model.safetensors"

#: Names of data types in the format.
DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in DTYPES.items()}

#: Errors of a disk.
_DISK = (errno.EIO, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
#: Bytes copied between two checks for a cancel: large enough to be cheap, small enough to react at once.
_COPY_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class StoredTensor:
    """One tensor on disk; `start` and `end` are byte offsets in its file."""

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def floating(self) -> bool:
        """Return whether the tensor holds floating-point numbers of 16 bits or more."""
        return self.dtype in ("F64", "F32", "F16", "BF16")

    @property
    def length(self) -> int:
        """Return the number of rows, along the first axis; a single value is one row."""
        return self.shape[0] if self.shape else 1

    def read(self) -> torch.Tensor:
        """Return the tensor as a copy in memory."""
        return self.read_rows(0, self.length)

    def read_rows(self, first: int, last: int) -> torch.Tensor:
        """Return rows `first` up to but not including `last`, as a copy in memory."""
        shape = (last - first, *self.shape[1:]) if self.shape else ()
        if self.dtype not in DTYPES:
            reason = text(
                "{tensor} has the unknown format {dtype}", tensor=self.name, dtype=self.dtype
            )
            raise _unreadable_file_error(self.file, reason)
        tensor = torch.empty(shape, dtype=DTYPES[self.dtype])
        if tensor.numel():
            with open_raw(self.file) as file:
                file.seek(self.start + first * ((self.end - self.start) // self.length))
                _fill(file, tensor)
        return tensor

    def copy_to(self, target: BinaryIO, position: int, check: Callable[[], None]) -> None:
        """Write the bytes of the tensor at a position of an open, unbuffered file.

        `check` is called every few megabytes; what it raises ends the copy.
        """
        with open_raw(self.file) as file:
            for done in range(0, self.end - self.start, _COPY_BYTES):
                check()
                count = min(_COPY_BYTES, self.end - self.start - done)
                _copy_range(file, self.start + done, target, position + done, count)


@dataclass(frozen=True)
class PlannedFile:
    """A tensor to be written, known before it is computed."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Return the size of the data."""
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize


def read_index(folder: Path, check: Callable[[], None] = lambda: None) -> dict[str, StoredTensor]:
    """Return every tensor of a Hugging Face model, in the order of its files.

    `check` is called before each file; it may raise. Raises ProblemError when safetensors files are
    missing or truncated.
    """
    tensors: dict[str, StoredTensor] = {}
    for file in _list_files(folder):
        check()
        tensors |= {tensor.name: tensor for tensor in read_header(file)}
    return tensors


def read_header(file: Path) -> list[StoredTensor]:
    """Return the tensors of one file; raises ProblemError unless it is a complete safetensors file."""
    try:
        header, start = safetensors_header.read_header(file)
    except FileNotFoundError:
        raise _unreadable_file_error(file, text("the file is missing")) from None
    except InvalidContentError as error:
        raise _unreadable_file_error(file, error.reason) from error
    return [
        StoredTensor(
            name,
            file,
            entry["dtype"],
            tuple(entry["shape"]),
            start + entry["data_offsets"][0],
            start + entry["data_offsets"][1],
        )
        for name, entry in header.items()
    ]


def count_parameters(folder: Path, check: Callable[[], None] = lambda: None) -> int:
    """Return the number of values in all tensors of a model; `check` is as in `read_index`."""
    return sum(math.prod(tensor.shape) for tensor in read_index(folder, check).values())


def get_format_name(dtype: torch.dtype) -> str:
    """Return the format's name of a data type."""
    return _NAMES[dtype]


def get_dtype_name(dtype: torch.dtype) -> str:
    """Return torch's name of a dtype, as settings and records use it: bfloat16."""
    return str(dtype).removeprefix("torch.")


def make_shard_names(count: int) -> list[str]:
    """Return the file names of a model with this number of parts."""
    if count == 1:
        return [SINGLE]
    return [f"model-{part:05d}-of-{count:05d}.safetensors" for part in range(1, count + 1)]


def build_header(tensors: list[PlannedFile]) -> tuple[bytes, list[int]]:
    """Return the header bytes of a file with these tensors, and the offset of each tensor's data.

    The last offset is the size of the file.
    """
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    ends = [0, *itertools.accumulate(tensor.bytes for tensor in tensors)]
    for tensor, offsets in zip(tensors, itertools.pairwise(ends), strict=True):
        entries[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": list(offsets),
        }
    raw = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    raw += b" " * (-len(raw) % 8)
    return struct.pack("<Q", len(raw)) + raw, [8 + len(raw) + end for end in ends]


def save(file: Path, tensors: Iterable[tuple[PlannedFile, Callable[[], torch.Tensor]]]) -> None:
    """Write a file whose tensors are produced one at a time; readers never see an incomplete file."""
    listed = list(tensors)
    header_bytes, _ = build_header([planned for planned, _ in listed])
    part = file.with_name(file.name + ".part")
    with NamingFile(part, "wb") as opened:
        opened.write(header_bytes)
        for planned, make in listed:
            tensor = make().to(DTYPES[planned.dtype])
            assert tuple(tensor.shape) == planned.shape, planned.name
            write(opened, tensor)
    part.replace(file)


def write(file: BinaryIO, tensor: torch.Tensor) -> None:
    """Write the data of a tensor at the current position of an unbuffered file."""
    view = view_bytes(tensor).data
    while view:
        view = view[file.write(view) :]


def view_bytes(tensor: torch.Tensor) -> numpy.ndarray:
    """Return the data of a tensor as bytes, without a copy where it is contiguous."""
    flat = tensor.contiguous().view(-1)
    # One number is contiguous with any stride, and only stride 1 can be viewed as bytes.
    return flat.as_strided(flat.shape, (1,)).view(torch.uint8).numpy()


def _fill(file: BinaryIO, tensor: torch.Tensor) -> None:
    view = view_bytes(tensor).data
    while view:
        count = file.readinto(view)  # type: ignore[attr-defined]  # unbuffered, so a raw file
        if not count:
            raise _unreadable_file_error(Path(file.name), text("the file is truncated"))
        view = view[count:]


def _copy_range(source: BinaryIO, start: int, target: BinaryIO, position: int, count: int) -> None:
    """Copy bytes between two files; within the kernel where that is possible (Linux)."""
    while count and hasattr(os, "copy_file_range"):
        try:
            moved = os.copy_file_range(source.fileno(), target.fileno(), count, start, position)
        except OSError as error:
            # Two file systems, or one without support: copied in user space below. So is what fails on
            # one of two disks: there, the error names the file.
            if error.errno not in (
                errno.EXDEV,
                errno.EINVAL,
                errno.ENOSYS,
                errno.EOPNOTSUPP,
                *_DISK,
            ):
                raise
            break
        if not moved:
            break
        start, position, count = start + moved, position + moved, count - moved
    source.seek(start)
    target.seek(position)
    while count:
        data = source.read(count)
        if not data:
            raise _unreadable_file_error(Path(source.name), text("the file is truncated"))
        view = memoryview(data)
        count -= len(view)
        while view:
            view = view[target.write(view) :]


def _list_files(folder: Path) -> list[Path]:
    if (folder / INDEX).is_file():
        try:
            return [folder / name for name in list_weight_files(folder)]
        except (OSError, ValueError) as error:
            reason = text("{error}", error=describe_os_error(error))
            raise _unreadable_file_error(folder / INDEX, reason) from error
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    raise fail(
        "model.no_safetensors",
        "{folder} has no .safetensors weights.",
        "Choose a folder with safetensors weights. Other formats can run code when they are loaded.",
        where=Where(step="model", field="source", file=str(folder)),
        folder=str(folder),
    )


def _unreadable_file_error(file: Path, reason: Text) -> ProblemError:
    return fail(
        "model.unreadable",
        "{file} can't be read: {reason}.",
        "Copy or download the file again.",
        where=Where(file=str(file)),
        file=file.name,
        reason=reason,
    )
