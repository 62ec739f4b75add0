"""The teacher's most likely tokens of many rows, in a file: they don't fit in memory.

A file of values has one record for each trained token, in the order of the unique rows. A file of checksums
says which rows are complete: it is written after the values have reached the disk, so a process that is
killed loses what it computed since then, and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import zlib
from pathlib import Path

import numpy as np

from lora_studio.core.messages import text
from lora_studio.core.system.files import write_atomic
from lora_studio.core.system.foreign_files import open_own, open_regular, read_bytes
from lora_studio.core.system.mounts import create_folder
from lora_studio.engine.runtime import disk

_DIGEST_BYTES = hashlib.sha256().digest_size
_UNKNOWN = -1

_REMEDY = text(
    "Free up some space on the disk of the cache folder, or store fewer teacher tokens per position."
)


class TeacherStore:
    """Records of unique rows by number; `counts` are the trained tokens of each."""

    def __init__(self, file: Path, counts: np.ndarray, top_k: int) -> None:
        """Open the store, or an empty one if there is none; damaged rows count as unknown."""
        self._file, self._index = file.with_suffix(".values"), file.with_suffix(".rows")
        self.dtype = np.dtype(
            [("ids", np.uint32, (top_k,)), ("logprobs", np.float32, (top_k,)), ("rest", np.float32)]
        )
        self._offsets = np.concatenate([[0], np.cumsum(counts)]) * self.dtype.itemsize
        self._checksums = self._read_checksums(len(counts))

    @property
    def bytes(self) -> int:
        """Return the size of the file with the values of all rows."""
        return int(self._offsets[-1])

    def find_missing(self, rows: np.ndarray) -> np.ndarray:
        """Return which of the rows aren't known, after comparing all others with their checksums."""
        known = rows[self._checksums[rows] != _UNKNOWN]
        with contextlib.suppress(OSError), open_regular(self._file) as stream:
            for row in known:
                begin, end = self._offsets[row : row + 2]
                stream.seek(begin)
                if zlib.crc32(stream.read(end - begin)) != self._checksums[row]:
                    self._checksums[row] = _UNKNOWN
        if not self._file.is_file():
            self._checksums[:] = _UNKNOWN
        return rows[self._checksums[rows] == _UNKNOWN]

    def require_space(self, rows: np.ndarray) -> None:
        """Raise ProblemError unless the values of these rows fit on the disk."""
        create_folder(self._file.parent)
        needed = int((self._offsets[rows + 1] - self._offsets[rows]).sum())
        disk.require_free_space(
            self._file.parent, needed, text("The cache of the teacher's probabilities"), _REMEDY
        )

    def read(self, row: int) -> np.ndarray:
        """Return the records of a row, [trained tokens]."""
        begin, end = self._offsets[row : row + 2]
        with open_regular(self._file) as stream:
            stream.seek(begin)
            return np.frombuffer(stream.read(end - begin), self.dtype)

    def write(self, rows: list[int], records: np.ndarray) -> None:
        """Write the records of some rows, end to end; raises OSError."""
        if not self._file.exists():
            create_folder(self._file.parent)
            with open_own(self._file, "ab"):
                pass
        data = records.tobytes()
        done = 0
        with open_own(self._file, "rb+") as stream:
            for row in rows:
                begin, end = self._offsets[row : row + 2]
                part = data[done : done + (end - begin)]
                stream.seek(begin)
                stream.write(part)
                self._checksums[row] = zlib.crc32(part)
                done += end - begin

    def save(self) -> None:
        """Record which rows are complete, after their values are on the disk; raises OSError."""
        if not self._file.exists():
            return
        with open_own(self._file, "rb+") as stream:
            os.fsync(stream.fileno())
        data = self._checksums.tobytes()
        write_atomic(self._index, hashlib.sha256(data).digest() + data)

    def _read_checksums(self, rows: int) -> np.ndarray:
        with contextlib.suppress(OSError):
            content = read_bytes(self._index, _DIGEST_BYTES + 8 * rows)
            digest, data = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
            if len(data) == 8 * rows and hashlib.sha256(data).digest() == digest:
                for file in (self._file, self._index):
                    os.utime(file)
                return np.frombuffer(data, np.int64).copy()
        return np.full(rows, _UNKNOWN, np.int64)
