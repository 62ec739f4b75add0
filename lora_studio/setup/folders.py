"""Paths of engines, downloads and setup logs: one folder, which can be moved to another disk."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from lora_studio.core.messages import Template
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.system import paths
from lora_studio.core.system.files import create_folder, describe_os_error, write_atomic
from lora_studio.core.system.locks import FileLock

#: Environment variable with the engine folder, which overrides the user's choice.
VARIABLE = "LORA_STUDIO_ENGINES"

#: Error messages for a full disk, on Unix and on Windows, and for a read-only one.
_FULL = re.compile(r"No space left on device|os error (28|112)\b|not enough space on the disk")
_READ_ONLY = re.compile(r"Read-only file system|media is write.protected")

#: Files that identify a folder as ours: the first is created first, the second is deleted last.
_MARKS = ("setup.lock", "current.json")
_OF_AN_ENGINE = "engines/*/engine.json"

#: Folder of a running setup whose engine is not in use yet.
_for_now: ContextVar[Path | None] = ContextVar("folder of an engine setup", default=None)


@dataclass(frozen=True)
class EngineRoot:
    """The folder that contains everything that setups create."""

    path: Path

    @property
    def engines(self) -> Path:
        """The parent folder of all engines."""
        return self.path / "engines"

    @property
    def current(self) -> Path:
        """The pointer file: the current engine and the previous one."""
        return self.path / "current.json"

    @property
    def downloads(self) -> Path:
        """Downloaded files, including those of interrupted setups."""
        return self.path / "downloads"

    @property
    def cache(self) -> Path:
        """uv's cache of unpacked wheels; hard-linked into the engine, so it uses no additional
        space.
        """
        return self.path / "cache"

    @property
    def trash(self) -> Path:
        """A cache that is being deleted: uv would use a partial one under its usual name."""
        return self.path / "cache-gone"

    @property
    def pythons(self) -> Path:
        """Standalone builds of Python, for systems without a suitable one."""
        return self.path / "python"

    @property
    def parts(self) -> tuple[Path, ...]:
        """Everything that setups create; the root may also contain the user's files."""
        return (self.engines, self.downloads, self.cache, self.trash, self.pythons)

    def discard_cache(self) -> None:
        """Delete the cache by renaming it first, so an interruption leaves no partial cache."""
        with contextlib.suppress(OSError):
            self.cache.replace(self.trash)
        shutil.rmtree(self.trash, ignore_errors=True)

    def delete(self) -> None:
        """Delete everything that setups created, and the folder if it is then empty; raises ProblemError."""
        try:
            self.current.unlink(missing_ok=True)
            for part in self.parts:
                if part.is_dir():
                    shutil.rmtree(part)
            (self.path / "setup.lock").unlink(missing_ok=True)
        except OSError as error:
            raise fail(
                "engine.not_removed",
                "Some files couldn't be deleted: {reason}.",
                "Close programs that use the engine, then delete the folder yourself.",
                where=Where(file=str(error.filename or self.path)),
                reason=describe_os_error(error),
            ) from error
        with contextlib.suppress(OSError):
            self.path.rmdir()

    @property
    def log(self) -> Path:
        """The full log of recent setups."""
        return paths.get_log_folder() / "setup.log"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the setup lock.

        Raises ProblemError if another setup is running or the folder isn't writable.
        """
        try:
            create_folder(self.path)
            lock = FileLock(self.path / "setup.lock")
            free = lock.acquire({"pid": os.getpid()})
        except OSError as error:
            raise not_writable_error(self.path, error) from error
        if not free:
            raise fail(
                "engine.busy",
                "Another engine setup is running.",
                "Wait until it finishes, or cancel it where you started it.",
                where=Where(file=str(self.path)),
            )
        try:
            yield
        finally:
            lock.release()


def get_root() -> EngineRoot:
    """Return the engine folder: from the environment variable, the moved location, or the default."""
    if chosen := os.environ.get(VARIABLE):
        with contextlib.suppress(OSError):
            return EngineRoot(_to_own_folder(Path(chosen).expanduser().absolute()))
        return EngineRoot(Path(chosen).expanduser().absolute())
    if (place_for_now := _for_now.get()) is not None:
        return EngineRoot(place_for_now)
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if target := _get_pointer_file().read_text("utf-8").strip():
            return EngineRoot(Path(target))
    return EngineRoot(get_default_root())


def _to_own_folder(folder: Path) -> Path:
    """Return the folder itself if it is empty or ours, else a subfolder; raises OSError.

    Setups delete folders such as `downloads` and `python`, which must never be the user's.
    """
    if any((folder / mark).exists() for mark in _MARKS) or any(folder.glob(_OF_AN_ENGINE)):
        return folder
    holds_other_things = folder.is_dir() and any(folder.iterdir())
    return folder / "LoRA Studio engine" if holds_other_things else folder


def get_default_root() -> Path:
    """Return the default folder of engines."""
    return paths.get_data_folder() / "engine"


def move_root(to: Path) -> None:
    """Set the engine folder to `to`; raises ProblemError if that can't be saved."""
    try:
        if to == get_default_root():
            _get_pointer_file().unlink(missing_ok=True)
        else:
            write_atomic(_get_pointer_file(), f"{to}\n")
    except OSError as error:
        raise not_writable_error(_get_pointer_file(), error) from error


def forget_root() -> None:
    """Use the default engine folder again."""
    move_root(get_default_root())


def _get_pointer_file() -> Path:
    return paths.get_data_folder() / "engine-folder.txt"


def disk_problem(reason: OSError | str, file: Path, what: Template = "") -> ProblemError | None:
    """Return the problem for a full or read-only disk if an error or output indicates one.

    `file` is the affected path, `what` a sentence about the failed action, without its period.
    """
    number = reason.errno if isinstance(reason, OSError) else None
    output = reason if isinstance(reason, str) else ""
    if number in (errno.ENOSPC, errno.EDQUOT) or _FULL.search(output):
        return fail(
            "disk.full",
            "{task}: the disk is full." if what else "The disk is full.",
            "Free up some space, or choose a folder on another disk, then start the setup again. "
            "Completed downloads are kept.",
            where=Where(file=str(file)),
            task=what,
        )
    if number == errno.EROFS or _READ_ONLY.search(output):
        return fail(
            "disk.read_only",
            "{task}: the disk is read-only." if what else "The disk is read-only.",
            "A disk becomes read-only when it reports errors or is disconnected. Check the disk "
            "and mount it again, or choose a folder on another disk, then start the setup again. "
            "Completed downloads are kept.",
            where=Where(file=str(file)),
            task=what,
        )
    return None


def not_writable_error(path: Path, error: OSError) -> ProblemError:
    """Return the problem for a folder that isn't writable."""
    if problem := disk_problem(error, path):
        return problem
    return fail(
        "engine.folder",
        "The engine folder can't be used: {reason}.",
        "Choose a writable folder with `lora-studio engine install --to FOLDER`, or set {variable}.",
        where=Where(file=str(path)),
        reason=describe_os_error(error),
        variable=VARIABLE,
    )


def prepare_root(to: Path) -> EngineRoot:
    """Return a folder for engines; a subfolder if the folder contains other files.

    Raises ProblemError if it isn't writable.
    """
    target = to.expanduser().absolute()
    try:
        target = _to_own_folder(target)
        create_folder(target)
        with tempfile.TemporaryFile(dir=target):
            pass
    except OSError as error:
        raise not_writable_error(target, error) from error
    return EngineRoot(target)


@contextlib.contextmanager
def use_root(to: Path | None) -> Iterator[None]:
    """Use another engine folder in this thread while a setup runs there.

    The engines in the current folder stay in use until `move_root`. Raises ProblemError if the
    folder isn't writable.
    """
    if to is None:
        yield
        return
    if os.environ.get(VARIABLE):
        raise fail(
            "engine.folder",
            "The environment variable {variable} sets the engine folder.",
            "Change the variable to use another folder.",
            variable=VARIABLE,
        )
    before = _for_now.get()
    _for_now.set(prepare_root(to).path)
    try:
        yield
    finally:
        _for_now.set(before)
