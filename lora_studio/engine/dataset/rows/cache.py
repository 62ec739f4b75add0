"""Where scans are kept: found by key, complete or not there, and deleted when long unused.

A scan lies in a folder with the name of its content. What is known of it beside its rows lies under
the key of the files it was made of: the same rows may come from several places.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from lora_studio.core.system.files import write_atomic
from lora_studio.core.system.paths import cache_folder
from lora_studio.engine.runtime import disk

ROWS = "rows.arrow"
#: Scans unused for this long go, and the longest unused ones when all take more than this.
_DAYS, _MOST_BYTES = 30, 50_000_000_000
#: What was used this recently stays, as a job may be reading it.
_IN_USE_SECONDS = 6 * 3600
#: A scan takes up to this much more room than the files it is made of.
_GROWTH = 1.15


def root() -> Path:
    """The folder of all scans."""
    return cache_folder() / "rows"


def find(key: str) -> str | None:
    """What was remembered under a key, None when there is nothing."""
    file = root() / "keys" / key
    try:
        os.utime(file)
        return file.read_text("utf-8")
    except OSError:
        return None


def remember(key: str, facts: str) -> None:
    """Keeps what is known of a scan under the key of its files."""
    write_atomic(root() / "keys" / key, facts)


def whole(name: str, size: int) -> Path | None:
    """The folder of the scan with this name if its rows take so many bytes."""
    folder = root() / name
    try:
        if (folder / ROWS).stat().st_size != size:
            return None
        os.utime(folder)
    except OSError:
        return None
    return folder


@contextlib.contextmanager
def fresh_folder() -> Iterator[Path]:
    """A folder to scan or unpack into, deleted at the end of the block unless it was kept."""
    root().mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".", suffix=".tmp", dir=root()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def keep(folder: Path, name: str) -> Path:
    """Puts a scan in its place; the same scan by another process is as good."""
    size = (folder / ROWS).stat().st_size
    place = root() / name
    if kept := whole(name, size):
        return kept
    with contextlib.suppress(OSError):
        folder.rename(place)
        return place
    # Another process may have been faster, and reads it by now; what is damaged is replaced.
    if not whole(name, size):
        shutil.rmtree(place, ignore_errors=True)
        folder.rename(place)
    return place


def require(folder: Path, size: int) -> None:
    """Raises ProblemError unless there is room for the scan of so many bytes."""
    disk.require(folder, int(size * _GROWTH), "Reading the dataset into the cache")


def clean() -> None:
    """Deletes what was long unused, and half-made scans of workers that have died."""
    now = time.time()
    scans: list[tuple[float, int, Path]] = []
    for folder in root().glob("*"):
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
