"""Open ZIP archives from others: a list of entries of a limited size, and a check before each read."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from lora_studio.core import limits
from lora_studio.core.problems import InvalidContentError
from lora_studio.core.system.foreign_files import open_raw

#: Attributes that zipfile sets while it parses the list of entries.
_PARSED = ("filelist", "NameToInfo", "_comment", "start_dir")


@contextmanager
def open_zip(path: Path, check: Callable[[], None]) -> Iterator[zipfile.ZipFile]:
    """Yield an archive; `check` is called before each read and may raise an exception to end it.

    Raises OSError, zipfile.BadZipFile, and InvalidContentError if its list of entries is too large:
    zipfile reads and parses the list at once, before it can be asked how long it is.
    """
    with _BoundedReader(open_raw(path), check) as file, _ListedZip(file) as archive:
        yield archive


class _ListedZip(zipfile.ZipFile):
    """An archive whose list of entries isn't parsed again for each of them.

    zipfile parses it on opening. With thousands of entries, each opened by its name, that takes hours.
    """

    #: The last file that was opened, and what was parsed of it.
    _last: ClassVar[tuple[tuple[int, ...], dict[str, Any]] | None] = None

    def _RealGetContents(self) -> None:  # noqa: N802 - the name in zipfile
        facts = os.fstat(self.fp.fileno())  # type: ignore[union-attr]  # it was just opened
        identity = (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns)
        last = _ListedZip._last
        if last is not None and last[0] == identity:
            vars(self).update(last[1])
            return
        super()._RealGetContents()  # type: ignore[misc]  # not in the stubs
        parsed = {name: vars(self)[name] for name in _PARSED if name in vars(self)}
        _ListedZip._last = identity, parsed


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
