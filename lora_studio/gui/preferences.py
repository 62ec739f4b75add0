"""What the window remembers between starts: theme, geometry, recent projects."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from lora_studio.core.system import paths
from lora_studio.core.system.files import write_atomic

#: More recent projects, or sources of data, than this are forgotten, the oldest first.
_RECENT = 12


TextSize = Literal[100, 125, 150]


class TableLayout(BaseModel):
    """The layout of a table as the user arranged it."""

    #: Column -> its width, in letters: it is right for another size of text, too.
    widths: dict[str, float] = {}
    #: Columns from left to right, as far as they are known.
    order: list[str] = []
    sorted_by: str = ""
    descending: bool = True


class Preferences(BaseModel):
    """Preferences in one JSON file; unknown entries of newer versions are ignored."""

    model_config = ConfigDict(extra="ignore")

    theme: Literal["light", "dark", "system"] = "system"
    #: Height of text in per cent.
    text_size: TextSize = 100
    #: A key of `gui.language.LANGUAGES`, or "system".
    language: str = "system"
    #: QWidget.saveGeometry as hexadecimal digits, "" for the first time.
    geometry: str = ""
    #: The table of runs.
    runs_table: TableLayout = TableLayout()
    #: Shares of the Runs page in per cent: the table of what is above, all of that of the width.
    runs_shares: list[float] = []
    #: Where the last project was made.
    projects_folder: str = ""
    #: Whether the tour has been shown, which happens by itself once.
    tour_seen: bool = False
    #: Project files, the latest first.
    recent: list[str] = []
    #: Files, folders and hub ids that were data of a project, the latest first.
    recent_data: list[str] = []

    #: Folders that models are looked for in.
    model_folders: list[str] = []
    #: Nothing but this computer is spoken to.
    offline: bool = False
    #: Folders outside projects that the adapter library looks in.
    adapter_folders: list[str] = []
    #: Whether a newer version of the program is asked for at the start; off until it is allowed.
    look_for_updates: bool = False
    #: Where to check for updates, "" for the address that the distributor has set.
    update_address: str = ""
    #: When that was asked last, in seconds since 1970.
    updates_asked: float = 0.0

    @classmethod
    def load(cls) -> Preferences:
        """Return the saved preferences, or defaults if there are none or they are invalid."""
        try:
            return cls.model_validate_json(paths.get_window_file().read_bytes())
        except (OSError, ValidationError):
            return cls()

    def save(self) -> None:
        """Save everything; errors of the disk are ignored."""
        with contextlib.suppress(OSError):
            write_atomic(paths.get_window_file(), self.model_dump_json(indent=2) + "\n")

    def add_recent_project(self, project: Path) -> None:
        """Add a project to the front of the recent ones."""
        name = str(project.absolute())
        self.recent = [name, *(other for other in self.recent if other != name)][:_RECENT]
        self.save()

    def add_model_folder(self, folder: str) -> None:
        """Search for models in a folder."""
        if folder not in self.model_folders:
            self.model_folders = [*self.model_folders, folder]
            self.save()

    def remove_model_folder(self, folder: str) -> None:
        """Stop searching a folder; its models stay."""
        self.model_folders = [other for other in self.model_folders if other != folder]
        self.save()

    def add_recent_data(self, source: str) -> None:
        """Add a file, folder or Hub ID to the front of the recent data."""
        rest = (other for other in self.recent_data if other != source)
        self.recent_data = [source, *rest][:_RECENT]
        self.save()

    def remove_recent_project(self, project: Path) -> None:
        """Remove a project from the recent ones; its files stay."""
        self.recent = [other for other in self.recent if other != str(project)]
        self.save()

    def list_known_projects(self) -> list[Path]:
        """Return recent project files, latest first, including missing ones."""
        return [Path(name) for name in self.recent]

    def list_recent_projects(self) -> list[Path]:
        """Return recent project files that exist, latest first."""
        return [file for file in self.list_known_projects() if file.is_file()]

    def get_new_project_parent(self) -> Path:
        """Return the parent folder to suggest for a new project."""
        chosen = Path(self.projects_folder) if self.projects_folder else None
        return chosen if chosen and chosen.is_dir() else paths.get_data_folder() / "projects"
