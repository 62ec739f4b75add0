"""A control for a path, which can be typed, pasted, dropped or selected in a dialog."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QMenu, QPushButton, QWidget

from lora_studio.core.spec import FieldFacts
from lora_studio.gui.controls.controls import Control, LineEdit
from lora_studio.gui.language import mark, tr
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import button
from lora_studio.gui.widgets.file_dialogs import DIALOG_FOLDER, get_dropped_path, open_file_dialog
from lora_studio.gui.widgets.tooltips import plain_tip

#: Name filters of the file dialog, by field name.
_FILTERS = {
    "file": mark("Datasets (*.json *.jsonl *.csv *.parquet *.txt);;All files (*)"),
    "source": mark("GGUF models (*.gguf);;All files (*)"),
}


class PathControl(Control):
    """A line with a Browse button; accepts one dropped file or folder.

    Signals:
        picked(Path): a path was chosen or dropped, before it becomes the value.
    """

    picked = Signal(object)

    def __init__(self, about: FieldFacts, parent: QWidget | None = None) -> None:
        """Create the control; paths inside the folder `base` are kept relative to it."""
        super().__init__(parent)
        self._about = about
        self._value = ""
        self.base: Path | None = None
        self.line = LineEdit()
        self.browse = self._browse_button()
        self.setFocusProxy(self.line)
        self.setAcceptDrops(True)
        self.line.setAcceptDrops(False)  # a drop on the line is a drop on the control
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.S)
        layout.addWidget(self.line, 1)
        layout.addWidget(self.browse)
        self.line.entered.connect(self._leave)
        self.line.editingFinished.connect(self._leave)
        self.line.reverted.connect(lambda: self.show_value(self._value))

    def show_value(self, value: Any) -> None:
        """Show a path as the project has it."""
        self._value = str(value)
        self.line.setText(self._value)
        self.line.setToolTip(plain_tip(self._value))

    def commit(self) -> None:
        """Apply what was typed, without quotation marks."""
        text = self.line.text().strip().strip("\"'")
        if text != self._value:
            self.show_value(text)
            self.edited.emit(text)

    def set_path(self, path: Path) -> None:
        """Set a path that the user chose or dropped."""
        self.picked.emit(path)
        self.line.setText(self._to_relative(path))
        self.commit()
        self.left.emit()

    def pick_file(self) -> None:
        """Open the dialog for files."""
        self._open_dialog(QFileDialog.FileMode.ExistingFile)

    def pick_folder(self) -> None:
        """Open the dialog for folders."""
        self._open_dialog(QFileDialog.FileMode.Directory)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Accept one local file or folder of the right kind."""
        if get_dropped_path(event, self._about.path) is not None:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Set the dropped path."""
        path = get_dropped_path(event, self._about.path)
        if path is not None:
            event.acceptProposedAction()
            self.set_path(path)

    def _browse_button(self) -> QPushButton:
        browse = button(tr("Browse…"), icon="folder")
        if self._about.path == "any":
            menu = QMenu(browse)
            menu.addAction(tr("Folder…"), self.pick_folder)
            menu.addAction(tr("File…"), self.pick_file)
            browse.setMenu(menu)
        else:
            browse.clicked.connect(
                self.pick_folder if self._about.path == "folder" else self.pick_file
            )
        return browse

    def _open_dialog(self, mode: QFileDialog.FileMode) -> None:
        dialog = QFileDialog(self.window(), self._about.title, self._start())
        dialog.setFileMode(mode)
        if mode == QFileDialog.FileMode.ExistingFile:
            dialog.setNameFilter(tr(_FILTERS.get(self._about.name, mark("All files (*)"))))
        open_file_dialog(dialog, lambda name: self.set_path(Path(name)))

    def _start(self) -> str:
        current = (self.base or Path()) / Path(self._value).expanduser()
        for candidate in (current, current.parent):
            if self._value and candidate.is_dir():
                return str(candidate)
        return DIALOG_FOLDER.get_folder()

    def _to_relative(self, path: Path) -> str:
        if self.base is not None and path.is_relative_to(self.base):
            return Path(os.path.relpath(path, self.base)).as_posix()
        return str(path)

    def _leave(self) -> None:
        self.commit()
        self.left.emit()
