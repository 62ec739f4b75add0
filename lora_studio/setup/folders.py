"""Where engines, downloads and logs of set-ups lie: one folder, which can be moved to another disk."""

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
from lora_studio.core.system.files import describe_os_error, write_atomic
from lora_studio.core.system.locks import FileLock

#: Set to a folder, engines are there, whatever the user has chosen.
VARIABLE = "LORA_STUDIO_ENGINES"

#: What programs say when a disk is full, on Unix and on Windows, and when it takes nothing.
_FULL = re.compile(r"No space left on device|os error (28|112)\b|not enough space on the disk")
_READ_ONLY = re.compile(r"Read-only file system|media is write.protected")

#: The files by which a folder is known to be ours: the one is made before all else, the other goes last.
_MARKS = ("setup.lock", "current.json")
_OF_AN_ENGINE = "engines/*/engine.json"

#: Where a set-up is at work whose engine is not in use yet.
_for_now: ContextVar[Path | None] = ContextVar("folder of an engine setup", default=None)


@dataclass(frozen=True)
class EngineRoot:
    """The folder that holds everything of set-ups."""

    path: Path

    @property
    def engines(self) -> Path:
        """One folder for each engine."""
        return self.path / "engines"

    @property
    def current(self) -> Path:
        """The pointer: which engine is in use, and which was before."""
        return self.path / "current.json"

    @property
    def downloads(self) -> Path:
        """Files on their way, and those of a set-up that was interrupted."""
        return self.path / "downloads"

    @property
    def cache(self) -> Path:
        """What uv unpacks; linked into the engine, so it costs no space of its own."""
        return self.path / "cache"

    @property
    def trash(self) -> Path:
        """A cache on its way out: half of one under its name would mislead uv."""
        return self.path / "cache-gone"

    @property
    def pythons(self) -> Path:
        """Standalone builds of Python, where the system has none that fits."""
        return self.path / "python"

    @property
    def parts(self) -> tuple[Path, ...]:
        """All that set-ups put here: the folder itself may hold other things of the user's."""
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
        """What the last set-ups did, in full."""
        return paths.get_log_folder() / "setup.log"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the setup lock; raises ProblemError if another setup is running or the folder isn't writable."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / "setup.lock")
            free = lock.acquire({"pid": os.getpid()})
        except OSError as error:
            raise not_writable_error(self.path, error) from error
        if not free:
            raise fail(
                "engine.busy",
                "Another engine setup is running.",
                "Wait until it ends, or cancel it where you started it.",
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

    Set-ups delete folders such as `downloads` and `python`: those of the user's must never be meant.
    """
    if any((folder / mark).exists() for mark in _MARKS) or any(folder.glob(_OF_AN_ENGINE)):
        return folder
    holds_other_things = folder.is_dir() and any(folder.iterdir())
    return folder / "LoRA Studio engine" if holds_other_things else folder


def get_default_root() -> Path:
    """Return the default folder of engines."""
    return paths.get_data_folder() / "engine"


def move_root(to: Path) -> None:
    """From now on engines are in `to`; raises ProblemError when that cannot be noted."""
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

    `file` is where that came up, `what` a sentence about what could not be done, without its full stop.
    """
    number = reason.errno if isinstance(reason, OSError) else None
    said = reason if isinstance(reason, str) else ""
    if number in (errno.ENOSPC, errno.EDQUOT) or _FULL.search(said):
        return fail(
            "disk.full",
            "{task}: the disk is full." if what else "The disk is full.",
            "Free some space, or choose a folder on another disk, then start the setup again. Completed "
            "downloads are kept.",
            where=Where(file=str(file)),
            task=what,
        )
    if number == errno.EROFS or _READ_ONLY.search(said):
        return fail(
            "disk.read_only",
            "{task}: the disk is read-only." if what else "The disk is read-only.",
            "Systems make a disk read-only when it reports errors or was disconnected. Check the disk and "
            "mount it again, or choose a folder on another disk, then start the setup again. Completed "
            "downloads are kept.",
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

    Raises ProblemError when it cannot be written.
    """
    target = to.expanduser().absolute()
    try:
        target = _to_own_folder(target)
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target):
            pass
    except OSError as error:
        raise not_writable_error(target, error) from error
    return EngineRoot(target)


@contextlib.contextmanager
def use_root(to: Path | None) -> Iterator[None]:
    """Use another `get_root` for this thread while a setup runs there.

    Engines that are in the folder before stay in use until `move_root`. Raises ProblemError when the
    folder cannot be written.
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
