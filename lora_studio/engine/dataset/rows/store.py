"""The rows of a source as they are kept: an Arrow file that is never read as a whole."""

from __future__ import annotations

import bisect
import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from lora_studio.core.problems import Problem
from lora_studio.core.system.files import write_atomic
from lora_studio.engine.dataset.files.blocks import RowBlock, values_of
from lora_studio.engine.dataset.rows import cache

#: Positions of rows, from 0.
Positions = NDArray[np.int64]

_TREES = "trees"
#: Row numbers kept for each fault.
_NAMED_ROWS = 10

SCHEMA = pa.schema(
    [
        ("number", pa.int64()),
        ("line", pa.int64()),
        ("offset", pa.int64()),
        ("raw", pa.large_string()),
        ("fault", pa.string()),
    ]
)


@dataclass(frozen=True)
class RawRow:
    """One row as the file has it. `number` and `line` count from 1 (line 0: none).

    `offset` is in bytes of its file (-1: none); `fault` is why the row is unusable, with `raw`
    empty and `values` None then.
    """

    number: int
    line: int
    offset: int
    raw: str
    fault: str
    values: dict[str, Any] | None


class ScannedFile(BaseModel):
    """One file of a source; `first` is the position (from 0) of its first row."""

    model_config = ConfigDict(frozen=True)

    path: str
    member: str
    title: str
    sha256: str
    first: int


class ScanFacts(BaseModel):
    """What is known of a scan without looking at its rows.

    `faults` maps a reason to its count and first row numbers; `batches` are the places of the
    record batches in the Arrow file, with the position of the first row of each.
    """

    model_config = ConfigDict(frozen=True)

    fingerprint: str
    rows: int
    columns: tuple[str, ...]
    files: tuple[ScannedFile, ...]
    faults: dict[str, tuple[int, tuple[int, ...]]]
    problems: tuple[Problem, ...]
    batches: tuple[tuple[int, int], ...]
    bytes: int


class RowWriter:
    """Writes rows to an Arrow file, block by block, and keeps count of them and of their faults."""

    def __init__(self, file: Path) -> None:
        """Into a file that is made anew when the block begins."""
        self._file, self.rows = file, 0
        self.faults: dict[str, tuple[int, tuple[int, ...]]] = {}
        self.batches: list[tuple[int, int]] = []

    def __enter__(self) -> RowWriter:
        """Opens the file."""
        self._sink = pa.OSFile(str(self._file), "wb")
        self._stream = pa.ipc.new_stream(self._sink, SCHEMA)
        return self

    def __exit__(self, *_: object) -> None:
        """Closes it, also where an error ends the writing."""
        self._stream.close()
        self._sink.close()

    def write(self, block: RowBlock) -> None:
        """Takes the rows of a block, at least one."""
        for index, fault in enumerate(block.faults if any(block.faults) else ()):
            if fault:
                count, rows = self.faults.get(fault, (0, ()))
                named = (*rows, self.rows + index + 1) if len(rows) < _NAMED_ROWS else rows
                self.faults[fault] = (count + 1, named)
        self.batches.append((self._sink.tell(), self.rows))
        self._stream.write_batch(_batch(block, self.rows + 1))
        self.rows += len(block)


def _batch(block: RowBlock, number: int) -> pa.RecordBatch:
    """The rows as Arrow data."""
    count = len(block)
    numbers = (np.arange(number, number + count), block.lines, block.offsets)
    # pa.array would do as well, but imports pandas: 40 MB, and a second before the first row.
    integers = [
        pa.Array.from_buffers(pa.int64(), count, [None, pa.py_buffer(np.asarray(values, np.int64))])
        for values in numbers
    ]
    faults = [fault.encode() for fault in block.faults]
    texts = [
        _strings(block.raws, pa.large_string(), np.int64),
        _strings(faults, pa.string(), np.int32),
    ]
    return pa.record_batch([*integers, *texts], schema=SCHEMA)


def _strings(texts: Sequence[bytes], kind: pa.DataType, offsets: type) -> pa.Array:
    """UTF-8 texts as an Arrow array, without a Python object for each."""
    ends: NDArray[Any] = np.zeros(len(texts) + 1, dtype=offsets)
    np.cumsum(np.fromiter(map(len, texts), dtype=offsets, count=len(texts)), out=ends[1:])
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(texts))]
    return pa.Array.from_buffers(kind, len(texts), buffers)


class RowStore:
    """All rows of one source; positions count from 0, numbers from 1."""

    def __init__(self, folder: Path, facts: ScanFacts) -> None:
        """Of a finished scan; `row_scan.open_store` makes or finds one."""
        self.folder, self.facts = folder, facts
        self._starts = [first for _, first in facts.batches]
        self._last: tuple[int, pa.RecordBatch] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """For other processes: they read the same files."""
        return RowStore, (self.folder, self.facts)

    @property
    def key(self) -> str:
        """Stands for the content of all its files."""
        return self.facts.fingerprint

    @property
    def file(self) -> Path:
        """The Arrow file (a stream of record batches)."""
        return self.folder / cache.ROWS

    @property
    def title(self) -> str:
        """The kinds of its files in words."""
        return titles_of(file.title for file in self.facts.files)

    def __len__(self) -> int:
        """How many rows there are, faulty ones included."""
        return self.facts.rows

    def raw(self, position: int) -> RawRow:
        """One row; raises IndexError."""
        if not 0 <= position < len(self):
            raise IndexError(position)
        index = self.batch_of(position)
        batch = self.batch(index)
        return _row(batch, position - self._starts[index])

    def batch_of(self, position: int) -> int:
        """In which record batch a row is."""
        return bisect.bisect_right(self._starts, position) - 1

    def batch(self, index: int) -> pa.RecordBatch:
        """One record batch; the last one asked for is kept."""
        if self._last is None or self._last[0] != index:
            with pa.OSFile(str(self.file)) as file:
                self._last = (index, batch_at(file, self.facts.batches[index][0]))
        return self._last[1]

    def batches(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Every record batch with the position of its first row, one in memory at a time."""
        with pa.OSFile(str(self.file)) as file, pa.ipc.open_stream(file) as reader:
            yield from zip(self._starts, reader, strict=True)

    @functools.cached_property
    def data(self) -> Any:
        """The rows as a memory-mapped `datasets.Dataset`; importing datasets takes two seconds."""
        import datasets

        return datasets.Dataset.from_file(str(self.file))

    def keep_trees(self, trees: Positions) -> None:
        """Keeps which rows are of one conversation: for each the position of one row of it."""
        write_atomic(self.folder / _TREES, trees.astype(np.int64).tobytes())

    def trees(self) -> Positions | None:
        """What was kept of that; None where no row names another one."""
        try:
            found = np.fromfile(self.folder / _TREES, np.int64)
        except OSError:
            return None
        return found if len(found) == len(self) else None

    def file_of(self, position: int) -> ScannedFile:
        """The file that a row is in."""
        firsts = [file.first for file in self.facts.files]
        return self.facts.files[bisect.bisect_right(firsts, position) - 1]

    def text(self, position: int, limit: int = 65536) -> str:
        """A row as its file has it, also a faulty one, where the file is still there; at most so many bytes."""
        row = self.raw(position)
        if row.raw or row.offset < 0:
            return row.raw
        last = position + 1 == len(self) or self.file_of(position + 1) != self.file_of(position)
        end = -1 if last else self.raw(position + 1).offset
        try:
            with Path(self.file_of(position).path).open("rb") as file:
                file.seek(row.offset)
                size = limit if end < row.offset else min(limit, end - row.offset)
                return file.read(size).decode("utf-8", "replace").strip()
        except OSError:
            return ""


def batch_at(file: pa.NativeFile, offset: int) -> pa.RecordBatch:
    """The record batch at a place of a store's file."""
    file.seek(offset)
    message = pa.ipc.read_message(file)
    if message.type == "schema":  # stands before the first batch
        message = pa.ipc.read_message(file)
    return pa.ipc.read_record_batch(message, SCHEMA)


def _row(batch: pa.RecordBatch, index: int) -> RawRow:
    number, line, offset, raw, fault = (batch.column(place)[index].as_py() for place in range(5))
    return RawRow(number, line, offset, raw, fault, None if fault else values_of(raw))


def titles_of(titles: Iterable[str]) -> str:
    """The kinds of several files in words, each once."""
    names = list(dict.fromkeys(titles))
    return "; ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
