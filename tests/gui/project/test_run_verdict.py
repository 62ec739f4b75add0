"""The verdict of the newest evaluation on the pages of the steps."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from lora_studio.core.runs import folder
from lora_studio.core.runs.folder import RunFolder
from lora_studio.gui.pages.export.page import EvaluationCard
from lora_studio.gui.project.run_verdict import RunVerdictView
from lora_studio.gui.project.state import ProjectState
from tests.helpers.runs.job_events import show_widget
from tests.helpers.runs.planted_evaluation import plant


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
    view.leave()


def test_verdict_of_another_run_is_not_shown(
    qtbot: QtBot, state: ProjectState, run: RunFolder, project_folder: Path
) -> None:
    plant(run, rows=12, general=6)
    view = show_widget(qtbot, RunVerdictView(state))
    state.set_run(run)
    other = folder.create_run(project_folder / "runs", state.draft.freeze(), project_folder)
    state.set_run(other)
    view.leave()
    assert view.verdict is None
    assert not view.isVisible()
