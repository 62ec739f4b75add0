"""The stored rows of a source: an Arrow file that is never read as a whole."""

from __future__ import annotations

import bisect
import contextlib
import functools
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from lora_studio.core import limits
from lora_studio.core.messages import Text, text
from lora_studio.core.problems import Problem
from lora_studio.core.protocol.events import Skipped
from lora_studio.core.system.files import create_folder, write_atomic
from lora_studio.core.system.foreign_files import name_file, open_regular, read_text
from lora_studio.core.system.paths import get_cache_folder
from lora_studio.engine.dataset.files.blocks import (
    RowBlock,
    SkipReason,
    dump_reason,
    load_reason,
    parse_values,
)
from lora_studio.engine.runtime import disk

#: Positions of rows, from 0.
Positions = NDArray[np.int64]

_TREES = "trees"
#: Row numbers listed for each fault.
_NAMED_ROWS = 10
#: Rows that are sampled from all over a source, and batches that they come from.
_SAMPLED, _BATCHES = 500, 20

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

    `offset` is in bytes of its file (-1: none). `fault` is why the row is skipped; `raw` is empty
    and `values` is None then.
    """

    number: int
    line: int
    offset: int
    raw: str
    fault: SkipReason | None
    values: dict[str, Any] | None


class ScannedFile(BaseModel):
    """One file of a source; `first` is the position (from 0) of its first row."""

    model_config = ConfigDict(defer_build=True, frozen=True)

    path: str
    member: str
    title: Text
    sha256: str
    first: int


class ScanFacts(BaseModel):
    """Facts about a scan that are known without reading its rows.

    `faults` are the rows that no row could be read from; `batches` are the offsets of the record
    batches in the Arrow file, with the position of the first row of each.
    """

    model_config = ConfigDict(defer_build=True, frozen=True)

    fingerprint: str
    rows: int
    columns: tuple[str, ...]
    files: tuple[ScannedFile, ...]
    faults: tuple[Skipped, ...]
    problems: tuple[Problem, ...]
    batches: tuple[tuple[int, int], ...]
    bytes: int


class ArrowWriter:
    """Writes record batches to a file as a stream, which can be mapped into memory."""

    def __init__(self, file: Path, schema: pa.Schema) -> None:
        """Create the file when the block begins."""
        self._file, self.schema = file, schema

    def __enter__(self) -> Self:
        """Open the file."""
        with name_file(self._file):
            self._sink = pa.OSFile(str(self._file), "wb")
            self._stream = pa.ipc.new_stream(self._sink, self.schema)
        return self

    def __exit__(self, *_: object) -> None:
        """Close it, also after an error."""
        with name_file(self._file):
            self._stream.close()
            self._sink.close()

    def write_batch(self, batch: pa.RecordBatch) -> int:
        """Write some rows; return their offset in the file."""
        offset: int = self._sink.tell()
        with name_file(self._file):
            self._stream.write_batch(batch)
        return offset


class RowWriter(ArrowWriter):
    """Writes rows to an Arrow file, block by block, and counts them and their faults."""

    def __init__(self, file: Path) -> None:
        """Create the file when the block begins."""
        super().__init__(file, SCHEMA)
        self.rows = 0
        self._faults: dict[SkipReason, tuple[int, tuple[int, ...]]] = {}
        self.batches: list[tuple[int, int]] = []

    @property
    def faults(self) -> tuple[Skipped, ...]:
        """Return the faulty rows so far, by reason."""
        return tuple(
            Skipped(reason=reason.text, count=count, rows=rows)
            for reason, (count, rows) in self._faults.items()
        )

    def write(self, block: RowBlock) -> None:
        """Write the rows of a block, at least one."""
        for index, fault in enumerate(block.faults if any(block.faults) else ()):
            if fault:
                count, rows = self._faults.get(fault, (0, ()))
                named = (*rows, self.rows + index + 1) if len(rows) < _NAMED_ROWS else rows
                self._faults[fault] = (count + 1, named)
        self.batches.append((self.write_batch(_build_batch(block, self.rows + 1)), self.rows))
        self.rows += len(block)


def _build_batch(block: RowBlock, number: int) -> pa.RecordBatch:
    """Return the rows as an Arrow batch."""
    count = len(block)
    numbers = (np.arange(number, number + count), block.lines, block.offsets)
    # pa.array imports pandas: 40 MB, and a second before the first row.
    integers = [
        pa.Array.from_buffers(pa.int64(), count, [None, pa.py_buffer(np.asarray(values, np.int64))])
        for values in numbers
    ]
    faults = [dump_reason(fault).encode() if fault else b"" for fault in block.faults]
    texts = [
        _build_strings(block.raws, pa.large_string(), np.int64),
        _build_strings(faults, pa.string(), np.int32),
    ]
    return pa.record_batch([*integers, *texts], schema=SCHEMA)


def _build_strings(texts: Sequence[bytes], kind: pa.DataType, offsets: type) -> pa.Array:
    """Return UTF-8 texts as an Arrow array, without a Python object for each."""
    ends: NDArray[Any] = np.zeros(len(texts) + 1, dtype=offsets)
    np.cumsum(np.fromiter(map(len, texts), dtype=offsets, count=len(texts)), out=ends[1:])
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(texts))]
    return pa.Array.from_buffers(kind, len(texts), buffers)


class RowStore:
    """All rows of one source; positions count from 0, numbers from 1."""

    def __init__(self, folder: Path, facts: ScanFacts) -> None:
        """Open a finished scan; `rows.scan.open_store` returns one."""
        self.folder, self.facts = folder, facts
        self._starts = [first for _, first in facts.batches]
        self._last: tuple[int, pa.RecordBatch] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the folder only, because other processes read the same files."""
        return RowStore, (self.folder, self.facts)

    @property
    def key(self) -> str:
        """Return the hash of the content of all its files, and of how this version reads them."""
        return self.facts.fingerprint

    @property
    def sha256(self) -> str:
        """Return the hash of its files' bytes, which no version of the program changes."""
        hashes = "".join(file.sha256 for file in self.facts.files)
        return hashlib.sha256(hashes.encode()).hexdigest()

    @property
    def file(self) -> Path:
        """Return the Arrow file (a stream of record batches)."""
        return self.folder / ROWS

    @property
    def title(self) -> Text:
        """Return the kinds of its files, for messages."""
        return join_titles(file.title for file in self.facts.files)

    def __len__(self) -> int:
        """Return the number of rows, faulty ones included."""
        return self.facts.rows

    def read_raw(self, position: int) -> RawRow:
        """Return one row; raises IndexError."""
        if not 0 <= position < len(self):
            raise IndexError(position)
        index = self.get_batch_index(position)
        batch = self.read_batch(index)
        return _read_row(batch, position - self._starts[index])

    def get_batch_index(self, position: int) -> int:
        """Return the number of the record batch that a row is in."""
        return bisect.bisect_right(self._starts, position) - 1

    def read_batch(self, index: int) -> pa.RecordBatch:
        """Return one record batch; the last one stays in memory."""
        if self._last is None or self._last[0] != index:
            with pa.OSFile(str(self.file)) as file:
                self._last = (index, read_batch_at(file, self.facts.batches[index][0]))
        return self._last[1]

    def iter_batches(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield every record batch with the position of its first row, one in memory at a time."""
        with pa.OSFile(str(self.file)) as file, pa.ipc.open_stream(file) as reader:
            yield from zip(self._starts, reader, strict=True)

    @functools.cached_property
    def data(self) -> Any:
        """Return the rows as a memory-mapped `datasets.Dataset`; importing it takes two seconds."""
        import datasets

        return datasets.Dataset.from_file(str(self.file))

    def save_trees(self, trees: Positions) -> None:
        """Save the conversation that each row [rows] is in: the position of one row of it."""
        write_atomic(self.folder / _TREES, trees.astype(np.int64).tobytes())

    def read_trees(self) -> Positions | None:
        """Return what `save_trees` saved; None where no row names another one."""
        try:
            trees = np.fromfile(self.folder / _TREES, np.int64)
        except OSError:
            return None
        return trees if len(trees) == len(self) else None

    def get_source_file(self, position: int) -> ScannedFile:
        """Return the file that a row is in."""
        firsts = [file.first for file in self.facts.files]
        return self.facts.files[bisect.bisect_right(firsts, position) - 1]

    def read_text(self, position: int, limit: int = 65536) -> str:
        """Return a row as its file has it, a faulty one too if the file still exists.

        At most `limit` bytes of a faulty row are read.
        """
        row = self.read_raw(position)
        if row.raw or row.offset < 0:
            return row.raw
        last = position + 1 == len(self) or self.get_source_file(
            position + 1
        ) != self.get_source_file(position)
        end = -1 if last else self.read_raw(position + 1).offset
        try:
            with open_regular(Path(self.get_source_file(position).path)) as file:
                file.seek(row.offset)
                size = limit if end < row.offset else min(limit, end - row.offset)
                return file.read(size).decode("utf-8", "replace").strip()
        except OSError:
            return ""


def sample_rows(store: RowStore) -> list[RawRow]:
    """Return readable rows from all over a source, from some batches only: reading one is costly."""
    count = len(store.facts.batches)
    numbers = sorted({round(index * (count - 1) / (_BATCHES - 1)) for index in range(_BATCHES)})
    per_batch = -(-_SAMPLED // len(numbers))
    sample: list[RawRow] = []
    size = 0
    for number in numbers:
        rows = store.read_batch(number).num_rows
        first = store.facts.batches[number][1]
        for index in range(0, rows, max(1, rows // per_batch)):
            row = store.read_raw(first + index)
            if row.values is not None:
                sample.append(row)
                if (size := size + len(row.raw)) > limits.SAMPLE_BYTES:
                    return sample
    return sample


def read_batch_at(file: pa.NativeFile, offset: int) -> pa.RecordBatch:
    """Return the record batch at an offset of a store's file."""
    file.seek(offset)
    message = pa.ipc.read_message(file)
    if message.type == "schema":  # it precedes the first batch
        message = pa.ipc.read_message(file)
    return pa.ipc.read_record_batch(message, SCHEMA)


def _read_row(batch: pa.RecordBatch, index: int) -> RawRow:
    number, line, offset, raw, fault = (column[index].as_py() for column in batch.columns)
    if fault:
        return RawRow(number, line, offset, raw, load_reason(fault), None)
    return RawRow(number, line, offset, raw, None, parse_values(raw))


def join_titles(titles: Iterable[Text]) -> Text:
    """Return the kinds of several files, each once and three at most."""
    distinct = list(dict.fromkeys(titles))
    shown, more = distinct[:3], len(distinct) - 3
    joined = shown[0]
    for title in shown[1:]:
        joined = text("{first}; {last}", first=joined, last=title)
    return text("{titles} and {n} more", titles=joined, n=more) if more > 0 else joined


# The cache of scans: looked up by key, complete or absent, and deleted when long unused.
#
# The folder of a scan is named after its content. The facts about it are stored under the key of the
# files that it was made from, because the same rows may be in several places.

ROWS = "rows.arrow"
#: Days after which unused scans are deleted, and total bytes above which the longest unused ones are.
_DAYS, _MOST_BYTES = 30, 50_000_000_000
#: Seconds after its last use before a scan may be deleted: a job may still be reading it.
_IN_USE_SECONDS = 6 * 3600
#: Maximum size of a scan as a multiple of its files' size.
_GROWTH = 1.15


def get_root_folder() -> Path:
    """Return the folder of all scans."""
    return get_cache_folder() / "rows"


def read_facts(key: str) -> str | None:
    """Return the facts stored under the key of some files, None if there are none."""
    file = get_root_folder() / "keys" / key
    try:
        os.utime(file)
        return read_text(file)
    except OSError:
        return None


def store_facts(key: str, facts: str) -> None:
    """Store the facts about a scan under the key of its files."""
    write_atomic(get_root_folder() / "keys" / key, facts)


def find_scan(name: str, size: int) -> Path | None:
    """Return the folder of a scan if its rows have `size` bytes, else None."""
    folder = get_root_folder() / name
    try:
        if (folder / ROWS).stat().st_size != size:
            return None
        os.utime(folder)
    except OSError:
        return None
    return folder


@contextlib.contextmanager
def create_scan_folder() -> Iterator[Path]:
    """Create a folder to scan or unpack into; it is deleted after the block unless `keep_scan` moved it."""
    create_folder(get_root_folder())
    folder = Path(tempfile.mkdtemp(prefix=".", suffix=".tmp", dir=get_root_folder()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def keep_scan(folder: Path, name: str) -> Path:
    """Move a scan into the cache, unless another process has done so; return its folder there."""
    size = (folder / ROWS).stat().st_size
    target = get_root_folder() / name
    if cached := find_scan(name, size):
        return cached
    with contextlib.suppress(OSError):
        folder.rename(target)
        return target
    # Another process may have been faster, and already reads it; a damaged scan is replaced.
    if not find_scan(name, size):
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
    return target


def require_space(folder: Path, size: int) -> None:
    """Raise ProblemError unless there is disk space to scan files of `size` bytes."""
    disk.require_free_space(folder, int(size * _GROWTH), "Reading the dataset into the cache")


def delete_unused() -> None:
    """Delete scans that were long unused, and unfinished ones of workers that died."""
    now = time.time()
    scans: list[tuple[float, int, Path]] = []
    for folder in get_root_folder().glob("*"):
        with contextlib.suppress(OSError):
            used = folder.stat().st_mtime
            if folder.name == "keys":
                _clean_keys(folder, now)
            elif now - used > (_DAYS * 86400 if not folder.name.startswith(".") else 86400):
                shutil.rmtree(folder, ignore_errors=True)
            else:
                scans.append((used, sum(file.stat().st_size for file in folder.iterdir()), folder))
    total = sum(size for _, size, _ in scans)
    for used, size, folder in sorted(scans):
        if total <= _MOST_BYTES or now - used < _IN_USE_SECONDS:
            break
        shutil.rmtree(folder, ignore_errors=True)
        total -= size


def _clean_keys(folder: Path, now: float) -> None:
    for link in folder.iterdir():
        if now - link.stat().st_mtime > _DAYS * 86400:
            link.unlink(missing_ok=True)


Hashes = NDArray[np.uint64]


def mix64(values: Hashes) -> Hashes:
    """Return a bijective scrambling of 64-bit values (the finalizer of splitmix64, Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def hash_text(text: str) -> int:
    """Return 64 bits that identify a text; 0 for an empty one.

    Two of two million texts collide with a probability of 10^-7.
    """
    if not text:
        return 0
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
