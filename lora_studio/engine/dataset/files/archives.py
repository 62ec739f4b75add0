"""Read the entries of ZIP and tar archives without unpacking them to disk."""

from __future__ import annotations

import contextlib
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from lora_studio.core.system.foreign_files import open_regular


def list_entries(path: Path) -> list[str] | None:
    """Return the names of the files in an archive, None if the file is not an archive.

    Raises OSError, zipfile.BadZipFile or tarfile.TarError for a damaged one.
    """
    if _is_zip(path):
        with zipfile.ZipFile(path) as archive:
            return [entry.filename for entry in archive.infolist() if not entry.is_dir()]
    if not _is_tar(path):
        return None
    with tarfile.open(path) as archive:
        # tarfile reads a file that starts with zeros as an empty archive.
        return [entry.name for entry in archive if entry.isfile()] or None


@contextlib.contextmanager
def open_entry(path: Path, name: str) -> Iterator[IO[bytes]]:
    """Open a file in an archive; raises KeyError and the errors of damaged archives."""
    if _is_zip(path):
        with zipfile.ZipFile(path) as archive, archive.open(name) as file:
            yield file
        return
    with tarfile.open(path) as tar:
        entry = tar.extractfile(name)
        assert entry is not None, "entries are files"
        with entry:
            yield entry


def _is_tar(path: Path) -> bool:
    try:
        return tarfile.is_tarfile(path)
    except (EOFError, zlib.error, lzma.LZMAError):  # compressed, and truncated at the beginning
        return False


def _is_zip(path: Path) -> bool:
    with open_regular(path) as stream:
        return stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
