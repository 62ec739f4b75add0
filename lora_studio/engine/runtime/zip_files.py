"""Open ZIP archives from others: a list of entries of a limited size, and a check before each read."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lora_studio.core import limits
from lora_studio.core.problems import InvalidContentError
from lora_studio.core.system.foreign_files import open_raw


@contextmanager
def open_zip(path: Path, check: Callable[[], None]) -> Iterator[zipfile.ZipFile]:
    """Yield an archive; `check` is called before each read and may raise an exception to end it.

    Raises OSError, zipfile.BadZipFile, and InvalidContentError if its list of entries is too large:
    zipfile reads and parses the list at once, before it can be asked how long it is.
    """
    with _BoundedReader(open_raw(path), check) as file, zipfile.ZipFile(file) as archive:
        yield archive


class _BoundedReader(io.BufferedReader):
    """A file of which no more than `limits.ZIP_LIST` bytes are read at a time."""

    def __init__(self, raw: io.FileIO, check: Callable[[], None]) -> None:
        super().__init__(raw)
        self._check = check

    def read(self, size: int | None = -1) -> bytes:
        self._check()
        if size is None or size < 0:  # zipfile reads up to the end in search of the list
            size = max(0, os.fstat(self.fileno()).st_size - self.tell())
        if size > limits.ZIP_LIST:
            raise InvalidContentError("its list of files is too large")
        return super().read(size)
