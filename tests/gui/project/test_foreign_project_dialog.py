"""Opening a project from elsewhere: nothing happens before the user has seen what it asks for."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from lora_studio.core.problems import ProblemError
from lora_studio.core.project import run_consent
from lora_studio.core.project.project import Project
from lora_studio.core.runs.folder import create_run
from lora_studio.core.system import paths
from lora_studio.gui.problems.suggested_actions import suggest_action
from lora_studio.gui.project.foreign_project_dialog import ForeignProjectDialog, ForeignRunDialog
from lora_studio.gui.window.main_window import Window


@pytest.fixture
def shared_folder(project_folder: Path) -> Path:
    """Return a project that this user hasn't opened yet."""
    (paths.get_config_folder() / "known_projects.json").unlink()
    return project_folder


def add_export(folder: Path, line: str) -> None:
    (file,) = folder.glob("*.lorastudio")
    file.write_text(f"{file.read_text('utf-8')}[export]\n{line}\n", "utf-8")


def get_dialog(window: Window) -> ForeignProjectDialog:
    (dialog,) = window.findChildren(ForeignProjectDialog)
    return dialog


def read_texts(dialog: ForeignProjectDialog) -> str:
    return "\n".join(label.text() for label in dialog.findChildren(QLabel))


def test_foreign_project_opens_after_its_requests_are_confirmed(
    qtbot: QtBot, window: Window, shared_folder: Path
) -> None:
    add_export(shared_folder, 'ollama_host = "http://models.example:11434"\nllama_cpp = "tools"')
    assert not window.open_project(shared_folder)
    assert not window.has_project
    dialog = get_dialog(window)
    texts = read_texts(dialog)
    assert "http://models.example:11434" in texts
    assert "llama.cpp programs in tools" in texts
    assert "hasn't been opened here before" in texts
    qtbot.mouseClick(dialog.open_project, Qt.MouseButton.LeftButton)
    assert window.has_project


def test_confirmed_project_opens_without_a_question(window: Window, shared_folder: Path) -> None:
    add_export(shared_folder, 'llama_cpp = "tools"')
    window.open_project(shared_folder)
    get_dialog(window).open_project.click()
    window.state.new()
    assert window.open_project(shared_folder)


def test_canceled_project_stays_closed_and_unknown(window: Window, shared_folder: Path) -> None:
    add_export(shared_folder, 'llama_cpp = "tools"')
    window.open_project(shared_folder)
    get_dialog(window).cancel.click()
    assert not window.has_project
    assert not window.open_project(shared_folder)


def test_project_changed_elsewhere_shows_only_what_is_new(
    window: Window, shared_folder: Path
) -> None:
    add_export(shared_folder, 'llama_cpp = "tools"')
    window.open_project(shared_folder)
    get_dialog(window).open_project.click()
    window.state.new()
    (file,) = shared_folder.glob("*.lorastudio")
    file.write_text(f'{file.read_text("utf-8")}ollama_host = "models.example"\n', "utf-8")
    assert not window.open_project(shared_folder)
    dialog = next(
        one
        for one in window.findChildren(ForeignProjectDialog)
        if "now also asks" in read_texts(one)
    )
    assert "models.example" in read_texts(dialog)
    assert "tools" not in read_texts(dialog)


def test_own_edits_are_not_asked_about_again(window: Window, shared_folder: Path) -> None:
    assert window.open_project(shared_folder)
    window.state.set("export", "ollama_host", "models.example")
    assert window.save()
    window.state.new()
    assert window.open_project(shared_folder)


def test_request_text_is_shown_as_plain_text(window: Window, shared_folder: Path) -> None:
    add_export(shared_folder, "llama_cpp = \"<img src='file:///dev/zero'>\"")
    window.open_project(shared_folder)
    for label in get_dialog(window).findChildren(QLabel):
        assert label.textFormat() == Qt.TextFormat.PlainText


def test_run_from_elsewhere_is_reviewed_before_its_jobs(
    qtbot: QtBot, window: Window, project_folder: Path
) -> None:
    window.open_project(project_folder)
    frozen = Project.model_validate({"name": "p", "dataset": {"sources": ["/secret/own.jsonl"]}})
    run = create_run(project_folder / "runs", frozen, project_folder, is_allowed=False)
    with pytest.raises(ProblemError) as caught:
        run_consent.require_allowed(run.path, run.load_project())
    (problem,) = caught.value.problems
    assert suggest_action(problem).label == "Review…"
    window.help.run_action(problem)
    (dialog,) = window.findChildren(ForeignRunDialog)
    assert "Read /secret/own.jsonl." in [part.text() for part in dialog.findChildren(QLabel)]
    with qtbot.waitSignal(dialog.allowed):
        qtbot.mouseClick(dialog.allow, Qt.MouseButton.LeftButton)
    assert run_consent.is_allowed(run.path, run.load_project())
