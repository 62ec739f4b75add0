"""Preferences that the window stores between sessions: theme, geometry, recent projects."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from lora_studio.core.system import foreign_files, paths
from lora_studio.core.system.files import write_atomic
from lora_studio.core.system.foreign_files import parse_json, read_bytes

#: Maximum number of recent projects and of recent data sources.
_RECENT = 12


TextSize = Literal[100, 125, 150]


class TableLayout(BaseModel):
    """The layout of a table as the user arranged it."""

    #: Column -> width in characters, so that it also fits other text sizes.
    widths: dict[str, float] = {}
    #: Columns from left to right; may lack columns of newer versions.
    order: list[str] = []
    sorted_by: str = ""
    descending: bool = True


class Preferences(BaseModel):
    """Preferences in one JSON file; unknown entries of other versions are ignored."""

    model_config = ConfigDict(extra="ignore")

    theme: Literal["light", "dark", "system"] = "system"
    #: Text size in percent.
    text_size: TextSize = 100
    #: A key of `gui.language.LANGUAGES`, or "system".
    language: str = "system"
    #: `QWidget.saveGeometry` as hexadecimal digits, "" before the first save.
    geometry: str = ""
    #: Layout of the table of runs.
    runs_table: TableLayout = TableLayout()
    #: Splitter positions of the Runs page in percent: table above plot, and both next to the side panel.
    runs_shares: list[float] = []
    #: Folder in which the last project was created.
    projects_folder: str = ""
    #: Address of Ollama for projects without their own, "" for this computer. Without a password.
    ollama_host: str = ""
    #: Folder from which the last file or folder was chosen in a dialog.
    dialog_folder: str = ""
    #: Whether the tour has been shown; it starts automatically only once.
    tour_seen: bool = False
    #: Project file that was open when the window closed, and its page; "" for none.
    open_project: str = ""
    open_page: str = ""
    #: Project files, the latest first.
    recent: list[str] = []
    #: Their titles by file, so that a menu reads no project; may lack some.
    recent_titles: dict[str, str] = {}
    #: Files, folders and Hub IDs used as data sources, the latest first.
    recent_data: list[str] = []

    #: Folders that are searched for models.
    model_folders: list[str] = []
    #: Offline mode: whether to connect to this computer only.
    offline: bool = False
    #: Folders outside projects that the adapter library searches.
    adapter_folders: list[str] = []

    #: What `apply_ollama_host` set; an address that the user set in the environment stays.
    _applied_host: str = ""

    @classmethod
    def load(cls) -> Preferences:
        """Return the saved preferences; those that are missing or invalid have their defaults.

        A damaged file is kept aside.
        """
        file = paths.get_window_file()
        try:
            content = parse_json(read_bytes(file))
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError):
            foreign_files.set_aside(file)
            return cls()
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            foreign_files.set_aside(file)
            invalid = {item["loc"][0] for item in error.errors() if item["loc"]}
        if not isinstance(content, dict):
            return cls()
        return cls.model_validate({k: v for k, v in content.items() if k not in invalid})

    def save(self) -> None:
        """Save all preferences; disk errors are ignored."""
        with contextlib.suppress(OSError):
            write_atomic(paths.get_window_file(), self.model_dump_json(indent=2) + "\n")

    def add_recent_project(self, project: Path, title: str) -> None:
        """Add a project to the front of the recent ones."""
        name = str(project.absolute())
        self.recent = [name, *(other for other in self.recent if other != name)][:_RECENT]
        self.recent_titles = self.recent_titles | {name: title}
        self.save()

    def set_recent_titles(self, titles: dict[Path, str]) -> None:
        """Store titles of recent projects, "" for unknown; those of other projects are dropped."""
        merged = self.recent_titles | {str(file): title for file, title in titles.items() if title}
        kept = {name: merged[name] for name in self.recent if name in merged}
        if kept != self.recent_titles:
            self.recent_titles = kept
            self.save()

    def get_recent_title(self, file: Path) -> str:
        """Return the title of a recent project; until it is known, the name of the file."""
        return self.recent_titles.get(str(file)) or file.stem

    def apply_ollama_host(self) -> None:
        """Use the stored address of Ollama in this process and its workers from now on."""
        if self.ollama_host:
            os.environ["OLLAMA_HOST"] = self.ollama_host
        elif os.environ.get("OLLAMA_HOST") == self._applied_host:
            os.environ.pop("OLLAMA_HOST", None)
        self._applied_host = self.ollama_host

    def remember_dialog_folder(self, folder: str) -> None:
        """Store the folder that dialogs begin in."""
        self.dialog_folder = folder
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
        return [file for file in self.list_known_projects() if os.path.isfile(file)]  # noqa: PTH113 - Path.is_file raises without permission

    def get_new_project_parent(self) -> Path:
        """Return the parent folder to suggest for a new project."""
        chosen = Path(self.projects_folder) if self.projects_folder else None
        return chosen if chosen and chosen.is_dir() else paths.get_projects_folder()
