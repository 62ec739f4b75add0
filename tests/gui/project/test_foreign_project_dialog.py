"""Opening a project from elsewhere: nothing happens before the user has seen what it asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from lora_studio.core.messages import text
from lora_studio.core.problems import Fix, ProblemError, Step
from lora_studio.core.project import access_requests, project
from lora_studio.core.project.project import Project
from lora_studio.core.runs import grid_search
from lora_studio.core.runs.folder import create_run
from lora_studio.core.system import paths
from lora_studio.gui.problems.suggested_actions import suggest_action
from lora_studio.gui.project.commands import (
    ForeignProjectDialog,
    ForeignRunDialog,
    ForeignSettingsDialog,
)
from lora_studio.gui.widgets.dialog import Dialog
from lora_studio.gui.window.main_window import Window
from tests.helpers.accepted_projects import list_new_requests


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


def read_texts(dialog: Dialog) -> str:
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


def test_project_that_changes_while_it_is_shown_is_shown_again(
    qtbot: QtBot, window: Window, shared_folder: Path
) -> None:
    add_export(shared_folder, 'llama_cpp = "tools"')
    window.open_project(shared_folder)
    dialog = get_dialog(window)
    (file,) = shared_folder.glob("*.lorastudio")
    file.write_text(f'{file.read_text("utf-8")}ollama_host = "models.example"\n', "utf-8")
    qtbot.mouseClick(dialog.open_project, Qt.MouseButton.LeftButton)
    assert not window.has_project
    draft = project.load(file)
    assert len(list_new_requests(draft)) == 2  # nothing was recorded
    again = next(each for each in window.findChildren(ForeignProjectDialog) if each is not dialog)
    assert "models.example" in read_texts(again)
    assert "tools" in read_texts(again)
    qtbot.mouseClick(again.open_project, Qt.MouseButton.LeftButton)
    assert window.has_project
    assert list_new_requests(draft) == []


def test_link_added_during_review_is_not_accepted(
    qtbot: QtBot, window: Window, shared_folder: Path, tmp_path: Path
) -> None:
    add_export(shared_folder, 'llama_cpp = "tools"')
    window.open_project(shared_folder)
    dialog = get_dialog(window)
    (tmp_path / "elsewhere").mkdir()
    (shared_folder / "runs").symlink_to(tmp_path / "elsewhere")
    qtbot.mouseClick(dialog.open_project, Qt.MouseButton.LeftButton)
    assert not window.has_project
    assert [each.kind for each in list_new_requests(project.load(shared_folder))] == ["code", "write"]  # fmt: skip


def test_link_added_after_opening_is_shown_before_a_job(
    window: Window, shared_folder: Path, tmp_path: Path
) -> None:
    assert window.open_project(shared_folder)
    (tmp_path / "elsewhere").mkdir()
    (shared_folder / "runs").symlink_to(tmp_path / "elsewhere")
    window.state.set("export", "ollama_host", "models.example")
    assert window.state.save()
    assert not window.state.require_accepted()
    window.launcher.request("train")
    assert str(tmp_path / "elsewhere") in read_texts(window.findChildren(ForeignProjectDialog)[0])
    assert not any((tmp_path / "elsewhere").iterdir())
    new = list_new_requests(window.state.draft)
    assert [each.target for each in new] == [str(tmp_path / "elsewhere")]


def test_file_in_the_recent_list_is_no_consent(window: Window, shared_folder: Path) -> None:
    assert window.open_project(shared_folder)
    window.state.new()
    (paths.get_config_folder() / "known_projects.json").unlink()
    add_export(shared_folder, 'llama_cpp = "tools"')
    assert window.preferences.list_known_projects()
    assert not window.open_project(shared_folder)
    assert "tools" in read_texts(get_dialog(window))


SETTINGS: list[tuple[Step, str, Any, str]] = [
    ("export", "ollama_host", "models.example", "models.example"),
    ("model", "trust_remote_code", True, "Python code"),
    ("training", "rewards", [{"kind": "judge", "address": "http://j.example", "model": "m", "key_variable": "AWS_SECRET"}], "AWS_SECRET"),
    ("dataset", "sources", ["/secret/rows.jsonl"], "/secret/rows.jsonl"),
]  # fmt: skip


@pytest.mark.parametrize(("step", "field", "value", "named"), SETTINGS)
def test_settings_that_nobody_typed_are_shown_before_they_count(
    qtbot: QtBot,
    window: Window,
    shared_folder: Path,
    step: Step,
    field: str,
    value: object,
    named: str,
) -> None:
    assert window.open_project(shared_folder)
    before = window.state.get(step, field)
    window.state.apply_fix(
        Fix(
            label=text("Fewer steps"),
            step="training",
            field="epochs",
            value=2,
            also=((step, field, value),),
        )
    )
    assert window.state.get(step, field) == before
    (dialog,) = window.findChildren(ForeignSettingsDialog)
    assert named in read_texts(dialog)
    qtbot.mouseClick(dialog.apply, Qt.MouseButton.LeftButton)
    assert window.state.get(step, field) == value


def test_copied_settings_are_shown_before_they_count(window: Window, shared_folder: Path) -> None:
    assert window.open_project(shared_folder)
    frozen = window.state.draft.freeze()
    export = frozen.export.model_copy(update={"ollama_host": "models.example"})
    run = create_run(
        shared_folder / "runs",
        frozen.model_copy(update={"export": export}),
        shared_folder,
        is_allowed=False,
    )
    window.state.adopt("Copy", grid_search.list_settings(run))
    assert window.state.get("export", "ollama_host") == ""
    assert len(window.findChildren(ForeignSettingsDialog)) == 1


def test_harmless_fix_is_applied_at_once(window: Window, shared_folder: Path) -> None:
    assert window.open_project(shared_folder)
    window.state.apply_fix(Fix(label=text("Rank 4"), step="lora", field="rank", value=4))
    assert window.state.get("lora", "rank") == 4
    assert window.findChildren(ForeignSettingsDialog) == []


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
        access_requests.require_run_allowed(run.path, run.load_project())
    (problem,) = caught.value.problems
    assert (action := suggest_action(problem))
    assert action.label == "Review…"
    window.help.run_action(problem)
    (dialog,) = window.findChildren(ForeignRunDialog)
    assert "Read /secret/own.jsonl." in [part.text() for part in dialog.findChildren(QLabel)]
    with qtbot.waitSignal(dialog.allowed):
        qtbot.mouseClick(dialog.allow, Qt.MouseButton.LeftButton)
    assert not access_requests.list_unallowed_of_run(run.path, run.load_project())
