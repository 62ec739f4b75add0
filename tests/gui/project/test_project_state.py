"""The open project: undo, autosave, problems and copies."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from lora_studio.core.problems import Problem
from lora_studio.core.project import project
from lora_studio.core.protocol import events
from lora_studio.core.runs import folder
from lora_studio.core.runs.folder import RunFolder
from lora_studio.gui.pages.export.page import EvaluationCard
from lora_studio.gui.problems.suggested_actions import Toast
from lora_studio.gui.project.run_verdict import RunVerdictView
from lora_studio.gui.project.state import ProjectState, get_undo_stack
from tests.helpers.runs.job_events import show_widget
from tests.helpers.runs.planted_evaluation import plant


def _messages(state: ProjectState) -> list[Toast]:
    posted: list[Toast] = []
    state.messages.posted.connect(posted.append)
    state.messages.connect_view()
    return posted


def test_change_is_undone_and_redone(qtbot: QtBot, state: ProjectState) -> None:
    with qtbot.waitSignal(state.value_changed) as signal:
        state.set("lora", "rank", 64)
    assert signal.args == ["lora", "rank"]
    assert state.get("lora", "rank") == 64
    state.undo.undo()
    assert state.get("lora", "rank") == 16
    assert not state.is_set("lora", "rank")
    state.undo.redo()
    assert state.get("lora", "rank") == 64


def test_consecutive_edits_of_a_field_are_one_undo_step(state: ProjectState) -> None:
    for rank in (8, 32, 64):
        state.set("lora", "rank", rank)
    state.set("lora", "alpha", 64)
    state.set("lora", "rank", 128)
    assert state.undo.count() == 3
    state.undo.undo()
    state.undo.undo()
    assert state.get("lora", "rank") == 64
    state.undo.undo()
    assert state.get("lora", "rank") == 16


def test_alpha_keeps_its_ratio_while_a_rank_is_typed(state: ProjectState) -> None:
    state.change("LoRA", [("lora", "rank", 16), ("lora", "alpha", 24)])
    for rank in (3, 32, 1, 12):
        state.set("lora", "rank", rank)
    assert state.get("lora", "alpha") == 18
    state.undo.undo()
    assert (state.get("lora", "rank"), state.get("lora", "alpha")) == (16, 24)
    state.set("lora", "alpha", 16)
    state.set("lora", "rank", 8)
    assert state.get("lora", "alpha") == 8


def test_setting_the_same_value_changes_nothing(state: ProjectState) -> None:
    state.set("lora", "rank", 16)
    state.set("lora", "target_names", [])
    assert state.undo.count() == 0
    assert not state.dirty


def test_one_and_true_are_different_values(state: ProjectState) -> None:
    state.set("lora", "rank", True)
    assert state.undo.count() == 1


def test_invalid_value_is_kept_and_reported(qtbot: QtBot, state: ProjectState) -> None:
    with qtbot.waitSignal(state.problems_changed):
        state.set("training", "learning_rate", "fast")
    assert state.get("training", "learning_rate") == "fast"
    assert state.get_spec("training") is None
    (problem,) = state.list_problems("training", "learning_rate")
    assert problem.severity == "error"
    assert "fast" in str(problem.what)
    state.undo.undo()
    assert state.list_problems("training") == []


def test_project_with_a_file_is_autosaved(
    qtbot: QtBot, state: ProjectState, project_folder: Path
) -> None:
    assert state.open(project_folder)
    with qtbot.waitSignal(state.saved):
        state.set("lora", "rank", 64)
        assert state.dirty
    assert not state.dirty
    assert project.load(project_folder).get("lora", "rank") == 64


def test_change_is_saved_before_another_project_opens(
    state: ProjectState, project_folder: Path, tmp_path: Path
) -> None:
    state.open(project_folder)
    state.set("lora", "rank", 64)
    assert state.create(tmp_path / "other", "Other")
    assert project.load(project_folder).get("lora", "rank") == 64
    assert state.get("lora", "rank") == 16


def test_restored_edits_keep_their_names(state: ProjectState, project_folder: Path) -> None:
    state.open(project_folder)
    state.set("lora", "rank", 64)
    preset = [("lora", "rank", 8), ("lora", "alpha", 16), ("training", "max_steps", 60)]
    state.change("Quick test", preset)
    other = ProjectState()
    other.restore_history(get_undo_stack(state.undo))
    assert [other.undo.text(index) for index in range(2)] == ["Rank", "Quick test"]


def test_broken_file_is_refused_and_stays_unchanged(
    state: ProjectState, project_folder: Path
) -> None:
    file = project_folder / "support bot.lorastudio"
    file.write_text("[model\nsource = 3")
    assert not state.open(file)
    assert state.draft.path != file
    assert file.read_text() == "[model\nsource = 3"


def test_failed_save_is_reported_and_keeps_the_change(
    qtbot: QtBot, state: ProjectState, project_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.open(project_folder)
    messages = _messages(state)

    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(project, "write_atomic", no_room)
    state.set("lora", "rank", 64)
    assert not state.save()
    assert messages[0].problem is not None
    assert messages[0].problem.code == "project.not_saved"
    assert state.dirty


def test_copied_project_refers_to_the_original_files(
    state: ProjectState, project_folder: Path, tmp_path: Path
) -> None:
    state.open(project_folder)
    state.set("lora", "rank", 64)
    assert state.save_as(tmp_path / "copies" / "copy", "copy")
    assert state.name == "copy"
    assert state.draft.folder == tmp_path / "copies" / "copy"
    assert state.list_problems() == []
    assert state.get("dataset", "sources") == [{"path": str(project_folder / "rows.jsonl")}]
    assert state.get("lora", "rank") == 64
    assert not state.dirty


def test_opening_a_missing_project_keeps_the_open_one(
    state: ProjectState, project_folder: Path, tmp_path: Path
) -> None:
    state.open(project_folder)
    messages = _messages(state)
    assert not state.open(tmp_path / "nowhere")
    assert state.name == "support bot"
    assert messages[0].level == "error"


def test_reported_problems_stay_until_the_next_report(state: ProjectState) -> None:
    problem = Problem(code="dataset.rows", what="14 rows have nothing to train.", remedy="Look.")
    state.report("dataset", [problem])
    state.set("lora", "rank", 8)
    assert problem in state.list_problems()
    state.report("dataset", [])
    assert problem not in state.list_problems()


def test_repeated_problem_is_listed_once_with_highest_severity(
    state: ProjectState,
) -> None:
    problem = Problem(code="dataset.not_text", what="a.xlsx is no rows.", remedy="Save it as CSV.")
    mild = problem.model_copy(update={"severity": "warning"})
    state.report("measure_dataset", [mild])
    state.report("inspect_dataset", [problem])
    state.report("lint_dataset", [mild])
    assert [item for item in state.list_problems() if item.code == problem.code] == [problem]


def test_answer_is_kept_until_it_is_cleared(qtbot: QtBot, state: ProjectState) -> None:
    devices = events.DevicesFound(devices=())
    with qtbot.waitSignal(state.facts_changed) as signal:
        state.set_answer(devices)
    assert signal.args == ["devices"]
    assert state.facts.devices is devices
    state.forget("devices")
    assert state.facts.devices is None


def test_messages_are_queued_until_a_view_connects(state: ProjectState) -> None:
    state.messages.info("One.")
    state.messages.error("Two.")
    messages = _messages(state)
    state.messages.warning("Three.")
    assert [(item.level, item.text) for item in messages] == [
        ("info", "One."), ("error", "Two."), ("warning", "Three."),
    ]  # fmt: skip


@pytest.fixture
def run(state: ProjectState, project_folder: Path) -> RunFolder:
    """A run of the open project with the checksum of its adapter."""
    assert state.open(project_folder)
    created = folder.create_run(project_folder / "runs", state.draft.freeze(), project_folder)
    created.update_manifest(checksums={"adapter": {"adapter_model.safetensors": [8, 1]}})
    return created


def test_verdict_appears_and_gets_out_of_date(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    card = show_widget(qtbot, EvaluationCard(state, lambda: None))
    view = card.evaluated
    state.set_run(run, "evaluate")
    plant(run, rows=40, general=12)
    plant(run, complete=False)
    assert card.evaluate.isVisible()
    with qtbot.waitSignal(view.shown_changed):
        state.set_run(run)
    assert view.what.text().startswith("▲ Better: ")
    assert view.details.text().startswith("Adapter · Held-out rows · Exact match · ")
    assert view.forgotten.isVisible()
    assert not card.evaluate.isVisible()

    state.set_run(run, "train")
    run.update_manifest(checksums={"adapter": {"adapter_model.safetensors": [8, 2]}})
    with qtbot.waitSignal(view.shown_changed):
        state.set_run(run)
    assert "Out of date" in view.what.text()
    assert "Better: " in view.details.text()
    assert not view.forgotten.isVisible()
    assert card.evaluate.isVisible()
    view.stop_background_work()


def test_verdict_of_another_run_is_not_shown(
    qtbot: QtBot, state: ProjectState, run: RunFolder, project_folder: Path
) -> None:
    plant(run, rows=12, general=6)
    view = show_widget(qtbot, RunVerdictView(state))
    state.set_run(run)
    other = folder.create_run(project_folder / "runs", state.draft.freeze(), project_folder)
    state.set_run(other)
    view.stop_background_work()
    assert view.verdict is None
    assert not view.isVisible()
