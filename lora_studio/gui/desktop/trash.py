"""Into the system's trash, off the window's thread: a disk without one takes a copy."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QFile, QStandardPaths

from lora_studio.core.problems import Where, fail
from lora_studio.gui.threads import BackgroundReader


def move(places: Sequence[Path], thread: BackgroundReader) -> list[Path]:
    """Moves files and folders; returns those that are gone. Raises ProblemError at the first that stays."""
    # WORKAROUND: Qt makes the trash itself, but not the folder that it belongs in.
    home = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.GenericDataLocation)
    with contextlib.suppress(OSError):
        Path(home).mkdir(parents=True, exist_ok=True)
    gone: list[Path] = []
    for place in thread.cooperative_iter(places):
        if place.exists() and not QFile.moveToTrash(str(place)):
            raise fail(
                "files.no_trash",
                f"{place.name} could not be moved to the trash"
                + (f"; {len(gone)} before it were." if gone else "."),
                "Close programs that use it, or delete its folder in the file manager.",
                where=Where(file=str(place)),
            )
        gone.append(place)
    return gone
