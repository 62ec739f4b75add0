"""What is dragged here from a file manager."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtGui import QDropEvent

from lora_studio.core.project.project import SUFFIX


def dropped_paths(event: QDropEvent) -> list[Path]:
    """Every local file and folder of a drag; empty if something else is among them.

    A project is none of them: wherever it is dropped, it is opened.
    """
    urls = event.mimeData().urls()
    if not urls or not all(url.isLocalFile() for url in urls) or dropped_project(event):
        return []
    return [path for url in urls if (path := Path(url.toLocalFile())).exists()]


def dropped_path(event: QDropEvent, kind: str = "any") -> Path | None:
    """The one local path of a drag; `kind` is "file", "folder" or "any". None if it does not fit."""
    paths = dropped_paths(event)
    if len(paths) != 1:
        return None
    fits = {"file": paths[0].is_file(), "folder": paths[0].is_dir()}.get(kind, True)
    return paths[0] if fits else None


def dropped_project(event: QDropEvent) -> Path | None:
    """The project that a drag is about: its file or its folder."""
    urls = event.mimeData().urls()
    if len(urls) != 1 or not urls[0].isLocalFile():
        return None
    path = Path(urls[0].toLocalFile())
    is_folder = path.is_dir() and any(path.glob(f"*{SUFFIX}"))
    return path if is_folder or (path.suffix == SUFFIX and path.is_file()) else None
