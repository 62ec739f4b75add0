"""Dialogs that ask for a file or a folder without blocking the window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtWidgets import QFileDialog, QWidget


def choose_folder(
    parent: QWidget, title: str, on_chosen: Callable[[str], object], start: Path | str = ""
) -> None:
    """Ask for a folder, beginning in `start`."""
    dialog = QFileDialog(parent, title, str(start))
    dialog.setFileMode(QFileDialog.FileMode.Directory)
    open_file_dialog(dialog, on_chosen)


def choose_file(
    parent: QWidget,
    title: str,
    on_chosen: Callable[[str], object],
    start: Path | str = "",
    name_filter: str = "",
) -> None:
    """Ask for an existing file, beginning in `start`."""
    dialog = QFileDialog(parent, title, str(start), name_filter)
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
    dialog = QFileDialog(parent, title, str(proposal.parent), name_filter)
    dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    dialog.setDefaultSuffix(proposal.suffix.removeprefix("."))
    dialog.selectFile(proposal.name)
    open_file_dialog(dialog, on_chosen)


def open_file_dialog(dialog: QFileDialog, on_chosen: Callable[[str], object]) -> None:
    """Open a dialog for one path, call `on_chosen` with it, and delete the dialog."""
    dialog.fileSelected.connect(on_chosen)
    dialog.finished.connect(dialog.deleteLater)
    dialog.open()
