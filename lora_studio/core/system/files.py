"""Write files atomically, so that a reader never sees a partial one."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from lora_studio.core.messages import Text
from lora_studio.core.problems import InvalidContentError
from lora_studio.core.system.foreign_files import UnsafeFileError

#: Bytes per copied chunk: a few hundredths of a second on a typical disk.
_PIECE = 8 * 2**20


def write_atomic(path: Path, data: str | bytes) -> None:
    """Replace `path` atomically; raises OSError and keeps the old file if that fails."""
    with open_atomic(path) as file:
        file.write(data.encode("utf-8") if isinstance(data, str) else data)


@contextlib.contextmanager
def open_atomic(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file to write, which replaces `path` when the block ends without an exception."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            Path(name).chmod(path.stat().st_mode & 0o777)
        else:
            Path(name).chmod(0o666 & ~_get_umask())
        os.replace(name, path)  # noqa: PTH105 - one name for files and for descriptors
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


@contextlib.contextmanager
def create_folder_atomic(
    path: Path, stays: Callable[[Path], bool] = lambda _: False
) -> Iterator[Path]:
    """Yield an empty folder to fill, which replaces `path` when the block ends without an
    exception.

    On an exception, `path` is unchanged and the partial folder is deleted. `stays` says whether to
    keep a folder that another process has created there in the meantime.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        temporary.chmod(0o777 & ~_get_umask())
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _flush_to_disk(file)
        old = temporary.with_suffix(".old")
        if path.exists() and not stays(path):
            path.rename(old)
        try:
            temporary.rename(path)
        except OSError:
            if not stays(path):
                raise
            shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def copy_file(source: str | Path, target: str | Path, on_copied: Callable[[int], None]) -> str:
    """Copy a file's content; `on_copied` is called with the bytes of each chunk and may raise to
    cancel."""
    with Path(source).open("rb") as read, Path(target).open("wb") as written:
        while piece := read.read(_PIECE):
            written.write(piece)
            on_copied(len(piece))
    return str(target)


def link_file(source: Path, target: Path) -> bool:
    """Hard-link a file and return whether that worked.

    It fails if the two are on different disks, or on one whose file system has no hard links. Of a
    symbolic link, Linux links the link itself: resolve it first.
    """
    try:
        os.link(source, target)
    except OSError:
        return False
    return True


def link_or_copy(
    source: Path, target: Path, copy: Callable[[Path, Path], object] = shutil.copyfile
) -> None:
    """Hard-link a file, which takes no space, or copy it with `copy` if that isn't possible."""
    if not link_file(source, target):
        copy(source, target)


def describe_os_error(error: BaseException) -> Text | str:
    """Return why a file can't be used: our reason, or the system's without error number and path."""
    if isinstance(error, InvalidContentError | UnsafeFileError):
        return error.reason
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(reason).splitlines()[0].rstrip(".")


def _flush_to_disk(file: Path) -> None:
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())


def _get_umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value
