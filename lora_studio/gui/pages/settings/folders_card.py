"""The card with the program's folders: where projects are created, and how large the cache is."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QGridLayout

from lora_studio.core import formatting
from lora_studio.core.system import paths
from lora_studio.core.system.mounts import create_folder
from lora_studio.gui.language import tr
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.theme import Spacing
from lora_studio.gui.threads import BackgroundReader, TaskRunner
from lora_studio.gui.widgets.basics import Card, button, label
from lora_studio.gui.widgets.dialog import Dialog
from lora_studio.gui.widgets.external_open import open_path
from lora_studio.gui.widgets.file_dialogs import choose_folder
from lora_studio.setup.removal import measure_folder


class FoldersCard(Card):
    """Lists the folders with links that open them, change the one for projects, and empty the cache.

    Signals:
        failed(problem): the cache couldn't be read.
    """

    failed = Signal(object)

    def __init__(self, preferences: Preferences, is_busy: Callable[[], bool]) -> None:
        """Create it; `is_busy` returns whether a job may be using the cache."""
        super().__init__(tr("Folders"))
        self._preferences, self._is_busy = preferences, is_busy
        self._tasks = TaskRunner(self.failed.emit, self)
        self.projects, self.cache = label(wrap=True), label(wrap=True)
        self._size = ""
        self.change = button(tr("Change…"), self._choose_projects, kind="link")
        self.change.setAccessibleName(tr("Change the folder for new projects"))
        self.free = button(tr("Free space…"), self._ask_to_free, kind="link")
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(Spacing.L)
        self._grid.setVerticalSpacing(Spacing.S)
        self._grid.setColumnStretch(1, 1)
        self._build()
        self.add(self._grid)

    def _build(self) -> None:
        folders: tuple[tuple[str, Callable[[], Path]], ...] = (
            (tr("New projects"), self._preferences.get_new_project_parent),
            (tr("Sample project"), paths.get_data_folder),
            (tr("Cache"), paths.get_cache_folder),
            (tr("Preferences"), paths.get_config_folder),
            (tr("Logs"), paths.get_log_folder),
        )
        for index, (name, get_folder) in enumerate(folders):
            shown = {0: self.projects, 2: self.cache}.get(index) or label(wrap=True)
            shown.setText(str(get_folder()))
            show = button(tr("Show"), kind="link")
            show.setAccessibleName(tr("Show folder: {folder}").format(folder=name))
            show.clicked.connect(_make_opener(get_folder))
            self._grid.addWidget(label(name, "muted"), index, 0)
            self._grid.addWidget(shown, index, 1)
            self._grid.addWidget(show, index, 2)
        self._grid.addWidget(self.change, 0, 3)
        self._grid.addWidget(self.free, 2, 3)

    def refresh(self) -> None:
        """Measure the cache in the background."""
        self.free.setEnabled(False)
        self._tasks.start(_measure_cache, self._show_size)

    def leave(self) -> None:
        """End the background work: the window is closing."""
        self._tasks.leave()

    def _show_size(self, size: object) -> None:
        assert isinstance(size, int)
        self._size = formatting.format_size(size)
        unbroken = self._size.replace(" ", "\N{NO-BREAK SPACE}")
        self.cache.setText(f"{paths.get_cache_folder()}  ·  {unbroken}")
        self.free.setEnabled(size > 0 and not self._is_busy())

    def _choose_projects(self) -> None:
        title = tr("Folder for new projects")
        choose_folder(self.window(), title, self._set_projects, self.projects.text())

    def _set_projects(self, folder: str) -> None:
        self._preferences.projects_folder = folder
        self._preferences.save()
        self.projects.setText(folder)

    def _ask_to_free(self) -> None:
        text = tr(
            "Deletes {size} of prepared data and downloads, such as the built-in model. Projects, runs, "
            "and your other models stay. What is needed again is downloaded or computed again."
        ).format(size=self._size)
        dialog = Dialog(tr("Empty the cache?"), text, self.window())
        dialog.add_button(button(tr("Cancel"), dialog.reject))
        empty = dialog.add_button(button(tr("Empty cache"), dialog.accept, kind="danger"))
        empty.setObjectName("empty")
        dialog.accepted.connect(self._free)
        dialog.open()

    def _free(self) -> None:
        self.free.setEnabled(False)
        self._tasks.start(_empty_cache, self._show_size)


def _empty_cache(reader: BackgroundReader) -> int:
    """Delete what is in the cache folder; return the bytes that are left."""
    folder = paths.get_cache_folder()
    for child in reader.cooperative_iter(list(folder.iterdir())):
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                child.unlink()
    return _measure_cache(reader)


def _measure_cache(reader: BackgroundReader) -> int:
    """Return the bytes of all files in the cache folder."""
    return measure_folder(paths.get_cache_folder(), reader.cooperative_iter)


def _make_opener(get_folder: Callable[[], Path]) -> Callable[[], None]:
    def open_it() -> None:
        folder = get_folder()
        create_folder(folder)
        open_path(folder)

    return open_it
