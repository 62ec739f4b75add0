"""A reopened program: the project and page of the last session."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.lock import ProjectLock
from lora_studio.gui.window.main_window import Window

pytestmark = pytest.mark.slow


def test_session_restores_project_page_and_geometry(window: Window, project_folder: Path) -> None:
    window.open_project(project_folder)
    window.show_page("dataset")
    window.resize(1111, 777)
    window.shut_down()
    stored = Preferences.load()
    assert stored.open_project == str(window.state.draft.path)
    assert (stored.open_page, bool(stored.geometry)) == ("dataset", True)
    window.state.new()
    window.show_page("home")
    window.preferences.open_project = stored.open_project
    window.preferences.open_page = "dataset"
    last = window.find_last_project()
    assert last is not None
    window.restore_session(last)
    assert window.state.name == "support bot"
    assert window.page_name == "dataset"


def test_project_that_is_gone_is_not_restored(window: Window, tmp_path: Path) -> None:
    for name in ("", str(tmp_path / "gone" / "x.lorastudio"), "a" * 5000):
        window.preferences.open_project = name
        assert window.find_last_project() is None


def test_project_open_in_another_window_is_not_restored(
    window: Window, project_folder: Path
) -> None:
    file = project_folder / "support bot.lorastudio"
    lock = ProjectLock()
    assert lock.acquire(file) is None
    window.preferences.open_project, window.preferences.open_page = str(file), "nonsense"
    assert window.find_last_project() is None
    lock.release()
    assert window.find_last_project() == file
    window.restore_session(file)
    assert window.page_name in window.pages
