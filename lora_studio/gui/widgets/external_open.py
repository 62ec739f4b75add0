"""Open folders, files, and web pages in the system's programs; say so where there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QApplication, QPushButton, QWidget

from lora_studio.gui.language import tr
from lora_studio.gui.widgets.basics import button, label
from lora_studio.gui.widgets.dialog import Dialog


class NotOpenedDialog(Dialog):
    """Shows an address that no program could open, to copy it."""

    def __init__(self, title: str, text: str, address: str, parent: QWidget | None = None) -> None:
        """Show the address as selectable text."""
        super().__init__(title, text, parent)
        self.address = label(address, wrap=True)
        self.address.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse
            | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self.body.addWidget(self.address)
        self.copy = self.add_button(button(tr("Copy"), self._copy, icon="copy"))
        self.add_button(button(tr("Close"), self.accept, kind="primary"), default=True)

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self.address.text())


#: Endings of the files that are opened: text, which no system runs.
_OPENED = (".csv", ".json", ".jsonl", ".log", ".md", ".toml", ".tsv", ".txt", ".yaml", ".yml")

#: Endings of folders that macOS runs, or hands to a program.
_PROGRAMS = (".app", ".bundle", ".pkg", ".prefpane", ".workflow")


def open_path(path: Path) -> None:
    """Open a folder in the file manager, or a text file in its default program.

    Of any other file its folder is opened: its path may come from somebody else, and systems run programs and
    documents with macros this way.
    """
    if not path.exists():
        _show(tr("Not found"), tr("This file or folder no longer exists:"), str(path))
        return
    shown = path if is_opened(path) else path.resolve().parent
    if not QDesktopServices.openUrl(QUrl.fromLocalFile(str(shown))):
        _show(
            tr("No program to open it"),
            tr("The system has no program for this file or folder. Its path is:"),
            str(path),
        )


def is_opened(path: Path) -> bool:
    """Return whether a folder or file itself is opened, not the folder that it is in."""
    path = path.resolve()  # the name of a link says nothing about its target
    ending = path.suffix.lower()
    return ending not in _PROGRAMS if path.is_dir() else ending in _OPENED


def open_page(address: str) -> None:
    """Open a web page in the browser."""
    if not QDesktopServices.openUrl(QUrl(address)):
        _show(tr("No browser"), tr("The system has no web browser. The address is:"), address)


def folder_button(folder: Callable[[], Path | None]) -> QPushButton:
    """Return a "Show folder" button; `folder` is called on each click; nothing happens if it returns None."""

    def show() -> None:
        if (path := folder()) is not None:
            open_path(path)

    return button(tr("Show folder"), show, icon="folder")


def _show(title: str, text: str, address: str) -> None:
    visible = (window for window in QApplication.topLevelWidgets() if window.isVisible())
    parent = QApplication.activeWindow() or next(visible, None)
    NotOpenedDialog(title, text, address, parent).open()
