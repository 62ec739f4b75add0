"""Local files and folders of drag-and-drop events."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtGui import QDropEvent

from lora_studio.core.project.project import SUFFIX


def get_dropped_paths(event: QDropEvent) -> list[Path]:
    """Return all local paths of a drag, or none if it contains anything else.

    Projects aren't returned, because dropping one anywhere opens it.
    """
    urls = event.mimeData().urls()
    if not urls or not all(url.isLocalFile() for url in urls) or get_dropped_project(event):
        return []
    return [path for url in urls if (path := Path(url.toLocalFile())).exists()]


def get_dropped_path(event: QDropEvent, kind: str = "any") -> Path | None:
    """Return the only local path of a drag if it is of `kind` ("file", "folder" or "any")."""
    paths = get_dropped_paths(event)
    if len(paths) != 1:
        return None
    fits = {"file": paths[0].is_file(), "folder": paths[0].is_dir()}.get(kind, True)
    return paths[0] if fits else None


def get_dropped_project(event: QDropEvent) -> Path | None:
    """Return the project of a drag: its file or its folder."""
    urls = event.mimeData().urls()
    if len(urls) != 1 or not urls[0].isLocalFile():
        return None
    path = Path(urls[0].toLocalFile())
    is_folder = path.is_dir() and any(path.glob(f"*{SUFFIX}"))
    return path if is_folder or (path.suffix == SUFFIX and path.is_file()) else None
