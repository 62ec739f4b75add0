"""Project commands of menu and Home: new, open, locate, sample, save as."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject
from PySide6.QtWidgets import QWidget

from lora_studio.core.project import known_projects, samples
from lora_studio.core.project.access_requests import AccessRequest
from lora_studio.core.project.project import SUFFIX, Draft
from lora_studio.core.project.samples import SampleName
from lora_studio.gui.language import tr
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project import data_sources
from lora_studio.gui.project.foreign_project_dialog import (
    ForeignProjectDialog,
    ForeignSettingsDialog,
)
from lora_studio.gui.project.new_dialog import NewProjectDialog
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.widgets.external_open import open_path
from lora_studio.gui.widgets.file_dialogs import choose_file


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
        is_known = known_projects.is_known(draft.path)
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
