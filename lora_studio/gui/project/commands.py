"""Project commands of menu and Home, and their dialogs: new, open, locate, sample, save as."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QLabel, QLineEdit, QWidget

from lora_studio.core.project import access_requests, project, samples
from lora_studio.core.project.access_requests import AccessKind, AccessRequest
from lora_studio.core.project.project import SUFFIX, Draft
from lora_studio.core.project.samples import SampleName
from lora_studio.core.system.files import find_missing_mount
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project import data_sources
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import button, column, label, make_scroll_area, row
from lora_studio.gui.widgets.dialog import DIALOG_WIDTH, Dialog
from lora_studio.gui.widgets.external_open import open_path
from lora_studio.gui.widgets.file_dialogs import choose_file, choose_folder


class ProjectCommands(QObject):
    """Opens dialogs over the window and acts on the project state."""

    def __init__(self, state: ProjectState, preferences: Preferences, window: QWidget) -> None:
        """Create it; dialogs belong to `window`."""
        super().__init__(window)
        self._state, self._preferences, self._window = state, preferences, window

    def create_project(self, data: Sequence[Path] = ()) -> None:
        """Ask for name and folder of a new project, which begins with these data files."""
        name = {"name": data[0].stem} if data else {}
        parent_folder = self._preferences.get_new_project_parent()
        dialog = NewProjectDialog(parent_folder, self._window, **name)
        dialog.chosen.connect(lambda folder, name: self._create(folder, name, data))
        dialog.open()

    def ask_to_open(self) -> None:
        """Ask for a project file and open it, or for a data file, which begins a project."""
        folder = self._state.draft.folder
        patterns = f"*{SUFFIX} {data_sources.PATTERNS}"
        all_kinds = tr("Projects and datasets ({patterns})").format(patterns=patterns)
        filters = ";;".join((all_kinds, _get_project_filter(), tr("All files (*)")))
        title = tr("Open a project or a data file")
        choose_file(self._window, title, self._open_file, folder or "", filters)

    def locate(self, lost: Path) -> None:
        """Ask for the new path of a moved project."""
        start = next((folder for folder in lost.parents if folder.is_dir()), lost.parent)
        title = tr("Locate {name}").format(name=lost.stem)
        open_moved = partial(self.open_moved, lost)
        choose_file(
            self._window, title, lambda name: open_moved(Path(name)), start, _get_project_filter()
        )

    def open_moved(self, lost: Path, file: Path) -> None:
        """Open a moved project and forget its old path."""
        if self._state.open(file):
            self._preferences.remove_recent_project(lost)

    def confirm(self, draft: Draft, requests: list[AccessRequest]) -> None:
        """Ask before a project from elsewhere is opened."""
        assert draft.path is not None
        is_known = access_requests.is_known_project(draft.path)
        dialog = ForeignProjectDialog(draft, requests, is_known, self._window)
        dialog.allowed.connect(partial(self._state.open, draft.path, shown=requests))
        dialog.open()

    def confirm_adoption(self, requests: list[AccessRequest], apply: Callable[[], object]) -> None:
        """Ask before settings that the user hasn't typed make the project ask for more."""
        dialog = ForeignSettingsDialog(requests, self._window)
        dialog.allowed.connect(apply)
        dialog.open()

    def _open_file(self, name: str) -> None:
        file = Path(name)
        if file.suffix.lower() == SUFFIX:
            self._state.open(file)
        else:
            self.create_project([file])

    def open_sample(self, name: SampleName = "assistant") -> None:
        """Open a sample project, which is copied to the user's projects once."""
        try:
            folder = samples.copy_sample(name)
        except OSError as error:
            self._state.messages.error(
                tr("Can't copy the sample project: {error}.").format(error=error)
            )
            return
        self._state.open(folder, shown=samples.list_requests(name))

    def save_as(self) -> None:
        """Ask for name and folder of a copy, and continue with the copy."""
        folder = self._state.draft.folder
        parent_folder = folder.parent if folder else self._preferences.get_new_project_parent()
        dialog = NewProjectDialog(parent_folder, self._window, title=tr("Save as"))
        dialog.chosen.connect(self._state.save_as)
        dialog.open()

    def show_folder(self) -> None:
        """Open the project's folder in the file manager."""
        if self._state.draft.folder is not None:
            open_path(self._state.draft.folder)

    def _create(self, folder: Path, name: str, data: Sequence[Path]) -> None:
        if self._state.create(folder, name):
            self._preferences.projects_folder = str(folder.parent)
            self._preferences.save()
            if data:
                paths = [data_sources.to_stored_path(file, folder) for file in data]
                self._state.set("dataset", "sources", data_sources.add_sources((), paths))


def _get_project_filter() -> str:
    """Return the name filter of a file dialog that shows projects."""
    return tr("Projects (*{suffix})").format(suffix=SUFFIX)


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


#: Largest height of the list in pixels; longer ones scroll.
_MAX_HEIGHT = 320


class ForeignProjectDialog(Dialog):
    """Lists what a project asks for beyond its folder, with a button that opens it.

    Signals:
        allowed: the user wants to open the project.
    """

    allowed = Signal()

    def __init__(
        self, draft: Draft, requests: Sequence[AccessRequest], is_known: bool, parent: QWidget
    ) -> None:
        """Show the requests, grouped by kind; `is_known` for a project that changed elsewhere."""
        super().__init__(
            tr("This project asks for more than before")
            if is_known
            else tr("This project is new on this computer"),
            _explain(is_known=is_known).format(name=draft.name),
            parent,
        )
        self.body.addLayout(column(label(str(draft.path), "caption", wrap=True), _list(requests)))
        if any(request.kind == "code" for request in requests):
            note = tr("You're asked again, with the code in view, before any of it runs.")
            self.body.addWidget(label(note, "muted", wrap=True))
        self.cancel = self.add_button(button(tr("Cancel"), self.reject))
        self.open_project = self.add_button(
            button(tr("Open project"), self._allow, kind="primary"), default=True
        )

    def _allow(self) -> None:
        self.accept()
        self.allowed.emit()


class ForeignRunDialog(Dialog):
    """Lists what a run asks for beyond its project, with a button that allows it.

    Signals:
        allowed: the user wants the run's jobs to do that.
    """

    allowed = Signal()

    def __init__(self, run: Path, requests: Sequence[AccessRequest], parent: QWidget) -> None:
        """Show the requests, grouped by kind."""
        super().__init__(
            tr("This run is new on this computer"),
            tr(
                "“{name}” was created by someone else or on another computer. Allow it only if you expect what it asks "
                "for. None of this has happened yet."
            ).format(name=run.name),
            parent,
        )
        self.body.addLayout(column(label(str(run), "caption", wrap=True), _list(requests)))
        self.cancel = self.add_button(button(tr("Cancel"), self.reject))
        self.allow = self.add_button(button(tr("Allow"), self._allow, kind="primary"), default=True)

    def _allow(self) -> None:
        self.accept()
        self.allowed.emit()


class ForeignSettingsDialog(Dialog):
    """Lists what settings that the user hasn't typed ask for, with a button that applies them.

    Signals:
        allowed: the user wants the settings.
    """

    allowed = Signal()

    def __init__(self, requests: Sequence[AccessRequest], parent: QWidget) -> None:
        """Show the requests, grouped by kind."""
        super().__init__(
            tr("These settings ask for more"),
            tr(
                "With these settings, the project also asks for the following. Apply them only if you expect that. "
                "None of this has happened yet."
            ),
            parent,
        )
        self.body.addLayout(column(_list(requests)))
        self.cancel = self.add_button(button(tr("Cancel"), self.reject))
        self.apply = self.add_button(
            button(tr("Apply settings"), self._allow, kind="primary"), default=True
        )

    def _allow(self) -> None:
        self.accept()
        self.allowed.emit()


def _explain(*, is_known: bool) -> str:
    if is_known:
        return tr(
            "“{name}” was changed outside of LoRA Studio. It now also asks for the following. "
            "None of this has happened yet."
        )
    return tr(
        "“{name}” hasn't been opened here before. Open it only if you expect what it asks for. "
        "None of this has happened yet."
    )


def _list(requests: Sequence[AccessRequest]) -> QWidget:
    titles: dict[AccessKind, str] = {
        "code": tr("Programs that would run"),
        "send": tr("Data that would leave this computer"),
        "write": tr("Folders outside the project that would be written to"),
        "read": tr("Files outside the project that would be read"),
        "download": tr("Downloads"),
    }
    content = QWidget()
    groups = column(spacing=Spacing.M)
    for kind, title in titles.items():
        lines = [localize(request.text) for request in requests if request.kind == kind]
        if lines:
            groups.addLayout(
                column(
                    label(title, "caption"),
                    *(label(line, wrap=True) for line in lines),
                    spacing=Spacing.XS,
                )
            )
    groups.addStretch()
    content.setLayout(groups)
    groups.setContentsMargins(0, 0, 0, 0)
    area = make_scroll_area(content, tr("Access this project requests"), sideways=True)
    area.setMinimumHeight(min(content.sizeHint().height(), _MAX_HEIGHT))
    return area
