"""Move files to the system's trash in a background thread."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from PySide6.QtCore import QFile, QStandardPaths

from lora_studio.core.messages import Text, counted, text
from lora_studio.core.problems import Where, fail
from lora_studio.gui.threads import BackgroundReader


def move_to_trash(paths: Iterable[Path], thread: BackgroundReader) -> list[Path]:
    """Move files and folders to the trash and return those moved.

    Raises ProblemError at the first one that can't be moved.
    """
    # WORKAROUND: Qt creates the trash, but not its parent folder.
    home = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.GenericDataLocation)
    with contextlib.suppress(OSError):
        Path(home).mkdir(parents=True, exist_ok=True)
    moved: list[Path] = []
    for path in thread.cooperative_iter(paths):
        if path.exists() and not QFile.moveToTrash(str(path)):
            raise fail(
                "files.no_trash",
                _describe_failure(path.name, len(moved)),
                "Close programs that use it, or delete it in the file manager.",
                where=Where(file=str(path)),
            )
        moved.append(path)
    return moved


def _describe_failure(name: str, moved: int) -> Text:
    if not moved:
        return text("Can't move {name} to the trash.", name=name)
    return counted(
        moved,
        "Can't move {name} to the trash. {n} item before it was moved.",
        "Can't move {name} to the trash. {n} items before it were moved.",
        name=name,
    )
