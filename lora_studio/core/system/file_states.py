"""States of files, compared to notice that one was changed, replaced or deleted."""

from __future__ import annotations

import os
from pathlib import Path

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
