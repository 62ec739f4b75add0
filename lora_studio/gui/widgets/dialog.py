"""The few dialogs of the window; all are opened, none blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from PySide6.QtCore import Signal, SignalInstance
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import (
    QDialog,
    QFileDialog,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from lora_studio.core.project import project
from lora_studio.gui.jobs.control import DOING
from lora_studio.gui.language import mark, tr
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets import tab_order
from lora_studio.gui.widgets.basics import button, column, label, row

#: Narrowest content; a width of the dialog itself would let its buttons shrink.
_WIDTH = 440


class Dialog(QDialog):
    """Title, words, and buttons at the lower right."""

    def __init__(self, title: str, text: str, parent: QWidget | None = None) -> None:
        """`body` takes what stands between words and buttons."""
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setModal(True)
        self.text = label(text, wrap=True)
        if not text:
            self.text.hide()
        self.text.setMinimumWidth(_WIDTH)
        self.body = column()
        self.buttons = row(None)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(Spacing.XL, Spacing.XL, Spacing.XL, Spacing.L)
        layout.setSpacing(Spacing.L)
        layout.addWidget(label(title, "section"))
        layout.addWidget(self.text)
        layout.addLayout(self.body)
        layout.addLayout(self.buttons)
        self.finished.connect(self.deleteLater)

    def focusNextPrevChild(self, forwards: bool) -> bool:
        """Tab reaches every control, in both directions."""
        return tab_order.go_on(self, forwards)

    def showEvent(self, event: QShowEvent) -> None:
        """As high as its words are at this width: a layout asks wrapped ones for one line only."""
        super().showEvent(event)
        layout = self.layout()
        if layout is not None and layout.hasHeightForWidth():
            needed = layout.totalHeightForWidth(self.width())
            room = self.screen().availableGeometry().height()
            self.resize(self.width(), max(self.height(), min(needed, room)))

    def add_button(self, made: QPushButton, *, default: bool = False) -> QPushButton:
        """Buttons go from left to right; the default one answers Enter."""
        self.buttons.addWidget(made)
        made.setDefault(default)
        return made


class NewProjectDialog(Dialog):
    """A name and a place for a new project.

    Signals:
        chosen(folder, name): both fit.
    """

    chosen = Signal(object, str)

    def __init__(
        self, place: Path, parent: QWidget | None = None, title: str = mark("New project")
    ) -> None:
        """`place` is the folder that the project's own folder will be in."""
        super().__init__(tr(title), "", parent)
        self.name = QLineEdit(self._free_name(place))
        self.name.setMinimumWidth(_WIDTH)
        self.place = QLineEdit(str(place))
        self._path = label("", "caption", wrap=True)
        self._error = label("", "error", wrap=True)
        self._make = button(tr("Create"), self._accept, kind="primary")
        self.body.addLayout(column(_buddy(tr("Name"), self.name), self.name, spacing=Spacing.XS))
        held = row(self.place, button(tr("Browse…"), self._browse, icon="folder"))
        place_column = column(_buddy(tr("Folder"), self.place), spacing=Spacing.XS)
        place_column.addLayout(held)
        self.body.addLayout(place_column)
        self.body.addWidget(self._path)
        self.body.addWidget(self._error)
        self.add_button(button(tr("Cancel"), self.reject))
        self.add_button(self._make, default=True)
        self.name.textChanged.connect(self._check)
        self.place.textChanged.connect(self._check)
        self.name.selectAll()
        self._check()

    @property
    def folder(self) -> Path:
        """The folder that the project would get."""
        place = Path(self.place.text().strip()).expanduser()
        return place / project.file_name(self.name.text().strip())

    def _check(self) -> None:
        wrong = ""
        if not self.name.text().strip():
            wrong = tr("A project needs a name.")
        elif not self.place.text().strip():
            wrong = tr("A project needs a folder.")
        elif self.folder.is_dir() and any(self.folder.iterdir()):
            wrong = tr("This folder holds something already. Choose another name.")
        self._path.setText(tr("Goes to {folder}").format(folder=self.folder))
        self._path.setVisible(not wrong)
        self._error.setText(wrong)
        self._error.setVisible(bool(wrong))
        self._make.setEnabled(not wrong)

    def _browse(self) -> None:
        dialog = QFileDialog(self, tr("Folder for the project"), self.place.text())
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.fileSelected.connect(self.place.setText)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _accept(self) -> None:
        folder, name = self.folder, self.name.text().strip()
        self.accept()
        self.chosen.emit(folder, name)

    @staticmethod
    def _free_name(place: Path) -> str:
        names = ["my-model", *(f"my-model-{number}" for number in range(2, 1000))]
        return next((name for name in names if not (place / name).exists()), "my-model")


Decision = Literal["background", "pause", "stop"]


class ClosingDialog(Dialog):
    """What becomes of a job when the window closes. Closing the dialog keeps the window open.

    Signals:
        decided(decision): "background", "pause" (of a training) or "stop".
    """

    decided = Signal(str)

    def __init__(self, kind: str, parent: QWidget | None = None) -> None:
        """`kind` is that of the job."""
        doing = tr(DOING[kind])
        text = tr(
            "It can go on without the window: the next time you open the project, it is shown again."
        )
        super().__init__(tr("{doing} is under way").format(doing=doing), text, parent)
        stop = tr("Stop and keep the adapter") if kind == "train" else tr("Cancel the job")
        self.go_back = self.add_button(button(tr("Back"), self.reject))
        self.stop = self.add_button(button(stop, lambda: self._end("stop")))
        self.pause = self.add_button(button(tr("Pause"), lambda: self._end("pause"), icon="pause"))
        self.pause.setVisible(kind == "train")
        self.keep = self.add_button(
            button(
                tr("Keep in the background"),
                self._keep,
                kind="primary",
            ),
            default=True,
        )

    def _keep(self) -> None:
        self.accept()
        self.decided.emit("background")

    def _end(self, decision: Decision) -> None:
        for made in (self.stop, self.pause, self.keep):
            made.setEnabled(False)
        self.text.setText(
            tr("Pausing after this step. The window closes when that is done.")
            if decision == "pause"
            else tr("Stopping after this step. The window closes when that is done.")
        )
        self.decided.emit(decision)


class CopyingDialog(Dialog):
    """What becomes of a folder that is being copied when the window closes.

    Signals:
        wait_chosen, cancel_chosen: what the user wants. Closing the dialog keeps the window open.
    """

    wait_chosen = Signal()
    cancel_chosen = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Back is the harmless answer."""
        text = tr("A folder for a cluster is being copied. Half of it would be of no use.")
        super().__init__(tr("Finish copying first?"), text, parent)
        self.add_button(button(tr("Back"), self.reject))
        self.cancel = self.add_button(
            button(tr("Cancel copying"), lambda: self._decide(self.cancel_chosen))
        )
        self.wait = self.add_button(
            button(tr("Close when it is done"), lambda: self._decide(self.wait_chosen), kind="primary"),
            default=True,
        )  # fmt: skip

    def _decide(self, chosen: SignalInstance) -> None:
        self.cancel.setEnabled(False)
        self.wait.setEnabled(False)
        self.text.setText(tr("The window closes in a moment."))
        chosen.emit()


class UnsavedDialog(Dialog):
    """Changes that could not be saved by themselves.

    Signals:
        save_as_clicked, discard_clicked: what the user wants.
    """

    save_as_clicked = Signal()
    discard_clicked = Signal()

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        """`name` is the project's."""
        text = tr("The changes since you opened the project will be lost unless you save them.")
        super().__init__(tr("Save the changes to {name}?").format(name=name), text, parent)
        self.discard = self.add_button(button(tr("Discard"), self._discard, kind="danger"))
        self.add_button(button(tr("Cancel"), self.reject))
        self.save_as = self.add_button(
            button(tr("Save as…"), self._save_as, kind="primary"), default=True
        )

    def _discard(self) -> None:
        self.accept()
        self.discard_clicked.emit()

    def _save_as(self) -> None:
        self.accept()
        self.save_as_clicked.emit()


def _buddy(text: str, target: QLineEdit) -> QLabel:
    made = label(text, "label")
    made.setBuddy(target)
    target.setAccessibleName(text)
    return made
