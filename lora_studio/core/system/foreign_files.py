"""Open files that somebody else may have prepared: in projects, runs, models and adapters.

Reads are bounded, and only of regular files: a link to /dev/zero never ends, and a pipe blocks. Files
that are appended to or truncated must not be links, which may lead to any file of the user.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal

from lora_studio.core import limits
from lora_studio.core.messages import Template, text
from lora_studio.core.problems import InvalidContentError, Problem, Where, warning


class UnsafeFileError(OSError):
    """Raised for a file that isn't opened; `reason` completes a sentence."""

    def __init__(self, path: Path, reason: Template, **values: Any) -> None:
        """Store the file and the reason: a template with `values` for its fields."""
        self.path = path
        self.reason = text(reason, **values)
        super().__init__(f"{path}: {self.reason}")


def open_own(path: Path, mode: Literal["ab", "wb", "ab+", "rb+"], buffering: int = -1) -> IO[Any]:
    """Open a file that this program writes into a project; raises OSError if it is a link."""

    def open_unlinked(name: str, flags: int) -> int:
        if path.is_symlink():
            raise UnsafeFileError(path, "it is a link to another file")
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        return _require_regular(path, os.open(name, flags, 0o666))

    raw = NamingFile(path, mode, opener=open_unlinked)
    if buffering == 0:
        return raw
    return io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)


def open_regular(path: Path, buffering: int = io.DEFAULT_BUFFER_SIZE) -> io.BufferedReader:
    """Open a regular file for reading; raises OSError, also for a pipe or a device."""
    return io.BufferedReader(open_raw(path), buffering)


def open_raw(path: Path) -> io.FileIO:
    """Open a regular file for unbuffered reading; raises OSError, also for a pipe or a device."""

    def open_checked(name: str, flags: int) -> int:
        return _require_regular(path, os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))

    return NamingFile(path, "rb", opener=open_checked)


class NamingFile(io.FileIO):
    """A file that is named in errors of reading and writing it, which the system itself doesn't do."""

    def readinto(self, buffer: Any) -> int | None:
        """Read into a buffer; raises OSError with the name of the file."""
        with name_file(self.name):
            return super().readinto(buffer)

    def read(self, size: int | None = -1) -> bytes:
        """Read up to `size` bytes; raises OSError with the name of the file."""
        with name_file(self.name):
            return super().read(size)

    def readall(self) -> bytes:
        """Read up to the end; raises OSError with the name of the file."""
        with name_file(self.name):
            return super().readall()

    def write(self, data: Any) -> int:
        """Write bytes; raises OSError with the name of the file."""
        with name_file(self.name):
            return super().write(data)

    def truncate(self, size: int | None = None) -> int:
        """Change the size; raises OSError with the name of the file."""
        with name_file(self.name):
            return super().truncate(size)


@contextlib.contextmanager
def name_file(path: object) -> Iterator[None]:
    """Name a file in errors of the block that don't name any.

    Python names a file that can't be opened, but not one that can't be written, and libraries in Rust
    name none.
    """
    try:
        yield
    except Exception as error:
        if getattr(error, "filename", None) is None:
            with contextlib.suppress(AttributeError, TypeError):
                error.filename = str(path)  # type: ignore[attr-defined]  # of OSError, and of others by this
        raise


def iter_lines(file: IO[bytes]) -> Iterator[tuple[bytes, int]]:
    """Yield each complete line of a file, b"" for one longer than `limits.RECORD_LINE`, and its size."""
    while line := file.readline(limits.RECORD_LINE):
        size, is_long = len(line), False
        while not line.endswith(b"\n"):
            is_long = True
            if not (line := file.readline(limits.RECORD_LINE)):
                return  # incomplete
            size += len(line)
        yield b"" if is_long else line, size


def leads_outside(path: Path, folder: Path) -> bool:
    """Return whether a file or folder in `folder` is a link to something outside of it.

    A folder from somebody else could otherwise hand on any file of the user. The folder itself may be a
    link. Links into the cache of the Hugging Face Hub are fine: its snapshots consist of them.
    """
    if not path.is_symlink():
        return False
    target = path.resolve()
    is_cached = target.parent.name == "blobs" and "--" in target.parent.parent.name
    return not is_cached and not target.is_relative_to(folder.resolve())


def read_bytes(path: Path, limit: int = limits.SMALL_FILE) -> bytes:
    """Return the content of a file; raises OSError, also if it has more than `limit` bytes."""
    with open_regular(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise UnsafeFileError(path, "it is larger than {limit:size}", limit=limit)
    return content


def read_text(path: Path, limit: int = limits.SMALL_FILE, errors: str = "strict") -> str:
    """Return the UTF-8 text of a file; raises OSError and ValueError."""
    return read_bytes(path, limit).decode("utf-8", errors)


def read_json(path: Path, limit: int = limits.SMALL_FILE, values: int = limits.JSON_VALUES) -> Any:
    """Return the JSON content of a file; raises OSError and ValueError."""
    return parse_json(read_bytes(path, limit), values)


def is_unicode(path: Path) -> bool:
    """Return whether a path can be written into a project file, an event, or a list.

    Linux allows any bytes in a name; Python represents those that aren't UTF-8 as lone surrogates.
    """
    return not any("\ud800" <= letter <= "\udfff" for letter in str(path))


def make_unicode(path: Path) -> str:
    """Return a path to show, with replacement characters for bytes that aren't UTF-8."""
    return os.fsencode(path).decode("utf-8", "replace")


def parse_json(content: str | bytes, values: int = limits.JSON_VALUES) -> Any:
    """Return the value of a JSON text; raises ValueError for more than `values` values, or many levels."""
    if len(content) > values and _count_values(content) > values:
        raise InvalidContentError("it has too many values")
    try:
        return json.loads(content)
    except RecursionError:
        raise InvalidContentError("it is nested too deeply") from None


def _count_values(content: str | bytes) -> int:
    """Return at least the number of values in a JSON text."""
    if isinstance(content, str):
        return sum(map(content.count, ",[{"))
    return sum(map(content.count, (b",", b"[", b"{")))


def _require_regular(path: Path, descriptor: int) -> int:
    """Return the descriptor of a regular file; closes it and raises OSError otherwise."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnsafeFileError(path, "it isn't a regular file")
    return descriptor


#: Suffix of a damaged file that was kept; further ones get a number.
SUFFIX = ".damaged"

#: Damaged files to keep of one name. Later ones stay where they are and are overwritten.
_MOST = 20

#: Errors of opening something that isn't a file: a folder, or links in a circle.
_NO_FILE = (errno.EISDIR, errno.ELOOP, errno.ENOTDIR)

_notices: list[Problem] = []


def raise_unless_damaged(error: Exception) -> None:
    """Raise an error of reading a file that says nothing about its content.

    The disk, a permission, or a limit on open files may be the cause, so the file must not be replaced.
    """
    if isinstance(error, OSError) and error.errno is not None and error.errno not in _NO_FILE:
        raise error


def set_aside(file: Path) -> Path | None:
    """Rename a file whose content is damaged, and note it for the user; return its new path.

    Returns None if the file doesn't exist or can't be renamed.
    """
    for number in range(1, _MOST + 1):
        kept = file.with_name(file.name + SUFFIX + (f"-{number}" if number > 1 else ""))
        if kept.exists():
            continue
        try:
            file.rename(kept)
        except OSError:
            return None
        _notices.append(
            warning(
                "settings.damaged",
                "{file} is damaged, so default values are used.",
                "The damaged file is kept as {kept}. To restore it, repair it and rename it back.",
                where=Where(file=str(file)),
                file=file.name,
                kept=kept.name,
            )
        )
        return kept
    return None


def collect_notices() -> list[Problem]:
    """Return the notices about files that were set aside, each once."""
    notices, _notices[:] = list(_notices), []
    return notices
