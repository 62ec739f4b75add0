"""Where scans are kept: found by key, complete or not there, and deleted when long unused."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from lora_studio.core.files import write_atomic
from lora_studio.core.paths import cache_folder
from lora_studio.engine import disk

ROWS = "rows.arrow"
_FACTS = "facts.json"
#: Scans unused for this long go, and the longest unused ones when all take more than this.
_DAYS, _MOST_BYTES = 30, 50_000_000_000
#: What was used this recently stays, as a job may be reading it.
_IN_USE_SECONDS = 6 * 3600
#: A scan takes up to this much more room than the files it is made of.
_GROWTH = 1.15


def root() -> Path:
    """The folder of all scans."""
    return cache_folder() / "rows"


def find(key: str) -> tuple[Path, str, int] | None:
    """Folder, facts and size of the scan under a key, None when there is none."""
    link = root() / "keys" / key
    try:
        folder = root() / link.read_text("ascii")
        facts = (folder / _FACTS).read_text("utf-8")
        size = (folder / ROWS).stat().st_size
        os.utime(folder)
        os.utime(link)
    except OSError:
        return None
    return folder, facts, size


def remember(key: str, name: str) -> None:
    """Finds the scan of this name under a key from now on."""
    write_atomic(root() / "keys" / key, name)


@contextlib.contextmanager
def fresh_folder() -> Iterator[Path]:
    """A folder to scan into, deleted at the end of the block unless it was kept."""
    root().mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".", suffix=".tmp", dir=root()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def keep(folder: Path, name: str, facts: str) -> Path:
    """Completes a scan under its name; the same scan by another process is as good."""
    (folder / _FACTS).write_text(facts, "utf-8")
    kept = root() / name
    if _is_whole(kept, (folder / ROWS).stat().st_size):
        return kept
    shutil.rmtree(kept, ignore_errors=True)
    try:
        folder.rename(kept)
    except OSError:
        # Another process was faster.
        if not (kept / _FACTS).exists():
            raise
    return kept


def _is_whole(folder: Path, size: int) -> bool:
    try:
        return (folder / _FACTS).exists() and (folder / ROWS).stat().st_size == size
    except OSError:
        return False


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
