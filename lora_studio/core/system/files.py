"""Write files atomically, so that a reader never sees a partial one."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from lora_studio.core.messages import Text
from lora_studio.core.problems import InvalidContentError
from lora_studio.core.system.descriptor_locks import hold_shared, unlink_if_unlocked
from lora_studio.core.system.foreign_files import NamingFile, UnsafeFileError, name_file, open_raw
from lora_studio.core.system.mounts import DiskNotMountedError, create_folder

#: Bytes per copied chunk: a few hundredths of a second on a typical disk.
_PIECE = 8 * 2**20

#: Endings of a file or folder that is being written, and of a folder that is being replaced.
_TEMPORARY, _REPLACED = ".tmp", ".old"

#: Every temporary name: `.NAME.RANDOM.tmp` or `.NAME.RANDOM.old`, with the 8 characters of `tempfile`.
_TEMPORARY_NAME = re.compile(r"\.(.+)\.[a-z0-9_]{8}\.(?:tmp|old)\Z")


def write_atomic(path: Path, data: str | bytes) -> None:
    """Replace `path` atomically; raises OSError and keeps the old file if that fails.

    Lone surrogates, which no encoding has, become "?".
    """
    with open_atomic(path) as file:
        file.write(data.encode("utf-8", "replace") if isinstance(data, str) else data)


@contextlib.contextmanager
def open_atomic(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file to write, which replaces `path` when the block ends without an exception."""
    create_folder(path.parent)
    descriptor, name = _create_temporary_file(path)
    try:
        raw = NamingFile(descriptor, "wb")
        raw.name = path  # not the temporary name
        with io.BufferedWriter(raw) as file:
            yield file
            file.flush()
            with name_file(path):
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


def _create_temporary_file(path: Path) -> tuple[int, str]:
    """Return a new file next to `path`, locked until it is closed so that no sweep deletes it."""
    while True:
        descriptor, name = tempfile.mkstemp(
            prefix=f".{path.name}.", suffix=_TEMPORARY, dir=path.parent
        )
        hold_shared(descriptor)
        if os.path.exists(name):  # noqa: PTH110 - a sweep may have been faster than the lock
            return descriptor, name
        os.close(descriptor)


def sweep_temporary_files(folder: Path, *names: str) -> None:
    """Delete the temporary files that killed processes left in a folder when they wrote `names`.

    Without names, those of every file. A file that a living process is writing is locked, and stays.
    """
    for file in list_temporaries(folder, *names):
        if file.is_file() and not file.is_symlink():
            with contextlib.suppress(OSError):
                unlink_if_unlocked(file)


def sweep_temporary_folders(folder: Path) -> None:
    """Delete the temporary folders that killed processes left in a folder that no one else uses now.

    A folder that was moved aside for a new one that never arrived is moved back.
    """
    for temporary in list_temporaries(folder):
        if temporary.is_symlink() or not temporary.is_dir():
            continue
        target = folder / temporary.name[1:].rsplit(".", 2)[0]
        if temporary.suffix == _REPLACED and not os.path.lexists(target):
            temporary.rename(target)
        else:
            shutil.rmtree(temporary, ignore_errors=True)


def list_temporaries(folder: Path, *names: str) -> list[Path]:
    """Return the temporary files and folders in a folder: `.NAME.RANDOM.tmp` and `.NAME.RANDOM.old`."""
    try:
        with os.scandir(folder) as entries:
            matches = [(entry.name, _TEMPORARY_NAME.match(entry.name)) for entry in entries]
    except OSError:
        return []
    return [folder / name for name, match in matches if match and (not names or match[1] in names)]


@contextlib.contextmanager
def create_folder_atomic(
    path: Path, stays: Callable[[Path], bool] = lambda _: False
) -> Iterator[Path]:
    """Yield an empty folder to fill, which replaces `path` when the block ends without an
    exception.

    On an exception, `path` is unchanged and the partial folder is deleted. `stays` says whether to
    keep a folder that another process has created there in the meantime.
    """
    create_folder(path.parent)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=_TEMPORARY, dir=path.parent))
    try:
        temporary.chmod(0o777 & ~_get_umask())
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _flush_to_disk(file)
        old = temporary.with_suffix(_REPLACED)
        if path.exists() and not stays(path):
            path.rename(old)
        try:
            temporary.rename(path)
        except OSError:
            if not stays(path):
                if old.exists():
                    old.rename(path)
                raise
            shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def write_file(path: Path, data: str | bytes | memoryview) -> None:
    """Write a file into a folder that isn't complete yet; raises OSError with its name."""
    with name_file(path):
        path.write_bytes(data.encode("utf-8") if isinstance(data, str) else data)


@contextlib.contextmanager
def name_newest_file(folder: Path) -> Iterator[None]:
    """Name the newest file of a folder in errors of the block that name none.

    For libraries that write several files into a folder and don't say which one they couldn't write.
    """
    try:
        yield
    except Exception as error:
        if getattr(error, "filename", None) is None:
            with contextlib.suppress(OSError, AttributeError, TypeError):
                files = [file for file in folder.iterdir() if file.is_file()]
                newest = max(files, key=lambda file: file.stat().st_mtime_ns, default=folder)
                error.filename = str(newest)  # type: ignore[attr-defined]  # of OSError, and of others by this
        raise


def copy_file(
    source: str | Path, target: str | Path, on_copied: Callable[[int], None] | None = None
) -> str:
    """Copy a file's content; raises OSError with the name of the file that can't be read or written.

    `on_copied` is called with the bytes of each chunk and may raise to cancel.
    """
    with open_raw(Path(source)) as read, NamingFile(target, "wb") as written:
        while piece := read.read(_PIECE):
            left = memoryview(piece)
            while left:  # a nearly full disk takes only a part
                left = left[written.write(left) :]
            if on_copied is not None:
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
    source: Path, target: Path, copy: Callable[[Path, Path], object] = copy_file
) -> None:
    """Hard-link a file, which takes no space, or copy it with `copy` if that isn't possible."""
    if not link_file(source, target):
        copy(source, target)


def describe_os_error(error: BaseException) -> Text | str:
    """Return why a file can't be used: our reason, or the system's without error number and path."""
    if isinstance(error, InvalidContentError | UnsafeFileError | DiskNotMountedError):
        return error.reason
    reason = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return str(reason).splitlines()[0].rstrip(".")


def _flush_to_disk(file: Path) -> None:
    with name_file(file), file.open("rb+") as stream:
        os.fsync(stream.fileno())


def _get_umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value
