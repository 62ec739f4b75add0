"""Check for disk space before a large file is written, and reserve it."""

from __future__ import annotations

import math
import os
import shutil
from io import FileIO
from pathlib import Path
from typing import IO, Any

import numpy as np

from lora_studio.core.messages import Template, Text
from lora_studio.core.problems import Where, fail
from lora_studio.core.system.foreign_files import NamingFile, name_file

#: Room left for everything else that writes to the same disk, in bytes.
RESERVE = 64 * 1024 * 1024

#: Zeros that are written at once where a system can't reserve space.
_PIECE = bytes(1 << 20)

_REMEDY = "Free up some space or move the project to a larger disk, then start this step again."


def require_free_space(
    folder: Path, needed: int, purpose: Template | Text, remedy: Template | Text = _REMEDY
) -> None:
    """Raise ProblemError `disk.full` unless `needed` bytes (and a reserve) are free in `folder`.

    `purpose` begins a sentence ("The export needs …"); `remedy` replaces the usual advice when the
    disk is not the project's.
    """
    free = shutil.disk_usage(folder).free
    if free < needed + RESERVE:
        raise fail(
            "disk.full",
            "{purpose} needs {needed:size} of free disk space, of which {reserve:size} are a reserve, but "
            "only {free:size} is free.",
            remedy,
            where=Where(file=str(folder)),
            purpose=Text.model_validate(purpose),
            needed=needed + RESERVE,
            reserve=RESERVE,
            free=free,
        )


def map_new_file(file: Path, kind: Any, shape: tuple[int, ...]) -> np.memmap:
    """Return an array of zeros in a new file; raises OSError if the disk has no room for it.

    The space is reserved first: writing to a mapped page for which there is none ends the process.
    """
    with NamingFile(file, "wb") as stream:
        reserve_space(stream, math.prod(shape) * np.dtype(kind).itemsize)
    return np.memmap(file, kind, "r+", shape=shape)


def reserve_space(stream: IO[bytes] | FileIO, size: int) -> None:
    """Make a new file `size` zeros long; raises OSError, with its name, if the disk has no room."""
    with name_file(stream.name):
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(stream.fileno(), 0, max(size, 1))
            return
        for begin in range(0, size, len(_PIECE)):
            stream.write(_PIECE[: size - begin])
        stream.seek(0)
