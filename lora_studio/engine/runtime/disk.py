"""Check for disk space before a large file is written, reserve it, and find out whether a disk ended a program."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from io import FileIO
from pathlib import Path
from typing import IO, Any

import numpy as np

import lora_studio
from lora_studio.core.messages import Template, Text
from lora_studio.core.problems import Problem, ProblemError, Where, fail
from lora_studio.core.system.foreign_files import NamingFile, name_file, open_regular
from lora_studio.engine.runtime.failures import DISK_WORDS, disk_problem

#: Room left for everything else that writes to the same disk, in bytes.
RESERVE = 64 * 1024 * 1024

#: Zeros that are written at once where a system can't reserve space.
_PIECE = bytes(1 << 20)

#: A file that Python names in its error, and the message of a failed stream of C++.
_NAMED_FILE = re.compile(r"(?:error|system|device|exceeded): '([^']+)'")
_STREAM_ERROR = "iostream error"

#: Bytes that are written to find out whether a disk is full: a block of any file system.
_TRIAL_BYTES = 1 << 16

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


def find_program_disk_problem(
    lines: Iterable[str], title: Template | Text, source: Path, target: Path
) -> Problem | None:
    """Return the problem of the disk that ended a program, by its last lines; None for another cause.

    The program read `source` and wrote `target`. Its lines often name neither file nor error, so `source`
    is read again, and a little is written beside `target`.
    """
    output = "\n".join(lines)
    named = next((Path(match[1]) for match in _NAMED_FILE.finditer(output)), None)
    words = DISK_WORDS | {
        errno.ENOSPC: "No space left on device",
        errno.EDQUOT: "Disk quota exceeded",
    }
    for number, word in words.items():
        if word in output:
            return disk_problem(OSError(number, word, str(named or target)), title)
    try:
        _read_all(source)
        _try_to_write(target)
    except OSError as error:
        return disk_problem(error, title)
    if _STREAM_ERROR in output:  # of C++, which keeps no number
        return disk_problem(OSError(errno.EIO, DISK_WORDS[errno.EIO], str(target)), title)
    return None


def _try_to_write(target: Path) -> None:
    """Write some bytes beside a file; raises OSError with the name of that file."""
    try:
        with tempfile.TemporaryFile(dir=target.parent) as file:
            file.write(bytes(_TRIAL_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        error.filename = str(target)
        raise


def _read_all(source: Path) -> None:
    files = [source] if source.is_file() else sorted(f for f in source.glob("*") if f.is_file())
    for file in files:
        with open_regular(file) as stream:
            while stream.read(1 << 22):
                pass


# A folder that the worker keeps writing to when somebody renames or moves it.
#
# On Linux, a path through the open directory (`/proc/PID/fd/N`) leads to the folder wherever it is, for
# child processes as well, and to nothing once it was deleted: a folder of the old name is never created
# again. Elsewhere the path stays what it is, and the work ends when it no longer leads to the folder.

#: Where Linux lists the open files of this process.
DESCRIPTORS = Path("/proc/self/fd")


class PinnedFolder:
    """An open folder; `path` leads to it even after it was moved."""

    def __init__(self, folder: Path) -> None:
        """Open the folder; raises OSError."""
        self._original = folder
        self._facts = folder.stat()
        self._descriptor: int | None = None
        self.path = folder
        if hasattr(os, "O_DIRECTORY") and DESCRIPTORS.is_dir():
            self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            self.path = Path(f"/proc/{os.getpid()}/fd/{self._descriptor}")

    def close(self) -> None:
        """Close the folder."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def locate(self) -> Path | None:
        """Return where the folder is now; None if it was deleted, or moved to another disk."""
        if self._descriptor is not None:
            current = self.path.readlink()
            return current if _is_same(current, self._facts) else None
        return self._original if _is_same(self._original, self._facts) else None

    def translate(self, line: str) -> str:
        """Return a JSON line with the folder's real path instead of the one through the descriptor."""
        if self._descriptor is None or str(self.path) not in line:
            return line
        current = str(self.locate() or self._original)
        return line.replace(str(self.path), json.dumps(current)[1:-1])

    def gone_error(self) -> ProblemError:
        """Return the error for a folder that was deleted or moved where it can't be followed."""
        return fail(
            "run.moved",
            "The run folder {path} was moved or deleted while a job was using it.",
            "If you moved it, start the step again at its new location: everything that was saved moved "
            "with it.",
            path=str(self._original),
            where=Where(file=str(self._original)),
        )


def _is_same(path: Path, facts: os.stat_result) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samestat(path.stat(), facts)
    return False


@functools.cache
def get_source_digest() -> str:
    """Return a SHA-256 over the version and every module of `core` and `engine`, as hex digits.

    Both decide what a row becomes, so a cache whose key holds this digest never outlives the code
    that filled it. In a frozen app, where no source files exist, the version alone counts.
    """
    digest = hashlib.sha256(lora_studio.__version__.encode())
    package = Path(lora_studio.__file__).resolve().parent
    for layer in ("core", "engine"):
        for file in sorted((package / layer).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()
