"""The training page: before, during and after a run, live and replayed."""

from __future__ import annotations

from typing import Any

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from lora_studio.core.problems import Fix, Problem
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.tasks.preference import LabeledAnswerTask, PreferenceTask
from lora_studio.gui.controls.choices import CardsControl
from lora_studio.gui.pages.training.page import TrainingPage
from lora_studio.gui.project.state import ProjectState
from tests.helpers.models import model_facts
from tests.helpers.runs.job_events import (
    finished_events,
    play_events,
    show_widget,
    started_events,
    training_events,
)


@pytest.mark.slow
def test_settings_show_the_planned_number_of_steps(
    qtbot: QtBot, state: ProjectState, run: Any
) -> None:
    page = show_widget(qtbot, TrainingPage(state))
    assert "appears once the dataset is read" in page.recipe.estimate.text()
    state.set_answer(model_facts.dataset())
    estimate = page.recipe.estimate.text()
    assert estimate == "Effective batch size: 16 rows. About 18 steps, 6 per epoch."
    state.set("training", "max_steps", 10)
    assert "About 10 steps (step limit)" in page.recipe.estimate.text()
    summary = page.recipe.summary.get_facts()
    assert summary["Rows"] == "about 95 training rows, 5 validation rows"
    assert summary["Adapter"] == "LoRA, rank 16 · All linear layers"
    assert page.header.primary.text() == "Start training"
    with qtbot.waitSignal(page.run_requested) as signal:
        page.header.primary.click()
    assert signal.args == ["train"]


@pytest.mark.slow
def test_preference_fields_say_when_the_data_does_not_use_them(
    qtbot: QtBot, state: ProjectState
) -> None:
    page = show_widget(qtbot, TrainingPage(state))
    method, beta = page.editors["preference"], page.editors["beta"]
    assert not any("Not used" in editor.help.text() for editor in (method, beta))
    state.set_answer(model_facts.dataset())
    assert method.help.text() == PreferenceTask.unused_settings
    assert beta.help.text() == LabeledAnswerTask.unused_settings
    state.set_answer(model_facts.dataset(task="kto"))
    assert method.isHidden()
    assert beta.help.text() == beta.facts.description


def test_preference_data_put_their_settings_first(qtbot: QtBot, state: ProjectState) -> None:
    page = show_widget(qtbot, TrainingPage(state))
    epochs, beta = page.editors["epochs"], page.editors["beta"]
    assert not beta.isVisible()
    assert not page.editors["learning_rate"].fix_button.isVisible()
    state.set_answer(model_facts.dataset(task="preference"))
    QApplication.processEvents()
    assert beta.mapTo(page, QPoint()).y() < epochs.mapTo(page, QPoint()).y()
    (problem,) = [item for item in state.list_problems("training") if item.fix]
    assert "high for DPO" in str(problem.what)
    assert page.editors["learning_rate"].fix_button.isVisible()
    page.editors["learning_rate"].fix_button.click()
    assert state.get("training", "learning_rate") == 5e-6
    assert not state.list_problems("training", "learning_rate")
    state.set_answer(model_facts.dataset())
    QApplication.processEvents()
    assert not beta.isVisible()


def test_preference_methods_are_cards_with_a_sentence_each(
    qtbot: QtBot, state: ProjectState
) -> None:
    page = show_widget(qtbot, TrainingPage(state))
    state.set_answer(model_facts.dataset(task="preference"))
    QApplication.processEvents()

    def shown() -> list[str]:
        names = ("preference", "dpo_loss", "beta", "label_smoothing", "simpo_beta", "simpo_gamma")
        return [name for name in names if page.editors[name].isVisible()]

    assert shown() == ["preference", "dpo_loss", "beta"]
    cards = page.editors["dpo_loss"].control
    assert isinstance(cards, CardsControl)
    assert "swapped by mistake" in cards.cards["robust"].radio.accessibleName()
    cards.cards["robust"].radio.click()
    assert state.get("training", "dpo_loss") == "robust"
    QApplication.processEvents()
    assert shown() == ["preference", "dpo_loss", "beta", "label_smoothing"]
    state.set("training", "preference", "orpo")
    QApplication.processEvents()
    assert shown() == ["preference", "beta"]
    state.set("training", "preference", "simpo")
    QApplication.processEvents()
    assert shown() == ["preference", "simpo_beta", "simpo_gamma"]
    (problem,) = state.list_problems("training", "learning_rate")
    assert "high for SimPO" in str(problem.what)
    assert problem.fix is not None
    assert problem.fix.value == 6e-6
    rate = page.editors["learning_rate"].help.text()
    assert rate == "Peak learning rate. 6e-6 is common for SimPO."
    state.set("training", "preference", "reward")
    QApplication.processEvents()
    assert shown() == ["preference"]
    assert "can't be merged, exported as GGUF" in page.editors["preference"].error.text()


def test_error_in_any_step_blocks_training(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = show_widget(qtbot, TrainingPage(state))
    state.set("lora", "rank", 0)
    assert not page.header.primary.isEnabled()
    assert "Rank" in page.header.primary.toolTip()


@pytest.mark.slow
def test_running_training_updates_metrics_and_curve(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = show_widget(qtbot, TrainingPage(state))
    state.set_run(run, "train")
    play_events(page, started_events())
    assert page.stop.text() == "Cancel", "there is nothing to keep before the first step"
    play_events(page, training_events(30, 60))
    qtbot.waitUntil(lambda: page.tiles.text("step") == "30 of 60")
    assert page.tiles.text("epoch") == "1.50"
    assert page.progress.doing.text() == "Training"
    assert page.progress.left.text() == "50 %  ·  about 2 min left"
    assert page.tiles.tiles["load"].isVisible()
    assert page.tiles.text("speed") == "2,310"
    assert page.tiles.text("loss") == "1.26"
    assert page.tiles.text("eval") == "1.36"
    assert page.tiles.text("memory") == "9 GiB"
    assert page.tiles.text("rate") == "2e-4"
    assert len(page.plot.run.steps) == 30
    assert page.progress.bar.value() == 500
    assert page.find_blocker() == "Training is running."
    assert not page.is_done()
    assert "step 30: eval loss" in page.log.toPlainText()
    with qtbot.waitSignal(page.checkpoint_requested):
        page.checkpoint.click()
    with qtbot.waitSignal(page.stop_requested):
        qtbot.keyClick(page.stop, Qt.Key.Key_Space)


@pytest.mark.slow
def test_setting_is_shown_while_a_training_is_running(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = show_widget(qtbot, TrainingPage(state))
    state.set_run(run, "train")
    play_events(page, [*started_events(), *training_events(3, 60)])
    page.focus_field("learning_rate")
    assert page.editors["learning_rate"].isVisible()
    assert page.stop.isVisible()
    assert not page.header.primary.isEnabled()
    assert page.results.text() == "Show running training"
    page.results.click()
    assert page.run_view.isVisible()
    assert not page.recipe.isVisible()


@pytest.mark.slow
def test_finished_training_shows_verdict_and_continue(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = show_widget(qtbot, TrainingPage(state))
    state.set_run(run, "train")
    play_events(page, [*started_events(), *training_events(60, 60), *finished_events()])
    state.set_run(run, "")
    assert page.verdict.what.text() == "✓ Eval loss fell 1.74 → 1.30 and leveled off."
    assert page.verdict.advice.text().endswith("Training took 12 min.")
    assert page.is_done()
    assert page.header.primary.text() == "Continue"
    with qtbot.waitSignal(page.continue_clicked):
        page.header.primary.click()
    page.edit_settings.click()
    assert page.header.primary.text() == "Start training"
    page.results.click()
    assert page.header.primary.text() == "Continue"


def test_replayed_run_looks_the_same(qtbot: QtBot, state: ProjectState, run: RunFolder) -> None:
    page = show_widget(qtbot, TrainingPage(state))
    state.set_run(run, "")
    play_events(page, [*started_events(), *training_events(60, 60), *finished_events()])
    assert page.tiles.tiles["load"].isHidden(), "it was measured while the training ran"
    assert page.is_done()
    assert page.header.primary.text() == "Continue"
    assert len(page.plot.run.steps) == 60
    state.set_run(None)
    assert not page.is_done()
    assert page.header.primary.text() == "Start training"
    assert len(page.plot.run.steps) == 0


def test_run_joined_midway_continues(qtbot: QtBot, state: ProjectState, run: RunFolder) -> None:
    page = show_widget(qtbot, TrainingPage(state))
    state.set_run(run, "train")
    play_events(page, [*started_events(), *training_events(20, 60)])
    play_events(page, training_events(40, 60, start=21))
    assert len(page.plot.run.steps) == 40
    assert page.stop.isVisible()
    assert page.header.primary.text() == "Continue"
    assert not page.header.primary.isEnabled()


def test_inspector_answer_leaves_the_curve_unchanged(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = show_widget(qtbot, TrainingPage(state))
    state.set_run(run, "train")
    question = [events.Started(id="q", command="inspect_dataset"), events.Done(id="q")]
    play_events(page, [*started_events(), *training_events(20, 60), *question])
    play_events(page, training_events(40, 60, start=21))
    assert len(page.plot.run.steps) == 40


def test_training_whose_process_vanished_can_be_resumed(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = show_widget(qtbot, TrainingPage(state))
    run.checkpoint(20).mkdir(parents=True)
    state.set_run(run, "train")
    play_events(page, [*started_events(), *training_events(30, 60)])
    state.set_run(run, "")
    assert "stopped unexpectedly" in page.verdict.what.text()
    assert "checkpoint at step 20" in page.verdict.advice.text()
    assert page.header.primary.text() == "Resume"
    with qtbot.waitSignal(page.run_requested) as signal:
        page.header.primary.click()
    assert signal.args == ["resume"]


def test_training_is_paused_and_resumed_by_click(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = show_widget(qtbot, TrainingPage(state))
    run.checkpoint(30).mkdir(parents=True)
    state.set_run(run, "train")
    play_events(page, [*started_events(), *training_events(30, 60)])
    page.pause.setFocus()
    with qtbot.waitSignal(page.pause_requested):
        qtbot.keyClick(page.pause, Qt.Key.Key_Space)
    assert page.progress.doing.text() == "Pausing after this step…"
    play_events(page, [events.Done(id="t", paused=True)])
    state.set_run(run, "")
    assert page.window().focusWidget() is page.header.primary
    assert page.verdict.what.text() == "Training paused"
    assert page.verdict.advice.text() == "Resume to continue from the checkpoint at step 30."
    assert not page.pause.isVisible()
    assert page.header.primary.text() == "Resume"
    assert not page.is_done()
    with qtbot.waitSignal(page.run_requested) as signal:
        page.header.primary.click()
    assert signal.args == ["resume"]
    state.set_run(run, "train")
    assert page.progress.doing.text() == "Starting…", "until the worker says what it does"
    assert page.pause.isEnabled()
    # The clock was set back since the steps of the first part.
    started = events.Started(id="u", time=1.0, command="train")
    progress = events.Progress(id="u", time=2.0, stage="loading the model", done=1)
    play_events(page, [started, progress])
    page.refresh()
    assert page.progress.doing.text() == "Loading the model"


def test_pause_leaves_the_focus_in_the_notes(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = show_widget(qtbot, TrainingPage(state))
    run.checkpoint(30).mkdir(parents=True)
    state.set_run(run, "train")
    play_events(page, [*started_events(), *training_events(30, 60)])
    page.pause.setFocus()
    qtbot.keyClick(page.pause, Qt.Key.Key_Space)
    page.tabs.tabBar().setFocus()
    play_events(page, [events.Done(id="t", paused=True)])
    state.set_run(run, "")
    assert page.window().focusWidget() is page.tabs.tabBar()


def test_resumed_training_replaces_repeated_steps(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = show_widget(qtbot, TrainingPage(state))
    state.set_run(run, "train")
    play_events(
        page,
        [
            *started_events(),
            *training_events(30, 60),
            *started_events(step=20),
            *training_events(40, 60, start=21),
        ],
    )
    assert page.plot.run.steps.steps.tolist() == list(range(1, 41))


def test_failed_training_shows_problem_and_remedy(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = show_widget(qtbot, TrainingPage(state))
    state.set_run(run, "train")
    fix = Fix(label="4-bit weights", step="model", field="precision", value="4bit")
    problem = Problem(code="training.memory", what="Out of memory.", remedy="Use 4-bit.", fix=fix)
    play_events(page, [*started_events(), events.Failed(id="t", problem=problem)])
    state.set_run(run, "")
    assert (page.verdict.what.text(), page.verdict.advice.text()) == (
        "✗ Out of memory.",
        "Use 4-bit.",
    )
    assert page.header.primary.text() == "Train again"
    assert not page.is_done()
    page.verdict.fixes.buttons[0].click()
    assert state.get("model", "precision") == "4bit"


def test_problem_of_a_field_opens_the_settings(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = show_widget(qtbot, TrainingPage(state))
    state.set_run(run, "")
    play_events(page, [*started_events(), *training_events(60, 60), *finished_events()])
    page.focus_field("seed")
    assert page.editors["seed"].isVisible()


def test_samples_are_shown_side_by_side(qtbot: QtBot, state: ProjectState, run: RunFolder) -> None:
    page = show_widget(qtbot, TrainingPage(state))
    state.set_run(run, "train")
    play_events(page, started_events())
    assert page.tabs.indexOf(page.samples) < 0
    for source in ("base", "tuned"):
        play_events(
            page,
            [
                events.Generated(
                    id="t", source=source, index=0, text=f"{source} says", tokens=2, finished=True
                )
            ],
        )
    assert page.samples.get_answers() == {(0, "base"): "base says", (0, "tuned"): "tuned says"}
    assert page.tabs.indexOf(page.samples) == 1
