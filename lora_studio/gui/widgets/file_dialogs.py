"""Ask for a file or a folder without blocking the window, or take one that is dropped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtGui import QDropEvent
from PySide6.QtWidgets import QFileDialog, QWidget

from lora_studio.core.project.project import SUFFIX
from lora_studio.core.system import paths


class DialogFolder:
    """The folder that dialogs begin in: where something was chosen last, else the user's documents.

    `save` is called with each new folder.
    """

    def __init__(self) -> None:
        """Begin in the documents."""
        self.folder = ""
        self.save: Callable[[str], None] = lambda _: None

    def get_folder(self) -> str:
        """Return the last folder that still exists, else the documents, else the home folder."""
        documents = paths.get_documents_folder()
        candidates = (self.folder, str(documents), str(documents.parent))
        return next((folder for folder in candidates if folder and Path(folder).is_dir()), "")

    def remember(self, chosen: str) -> None:
        """Begin the next dialog where a file or folder was chosen."""
        self.folder = str(Path(chosen).parent)
        self.save(self.folder)


#: Shared by all dialogs of the program.
DIALOG_FOLDER = DialogFolder()


def choose_folder(
    parent: QWidget, title: str, on_chosen: Callable[[str], object], start: Path | str = ""
) -> None:
    """Ask for a folder, beginning in `start`, or where something was chosen last."""
    dialog = QFileDialog(parent, title, str(start) or DIALOG_FOLDER.get_folder())
    dialog.setFileMode(QFileDialog.FileMode.Directory)
    open_file_dialog(dialog, on_chosen)


def choose_file(
    parent: QWidget,
    title: str,
    on_chosen: Callable[[str], object],
    start: Path | str = "",
    name_filter: str = "",
) -> None:
    """Ask for an existing file, beginning in `start`, or where something was chosen last."""
    dialog = QFileDialog(parent, title, str(start) or DIALOG_FOLDER.get_folder(), name_filter)
    dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
    open_file_dialog(dialog, on_chosen)


def choose_file_to_write(
    parent: QWidget,
    title: str,
    on_chosen: Callable[[str], object],
    proposal: Path,
    name_filter: str = "",
) -> None:
    """Ask for a file or folder to write; `proposal` gives its folder, name and default suffix."""
    start = str(proposal.parent) if proposal.is_absolute() else DIALOG_FOLDER.get_folder()
    dialog = QFileDialog(parent, title, start, name_filter)
    dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    dialog.setDefaultSuffix(proposal.suffix.removeprefix("."))
    dialog.selectFile(proposal.name)
    open_file_dialog(dialog, on_chosen)


def open_file_dialog(dialog: QFileDialog, on_chosen: Callable[[str], object]) -> None:
    """Open a dialog for one path, call `on_chosen` with it, and delete the dialog."""
    dialog.fileSelected.connect(DIALOG_FOLDER.remember)
    dialog.fileSelected.connect(on_chosen)
    dialog.finished.connect(dialog.deleteLater)
    dialog.open()


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
