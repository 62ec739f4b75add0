"""The queued runs of a project, in a file shared by windows and the command line.

A queued run is a folder like any other, created with the settings at the time it was queued; if the
file is lost, only the order is lost.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from lora_studio.core.messages import Text, text
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import foreign_files
from lora_studio.core.system.files import (
    create_folder,
    describe_os_error,
    sweep_temporary_files,
    write_atomic,
)
from lora_studio.core.system.foreign_files import read_bytes
from lora_studio.core.system.locks import FileLock

#: Files in the runs folder.
FILE, _LOCK = "queue.json", ".queue.lock"
#: Longest name of a folder in bytes, which no file system exceeds.
_LONGEST = 255
#: Seconds to wait for another program that is changing the queue.
_TIMEOUT = 5.0


class QueuedRun(BaseModel):
    """A run by the name of its folder; `resume` continues its training."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="ignore")

    run: str
    resume: bool = False

    @field_validator("run")
    @classmethod
    def _require_name(cls, run: str) -> str:
        """Refuse paths: a queue from elsewhere names only runs beside it."""
        is_name = run == Path(run).name and not {"\\", "\0"} & {*run}
        if run in ("", ".", "..") or not is_name or len(run.encode("utf-8", "replace")) > _LONGEST:
            raise ValueError("not the name of a folder")
        return run


class QueueFile(BaseModel):
    """The queued runs, the next first. `paused`: nothing starts automatically."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="ignore")

    entries: tuple[QueuedRun, ...] = ()
    paused: bool = False

    @property
    def names(self) -> list[str]:
        """The folders of the runs."""
        return [entry.run for entry in self.entries]


def load(runs: Path) -> QueueFile:
    """Return the queue of a runs folder; empty if there is none or the file is damaged."""
    try:
        return _read(runs)
    except (OSError, ValidationError):
        return QueueFile()


def _load_or_set_aside(runs: Path) -> QueueFile:
    """Return the queue to change; a damaged file is kept aside, since it is about to be replaced.

    Raises OSError if the file can't be read.
    """
    try:
        return _read(runs)
    except FileNotFoundError:
        return QueueFile()
    except (OSError, ValidationError) as error:
        foreign_files.raise_unless_damaged(error)
        foreign_files.set_aside(runs / FILE)
        return QueueFile()


def _read(runs: Path) -> QueueFile:
    """Return the queue without runs that were deleted; raises OSError and ValidationError."""
    stored = QueueFile.model_validate_json(read_bytes(runs / FILE))
    entries = (
        entry for entry in stored.entries if RunFolder(runs / entry.run).project_file.is_file()
    )
    return stored.model_copy(update={"entries": tuple(entries)})


def add(runs: Path, entries: Iterable[QueuedRun]) -> QueueFile:
    """Append runs; one that is already queued keeps its position. Raises ProblemError."""
    with _edit_queue(runs) as edit:
        queued = set(edit[0].names)
        added = tuple(entry for entry in entries if entry.run not in queued)
        edit[0] = edit[0].model_copy(update={"entries": edit[0].entries + added})
    return edit[0]


def remove(runs: Path, names: Iterable[str]) -> QueueFile:
    """Remove runs from the queue; their folders stay. Raises ProblemError."""
    removed = set(names)
    with _edit_queue(runs) as edit:
        left = tuple(entry for entry in edit[0].entries if entry.run not in removed)
        edit[0] = edit[0].model_copy(update={"entries": left})
    return edit[0]


def move(runs: Path, name: str, position: int) -> QueueFile:
    """Move a run to a position, 0 being the next to start. Raises ProblemError."""
    with _edit_queue(runs) as edit:
        entries = list(edit[0].entries)
        moved = [entry for entry in entries if entry.run == name]
        rest = [entry for entry in entries if entry.run != name]
        at = min(max(position, 0), len(rest))
        edit[0] = edit[0].model_copy(update={"entries": (*rest[:at], *moved, *rest[at:])})
    return edit[0]


def set_paused(runs: Path, paused: bool) -> QueueFile:
    """Set whether queued runs start automatically. Raises ProblemError."""
    with _edit_queue(runs) as edit:
        edit[0] = edit[0].model_copy(update={"paused": paused})
    return edit[0]


def pop_next(runs: Path) -> QueuedRun | None:
    """Remove and return the next run to start; None if the queue is empty or paused.

    No two programs get the same one. Raises ProblemError.
    """
    with _edit_queue(runs) as edit:
        if edit[0].paused or not edit[0].entries:
            return None
        first, *rest = edit[0].entries
        edit[0] = edit[0].model_copy(update={"entries": tuple(rest)})
    return first


@contextlib.contextmanager
def _edit_queue(runs: Path) -> Iterator[list[QueueFile]]:
    """Lock the queue, yield it in an editor, and write it if it changed."""
    try:
        create_folder(runs)
        lock = FileLock(runs / _LOCK)
        until = time.monotonic() + _TIMEOUT
        while not lock.acquire({"pid": os.getpid()}):
            if time.monotonic() > until:
                raise _not_written_error(runs, text("another program is using it"))
            time.sleep(0.02)
        try:
            sweep_temporary_files(runs, FILE)
            before = _load_or_set_aside(runs)
            editor = [before]
            yield editor
            if editor[0] != before:
                write_atomic(runs / FILE, editor[0].model_dump_json(indent=2) + "\n")
        finally:
            lock.release()
    except OSError as error:
        raise _not_written_error(runs, describe_os_error(error)) from error


def _not_written_error(runs: Path, reason: Text | str) -> ProblemError:
    return fail(
        "queue.not_written",
        "Couldn't change the queue: {reason}.",
        "Check that the project's runs folder is writable and has free space.",
        reason=reason,
        where=Where(file=str(runs / FILE)),
    )
