"""Disk space is checked before a large file is begun, not found missing at its end."""

from __future__ import annotations

import shutil
from pathlib import Path

from lora_studio.core.problems import Where, fail

#: Room left for everything else that writes to the same disk, in bytes.
RESERVE = 64 * 1024 * 1024


def require(folder: Path, needed: int, doing: str, remedy: str = "") -> None:
    """Raises ProblemError `disk.full` unless `needed` bytes (and a reserve) are free there.

    `remedy` is what helps where the disk is not the project's.
    """
    free = shutil.disk_usage(folder).free
    if free < needed + RESERVE:
        raise fail(
            "disk.full",
            f"{doing} needs {in_words(needed)}, and the disk has {in_words(free)} free.",
            "Free some space or move the project to a larger disk, then start this step again."
            if remedy == ""
            else remedy,
            where=Where(file=str(folder)),
        )


def in_words(size: float) -> str:
    """A size in bytes in decimal units, as disks are sold and file managers count."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit in ("B", "kB") else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
