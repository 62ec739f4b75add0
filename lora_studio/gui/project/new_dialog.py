"""The dialog for a new project: its name and its folder."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QLabel, QLineEdit, QWidget

from lora_studio.core.project import project
from lora_studio.core.system.mounts import find_missing_mount
from lora_studio.gui.language import mark, tr
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import button, column, label, row
from lora_studio.gui.widgets.dialog import DIALOG_WIDTH, Dialog
from lora_studio.gui.widgets.file_dialogs import choose_folder


class NewProjectDialog(Dialog):
    """Asks for a name and a parent folder, and checks both while the user types.

    Signals:
        chosen(folder, name): both are valid.
    """

    chosen = Signal(object, str)

    def __init__(
        self,
        parent_folder: Path,
        parent: QWidget | None = None,
        title: str = mark("New project"),
        name: str = "my-model",
    ) -> None:
        """Suggest `name`, or an unused one that begins with it.

        The project's own folder is created inside `parent_folder`.
        """
        super().__init__(tr(title), "", parent)
        self.name = QLineEdit(_find_free_name(parent_folder, name))
        self.name.setMinimumWidth(DIALOG_WIDTH)
        self.parent_folder = QLineEdit(str(parent_folder))
        self._path = label("", "caption", wrap=True)
        self._error = label("", "error", wrap=True)
        self.create_button = button(tr("Create"), self._accept, kind="primary")
        self.body.addLayout(
            column(_make_label(tr("Name"), self.name), self.name, spacing=Spacing.XS)
        )
        folder_label = _make_label(tr("Folder"), self.parent_folder)
        folder_column = column(folder_label, spacing=Spacing.XS)
        browse = button(tr("Browse…"), self._browse, icon="folder")
        folder_column.addLayout(row(self.parent_folder, browse))
        self.body.addLayout(folder_column)
        self.body.addWidget(self._path)
        self.body.addWidget(self._error)
        self.add_button(button(tr("Cancel"), self.reject))
        self.add_button(self.create_button, default=True)
        self.name.textChanged.connect(self._validate)
        self.parent_folder.textChanged.connect(self._validate)
        self.name.selectAll()
        self._validate()

    @property
    def folder(self) -> Path:
        """The folder that the project will be created in."""
        parent_folder = Path(self.parent_folder.text().strip()).expanduser()
        return parent_folder / project.to_file_name(self.name.text().strip())

    def _validate(self) -> None:
        mistake = ""
        if not self.name.text().strip():
            mistake = tr("Enter a name.")
        elif not self.parent_folder.text().strip():
            mistake = tr("Choose a folder.")
        elif self.folder.is_dir() and any(self.folder.iterdir()):
            mistake = tr("This folder isn't empty. Choose another name.")
        elif (mount_point := find_missing_mount(self.folder)) is not None:
            mistake = tr(
                "No disk is mounted at {folder}. Connect and mount the disk, or choose another folder."
            ).format(folder=mount_point)
        self._path.setText(tr("Creates {folder}").format(folder=self.folder))
        self._path.setVisible(not mistake)
        self._error.setText(mistake)
        self._error.setVisible(bool(mistake))
        self.create_button.setEnabled(not mistake)

    def _browse(self) -> None:
        choose_folder(
            self,
            tr("Folder for the project"),
            self.parent_folder.setText,
            self.parent_folder.text(),
        )

    def _accept(self) -> None:
        folder, name = self.folder, self.name.text().strip()
        self.accept()
        self.chosen.emit(folder, name)


def _find_free_name(parent_folder: Path, base: str) -> str:
    names = [base, *(f"{base}-{number}" for number in range(2, 1000))]
    return next(
        (name for name in names if not (parent_folder / project.to_file_name(name)).exists()), base
    )


def _make_label(text: str, target: QLineEdit) -> QLabel:
    result = label(text, "label")
    result.setBuddy(target)
    target.setAccessibleName(text)
    return result
