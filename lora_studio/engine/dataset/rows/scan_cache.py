"""The cache of scans: looked up by key, complete or absent, and deleted when long unused.

The folder of a scan is named after its content. The facts about it are stored under the key of the
files that it was made from, because the same rows may be in several places.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from lora_studio.core.system.files import create_folder, write_atomic
from lora_studio.core.system.foreign_files import read_text
from lora_studio.core.system.paths import get_cache_folder
from lora_studio.engine.runtime import disk

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
