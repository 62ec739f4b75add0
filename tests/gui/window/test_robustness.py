"""The window with broken files, other windows, full disks and no engine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication, QPushButton
from pytestqt.qtbot import QtBot

from lora_studio.core.project import project
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.runs.queue import QueuedRun
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.problems.dialogs import ProblemDialog
from lora_studio.gui.project.lock import ProjectLock
from lora_studio.gui.project.state import AUTOSAVE_DELAY
from lora_studio.gui.window.main_window import CloseDialog, Window
from lora_studio.gui.window.wiring import make_window
from tests.helpers.accepted_projects import accept_project
from tests.helpers.window import plain_pages


@pytest.fixture
def other(qtbot: QtBot, scenario: Callable[..., None]) -> Iterator[Window]:
    """Yield a second window; locks belong to an open file, so one process can stand for two."""
    second_window = make_window(Preferences(), plain_pages.pages)
    second_window.show()
    yield second_window
    second_window.state.undo.setClean()
    second_window.close()
    second_window.deleteLater()


def _file(folder: Path) -> Path:
    return folder / f"{folder.name}.lorastudio"


# --- project files --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["\n[lora\nrank = 8\n", None])
def test_damaged_project_is_refused_and_never_overwritten(
    qtbot: QtBot, window: Window, project_folder: Path, damage: str | None
) -> None:
    file = _file(project_folder)
    broken = file.read_text() + damage if damage else ""
    file.write_text(broken)
    assert not window.open_project(file)
    assert not window.has_project
    assert window.page_name == "home"
    assert file.name in window.toasts.text
    assert window.toasts.action.text() == "Open folder"
    window.state.set("lora", "rank", 32)
    qtbot.wait(AUTOSAVE_DELAY + 100)
    assert file.read_text() == broken
    file.write_text('name = "mended"\n')
    accept_project(project.load(file))
    assert window.open_project(file)
    assert window.toasts.text == "", "the message was about the damaged file"


def test_binary_project_file_is_refused(window: Window, tmp_path: Path) -> None:
    file = tmp_path / "noise.lorastudio"
    file.write_bytes(bytes(range(128, 256)) * 4)
    assert not window.open_project(file)
    assert window.page_name == "home"
    assert not window.has_project
    assert "noise.lorastudio" in window.toasts.text
    assert window.toasts.action.text() == "Open folder"


@pytest.mark.slow
def test_project_of_a_newer_version_is_read_only(window: Window, project_folder: Path) -> None:
    file = _file(project_folder)
    file.write_text("schema_version = 99\n")
    window.open_project(file)
    assert window.header.saved == "read-only"
    window.state.set("lora", "rank", 8)
    assert window.header.saved == "read-only, not saved"
    assert not window.save()
    assert "newer version" in window.toasts.text
    assert file.read_text() == "schema_version = 99\n"
    window.state.undo.undo()


# --- two windows ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_project_open_in_another_window_is_read_only(
    qtbot: QtBot, window: Window, other: Window, project_folder: Path
) -> None:
    before = _file(project_folder).read_text()
    window.open_project(project_folder)
    assert window.header.saved == "saved"
    other.open_project(project_folder)
    assert "open in another window" in other.toasts.text
    assert other.header.saved == "read-only"
    other.state.set("lora", "rank", 8)
    assert not other.save()
    other.launcher.request("train")
    assert not other.jobs.running
    assert not (project_folder / "runs").exists()
    assert _file(project_folder).read_text() == before
    assert other.toasts.action.text() == "Show that window"
    with qtbot.waitSignal(window.lock.called):
        other.toasts.action.click()


@pytest.mark.slow
def test_only_the_first_window_on_a_project_starts_queued_runs(
    qtbot: QtBot, window: Window, other: Window, project_folder: Path,
    scenario: Callable[..., None],
) -> None:  # fmt: skip
    scenario(train=[{"steps": 3, "seconds": 0.01}, {"make": ["adapter/adapter_model.safetensors"]}])
    draft = project.load(project_folder)
    first, second = (
        run_folder.create_run(project_folder / "runs", draft.freeze(), project_folder)
        for _ in range(2)
    )
    window.open_project(project_folder)
    other.open_project(project_folder)
    other.queue.start_or_add(first)
    other.queue.add([QueuedRun(run=second.path.name)])
    other.queue.start()
    assert "window that has the project open" in other.toasts.text
    names = [first.path.name, second.path.name]
    qtbot.waitUntil(lambda: window.queue.names == names)
    assert window.queue.paused  # nothing starts without a request in this window
    assert not other.jobs.running
    window.queue.start()
    qtbot.waitUntil(lambda: second.read_state() == "trained" and not window.jobs.running)
    qtbot.waitUntil(lambda: not window.jobs.is_following)
    assert not other.jobs.running
    qtbot.waitUntil(lambda: not other.queue.names)


@pytest.mark.slow
def test_project_lock_is_released_when_the_window_switches(
    window: Window, other: Window, project_folder: Path, tmp_path: Path
) -> None:
    window.open_project(project_folder)
    other.open_project(project_folder)
    other.state.set("lora", "rank", 8)
    assert other.state.save_as(tmp_path / "copy", "copy")
    assert other.header.saved == "saved"
    assert other.state.list_problems() == []
    other.state.set("lora", "rank", 32)
    assert other.save()
    window.state.create(tmp_path / "next", "next")
    other.open_project(project_folder)
    assert other.header.saved == "saved"
    window.close()
    other.open_project(tmp_path / "next")
    assert other.header.saved == "saved"


def test_project_opens_when_no_lock_file_can_be_created(
    qapp: QApplication, project_folder: Path
) -> None:
    file = _file(project_folder)
    file.with_name(f".{file.name}.lock").mkdir()  # no file can be opened in it
    lock = ProjectLock()
    assert lock.acquire(file) is None
    lock.release()


# --- disk and engine ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a limit on file sizes is one of POSIX systems")
def test_full_disk_keeps_changes_until_saving_succeeds(
    window: Window, project_folder: Path
) -> None:
    import resource

    window.open_project(project_folder)
    before = _file(project_folder).read_text()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    window.state.set("lora", "rank", 8)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, limits[1]))
    try:
        assert not window.save()
        window.close()
        assert window.isVisible(), "closing would lose the change"
        (dialog,) = window.findChildren(CloseDialog)
        dialog.reject()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "Couldn't save the project" in window.toasts.text
    assert _file(project_folder).read_text() == before
    assert window.state.get("lora", "rank") == 8
    assert window.save()
    assert project.load(project_folder).get("lora", "rank") == 8


@pytest.mark.slow
def test_missing_engine_is_reported_and_projects_stay_editable(
    qtbot: QtBot, window: Window, project_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_STUDIO_ENGINE", "/nowhere/python -m lora_studio.engine")
    window.open_project(project_folder)
    window.launcher.request("train")
    qtbot.waitUntil(lambda: not window.jobs.running)
    assert window.toasts.isVisible()
    window.toasts.more.click()
    (dialog,) = window.findChildren(ProblemDialog)
    assert any(button.text() == "Close" for button in dialog.findChildren(QPushButton))
    dialog.reject()
    window.state.set("lora", "rank", 32)
    assert window.save()
