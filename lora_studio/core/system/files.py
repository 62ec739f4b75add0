"""Write files atomically, so that a reader never sees a partial one."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from lora_studio.core.messages import Template, Text, text
from lora_studio.core.problems import (
    InvalidContentError,
    Problem,
    ProblemError,
    Where,
    error,
    warning,
)
from lora_studio.core.system import paths
from lora_studio.core.system.foreign_files import NamingFile, UnsafeFileError, name_file, open_raw
from lora_studio.core.system.locks import hold_shared, unlink_if_unlocked

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


#: Where systems mount disks: for all users, and those in which each user has a folder (FHS 3.0,
#: 3.11 and 3.12; udisks2's documentation).
_ROOTS = (Path("/mnt"), Path("/media"), Path("/run/media"), Path("/Volumes"))
_PER_USER = (Path("/media"), Path("/run/media"))
#: A folder on the disk of the system.
_SYSTEM = Path("/")


class DiskNotMountedError(ProblemError, OSError):
    """Raised instead of creating a folder where a disk is usually mounted, but isn't now."""

    def __init__(self, mount_point: Path, path: Path) -> None:
        """Store the problem; `reason` completes a sentence."""
        self.reason: Text = text("no disk is mounted at {folder}", folder=str(mount_point))
        super().__init__(
            error(
                "disk.not_mounted",
                "No disk is mounted at {folder}.",
                "Connect and mount the disk, or choose another folder.",
                where=Where(file=str(path)),
                folder=str(mount_point),
            )
        )


def create_folder(path: Path, *, exist_ok: bool = True) -> None:
    """Create a folder with its parents.

    Raises OSError, which is a DiskNotMountedError if its disk isn't mounted: the system's disk could
    fill up, and the disk's own content would hide the folder later.
    """
    if not path.exists() and (mount_point := find_missing_mount(path)) is not None:
        raise DiskNotMountedError(mount_point, path)
    path.mkdir(parents=True, exist_ok=exist_ok)


def find_missing_mount(path: Path) -> Path | None:
    """Return the folder at which the disk of a path should be mounted, None if nothing is missing.

    A disk is missing if what exists of the path is the folder of mount points, or an empty folder in
    it, on the disk of the system.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 - links stay, as they may lead to the disk
    root = next((root for root in _ROOTS if path.is_relative_to(root) and path != root), None)
    if root is None:
        return None
    names = path.relative_to(root).parts
    mount_point = root / names[0]
    if root in _PER_USER and len(names) > 1 and names[0] == os.environ.get("USER"):
        mount_point /= names[1]
    try:
        if not mount_point.exists():
            return mount_point if _is_on_system_disk(root) else None
        if not mount_point.is_dir() or any(mount_point.iterdir()):
            return None
        return mount_point if _is_on_system_disk(mount_point) else None
    except OSError:
        return None  # the caller's own attempt says why it can't be used


def _is_on_system_disk(folder: Path) -> bool:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return existing.stat().st_dev == _SYSTEM.stat().st_dev


#: Size in bytes, modification and status change in nanoseconds; the last changes even if a tool restores
#: the modification time. Empty for a file that doesn't exist.
FileState = tuple[int, ...]

#: The name and state of each file of a folder.
FolderState = tuple[tuple[str, FileState], ...]


def get_file_state(file: Path) -> FileState:
    """Return the state of a file, empty if it can't be seen."""
    try:
        status = file.stat()
    except OSError:
        return ()
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def get_folder_state(folder: Path) -> FolderState:
    """Return the names and states of the entries of a folder, empty if it can't be listed."""
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - names alone
    except OSError:
        return ()
    return tuple((name, get_file_state(folder / name)) for name in names)


#: Errors that have other causes than the folder, and problems of their own.
_OTHER_CAUSES = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE)


def cache_problem(exception: BaseException, title: Template | Text) -> Problem | None:
    """Return the problem if an exception means that the cache folder can't be written to, else None."""
    if not isinstance(exception, OSError) or exception.errno in _OTHER_CAUSES:
        return None
    try:
        folder = paths.get_cache_folder()
    except ProblemError as unknown:
        return unknown.problems[0]
    files = [
        Path(os.fsdecode(name)) for name in (exception.filename, exception.filename2) if name
    ]  # fmt: skip
    if not any(file.is_relative_to(folder) or folder.is_relative_to(file) for file in files):
        return None
    if (reason := _explain_unwritable(folder)) is None:
        return None
    return error(
        "system.cache_not_writable",
        "{title} failed: the cache folder {folder} can't be written to ({reason}).",
        "Set HOME to a folder that you can write to, or LORA_STUDIO_CACHE to another cache folder.",
        where=Where(file=str(folder)),
        title=title,
        folder=str(folder),
        reason=reason,
    )


def settings_problem() -> Problem | None:
    """Return the warning that settings can't be saved, None if they can."""
    folder = paths.get_config_folder()
    if (reason := _explain_unwritable(folder)) is None:
        return None
    return warning(
        "settings.not_saved",
        "Your settings and the list of projects can't be saved: {folder} can't be written to ({reason}).",
        "Set HOME to a folder that you can write to, or LORA_STUDIO_CONFIG to another folder for "
        "settings. Then restart the app.",
        where=Where(file=str(folder)),
        folder=str(folder),
        reason=reason,
    )


def _explain_unwritable(folder: Path) -> Text | str | None:
    """Return why no file can be created in a folder, which is created if missing; None if one can."""
    try:
        create_folder(folder)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as failure:
        return describe_os_error(failure)
