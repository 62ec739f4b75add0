"""The recipe of the training page: presets, conditional fields, and advice during and after a run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QLabel
from pytestqt.qtbot import QtBot

from lora_studio.core.protocol import events
from lora_studio.gui.pages.training.page import TrainingPage
from lora_studio.gui.project import run_preview
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.widgets.basics import CollapsibleSection
from tests.helpers.models import model_facts


@pytest.fixture
def page(qtbot: QtBot, state: ProjectState) -> Iterator[TrainingPage]:
    training_page = TrainingPage(state)
    qtbot.addWidget(training_page)
    training_page.resize(1100, 740)
    training_page.show()
    qtbot.waitExposed(training_page)
    yield training_page
    state.undo.setClean()


def click(qtbot: QtBot, page: TrainingPage, name: str) -> None:
    qtbot.mouseClick(page.recipe.presets.cards.cards[name], Qt.MouseButton.LeftButton)


@pytest.mark.slow
def test_preset_is_previewed_before_it_is_applied(qtbot: QtBot, page: TrainingPage) -> None:
    panel = page.recipe.presets
    assert panel.cards.cards["balanced"].radio.isChecked()
    assert not panel.preview.isVisible()
    click(qtbot, page, "quick")
    assert panel.preview.isVisible()
    assert panel.changes.text() == (
        "Quick test changes 4 settings: Rank 16 → 8 · Alpha 32 → 16 · Epochs 3 → 1 · "
        "Max. steps 0 → 60"
    )
    assert page.state.get("lora", "rank") == 16
    qtbot.mouseClick(panel.cancel, Qt.MouseButton.LeftButton)
    assert not panel.preview.isVisible()
    assert panel.cards.cards["balanced"].radio.isChecked()
    assert page.state.undo.count() == 0


@pytest.mark.slow
def test_preset_is_applied_and_undone_in_one_step(qtbot: QtBot, page: TrainingPage) -> None:
    state, panel = page.state, page.recipe.presets
    click(qtbot, page, "memory")
    qtbot.mouseClick(panel.apply, Qt.MouseButton.LeftButton)
    assert (state.get("model", "precision"), state.get("training", "micro_batch")) == ("4bit", 1)
    assert page.editors["micro_batch"].control.line.text() == "1"
    assert panel.cards.cards["memory"].radio.isChecked()
    assert not panel.preview.isVisible()
    assert state.undo.count() == 1
    assert state.undo.undoText() == "Low memory"
    state.undo.undo()
    assert (state.get("model", "precision"), state.get("training", "micro_batch")) == ("auto", 4)
    assert panel.cards.cards["balanced"].radio.isChecked()


@pytest.mark.slow
def test_custom_settings_match_no_preset(qtbot: QtBot, page: TrainingPage) -> None:
    page.state.set("training", "epochs", 2.0)
    cards = page.recipe.presets.cards.cards.values()
    assert not any(card.radio.isChecked() for card in cards)
    click(qtbot, page, "balanced")
    assert "1 setting: Epochs 2 → 3" in page.recipe.presets.changes.text()
    assert not page.recipe.presets.evidence.isVisible()
    click(qtbot, page, "rslora")
    assert "51.3 %" in page.recipe.presets.evidence.text()
    assert page.recipe.presets.evidence.isVisible()


@pytest.mark.slow
def test_only_fields_used_by_the_schedule_are_shown(page: TrainingPage) -> None:
    page.focus_field("schedule")

    def shown() -> set[str]:
        names = ("lowest_rate", "schedule_cycles", "schedule_power", "decay_share", "warmup_share")
        return {name for name in names if page.editors[name].isVisible()}

    assert shown() == {"warmup_share"}
    page.state.set("training", "schedule", "polynomial")
    assert shown() == {"warmup_share", "lowest_rate", "schedule_power"}
    page.state.set("training", "schedule", "warmup_stable_decay")
    assert shown() == {"warmup_share", "lowest_rate", "decay_share"}
    page.state.set("training", "optimizer", "schedule_free_adamw")
    assert shown() == {"warmup_share"}
    assert (
        page.editors["schedule"].help.text()
        == "Not used: AdamW, schedule-free doesn't need a learning rate schedule."
    )


@pytest.mark.slow
def test_unavailable_optimizer_is_reported_with_a_fix(qtbot: QtBot, page: TrainingPage) -> None:
    lacking = model_facts.devices().model_copy(update={"missing": ("bitsandbytes",)})
    page.state.set_answer(lacking)
    page.state.set("training", "optimizer", "adamw_8bit")
    page.focus_field("optimizer")
    editor = page.editors["optimizer"]
    assert "needs the package bitsandbytes" in editor.error.text()
    qtbot.mouseClick(editor.fix_button, Qt.MouseButton.LeftButton)
    assert page.state.get("training", "optimizer") == "adamw"
    assert not page.state.list_problems("training", "optimizer")


def test_apple_gpu_rules_out_8bit_optimizers(page: TrainingPage) -> None:
    gpu = events.Device(name="mps", title="Apple GPU", total_bytes=1, free_bytes=1)
    page.state.set_answer(events.DevicesFound(devices=(gpu,)))
    page.state.set("training", "optimizer", "lion_8bit")
    (problem,) = page.state.list_problems("training", "optimizer")
    assert "doesn't support Apple GPUs" in str(problem.what)
    page.state.set(
        "model", "device", "mps"
    )  # the checks report the same problem, which is shown once
    assert len(page.state.list_problems("training", "optimizer")) == 1


def test_missing_compiler_is_reported_before_training(page: TrainingPage) -> None:
    gpu = events.Device(name="cuda:0", title="RTX 4090", total_bytes=1, free_bytes=1)
    page.state.set_answer(events.DevicesFound(devices=(gpu,), missing_build_tool="compiler"))
    (problem,) = page.state.list_problems("training", "liger")
    assert "apt install gcc" in str(problem.remedy)
    page.state.set("model", "device", "cpu")
    assert not page.state.list_problems("training", "liger")


def sample(step: int, source: str, text: str, index: int = 0) -> events.Sampled:
    return events.Sampled.model_validate(
        {
            "id": "t",
            "step": step,
            "index": index,
            "prompt": f"Question {index}",
            "source": source,
            "text": text,
        }
    )


@pytest.mark.slow
def test_samples_of_earlier_steps_can_be_selected(
    page: TrainingPage,
) -> None:
    page.on_event(events.Started(id="t", command="train"))
    assert page.tabs.indexOf(page.samples) < 0
    for event in (sample(0, "base", "Dunno"), sample(10, "tuned", "A bit"), sample(20, "tuned", "Right")):  # fmt: skip
        page.on_event(event)
    assert page.tabs.tabText(page.tabs.indexOf(page.samples)) == "Samples"
    assert page.samples.get_answers() == {(0, "base"): "Dunno", (0, "tuned"): "Right"}
    page.samples.steps.setCurrentIndex(0)
    page.samples.steps.activated.emit(0)
    assert page.samples.get_answers()[(0, "tuned")] == "A bit"
    page.on_event(sample(30, "tuned", "Better"))  # the selected earlier step stays selected
    assert page.samples.get_answers()[(0, "tuned")] == "A bit"
    words = {part.text() for part in page.samples.findChildren(QLabel)}
    assert {"Question 0", "Dunno", "A bit", "Base model", "Fine-tuned"} <= words


@pytest.mark.slow
def test_sample_prompts_are_entered_one_per_line(qtbot: QtBot, page: TrainingPage) -> None:
    page.focus_field("sample_prompts")
    editor = page.editors["sample_prompts"]
    qtbot.keyClicks(editor.control.box, "Where, please, is it?")
    qtbot.keyClick(editor.control.box, Qt.Key.Key_Return)
    qtbot.keyClicks(editor.control.box, " Who? ")
    editor.commit()
    assert page.state.get("training", "sample_prompts") == ["Where, please, is it?", "Who?"]
    assert not page.state.list_problems("training")


def step(number: int, loss: float, norm: float = 1.0) -> events.StepDone:
    return events.StepDone(
        id="t", step=number, steps=200, epoch=number / 50, loss=loss, learning_rate=1e-4,
        grad_norm=norm, tokens=1, tokens_per_s=1.0, memory_bytes=1,
    )  # fmt: skip


def run_of(page: TrainingPage, losses: list[float], evaluations: dict[int, float]) -> None:
    page.state.set_run(None, "train")
    page.on_event(events.Started(id="t", command="train"))
    page.on_event(events.TrainingStarted(id="t", steps=200, steps_per_epoch=50, effective_batch=16))
    for number, loss in enumerate(losses, start=1):
        page.on_event(step(number, loss))
        if number in evaluations:
            page.on_event(events.Evaluated(id="t", step=number, loss=evaluations[number]))
    page.refresh()


@pytest.mark.slow
def test_diverging_training_is_reported_with_suggested_fixes(
    qtbot: QtBot, page: TrainingPage
) -> None:
    run_of(page, [2.0] * 25, {})
    assert not page.verdict.isVisible()
    run_of(page, [2.0 + 0.2 * n for n in range(40)], {})
    assert page.verdict.isVisible()
    assert page.verdict.what.text().startswith("⚠ The loss is rising")
    first = page.verdict.fixes.buttons[0]
    assert first.text() == "Learning rate 7e-5"
    qtbot.mouseClick(first, Qt.MouseButton.LeftButton)
    assert page.state.get("training", "learning_rate") == 7e-5
    assert first.text() == "✓ Learning rate 7e-5"
    assert not first.isEnabled()
    assert page.run_view.isVisible()  # the view stays on the run
    page.state.undo.undo()
    assert first.isEnabled()


def test_overfitting_fix_changes_the_recipe_and_shows_it(qtbot: QtBot, page: TrainingPage) -> None:
    losses = [1.0 + 1.5 / (1 + n / 20) for n in range(200)]
    run_of(page, losses, {50: 1.6, 100: 1.3, 150: 1.5, 200: 1.7})
    page.on_event(events.AdapterSaved(id="t", step=100, folder="/tmp/a", bytes=1, best_loss=1.3))
    page.on_event(events.Done(id="t"))
    page.state.set_run(None, "")
    assert page.verdict.what.text() == (
        "⚠ Eval loss was lowest at step 100 (1.30) and has since risen to 1.70."
    )
    assert "The best adapter, from step 100, was kept." in page.verdict.advice.text()
    assert [button.text() for button in page.verdict.fixes.buttons] == ["Train for 2 epochs", "Dropout 0.1", "Rank 8"]  # fmt: skip
    qtbot.mouseClick(page.verdict.fixes.buttons[2], Qt.MouseButton.LeftButton)
    assert (page.state.get("lora", "rank"), page.state.get("lora", "alpha")) == (8, 16)
    assert page.recipe.isVisible()
    page.state.undo.undo()  # one undo step for rank and alpha
    assert (page.state.get("lora", "rank"), page.state.get("lora", "alpha")) == (16, 32)


def test_zero_gradient_is_still_reported_after_training(page: TrainingPage) -> None:
    page.state.set("lora", "targets", "attention")
    run_of(page, [], {})
    for number in range(1, 12):
        page.on_event(step(number, 2.0, norm=0.0))
    page.refresh()
    assert "The gradient is zero" in page.verdict.what.text()
    page.on_event(events.AdapterSaved(id="t", step=11, folder="/tmp/a", bytes=1))
    page.on_event(events.Done(id="t"))
    page.state.set_run(None, "")
    assert "The gradient is zero" in page.verdict.what.text()
    assert [button.text() for button in page.verdict.fixes.buttons] == ["Adapt all linear layers"]
    QApplication.processEvents()
    assert page.verdict.fixes.buttons[0].x() == 0  # hidden text before it takes up no space


@pytest.mark.slow
def test_run_view_does_not_scroll_to_the_recipe_height(page: TrainingPage) -> None:
    for more in page.recipe.findChildren(CollapsibleSection):
        more.set_open(True)
    bar = page.area.verticalScrollBar()
    QApplication.processEvents()
    assert bar.maximum() > 0
    run_of(page, [2.0], {})
    QApplication.processEvents()
    assert bar.maximum() == 0


def test_buttons_are_disabled_while_a_pause_is_pending(qtbot: QtBot, page: TrainingPage) -> None:
    run_of(page, [2.0], {})
    with qtbot.waitSignal(page.pause_requested):
        qtbot.mouseClick(page.pause, Qt.MouseButton.LeftButton)
    assert not any(button.isEnabled() for button in (page.pause, page.stop, page.checkpoint))
    page.on_event(events.Done(id="t", paused=True))
    run_of(page, [2.0], {})  # resumes
    assert all(button.isEnabled() for button in (page.pause, page.stop, page.checkpoint))


@pytest.mark.parametrize(
    ("backend", "expected"), [("auto", "PEFT"), ("peft", "PEFT"), ("unsloth", "Unsloth")]
)
def test_backend_that_will_load_the_model_is_shown(
    state: ProjectState, backend: str, expected: str
) -> None:
    state.set("training", "backend", backend)
    assert run_preview.describe_backend(state) == expected
    state.undo.setClean()


@pytest.mark.slow
def test_rewards_are_edited_with_prompts_for_rewards_only(page: TrainingPage) -> None:
    state, rewards = page.state, page.editors["rewards"]
    assert not rewards.isVisible()
    state.set_answer(model_facts.dataset(task="grpo"))
    assert rewards.isVisible()
    assert "training.no_rewards" in {problem.code for problem in state.list_problems()}
    page.recipe.rewards.control.add_reward("regex")
    assert state.get("training", "rewards") == [{"kind": "regex"}]
    assert "training.reward_incomplete" in {problem.code for problem in state.list_problems()}
    page.recipe.rewards.control.rewards[0].controls["pattern"].edited.emit("^a$")
    assert not [problem for problem in state.list_problems() if "reward" in problem.code]
    state.set_answer(model_facts.dataset(task="sft"))
    assert not rewards.isVisible()


@pytest.mark.slow
def test_embedding_settings_and_negatives_show_for_search_pairs(page: TrainingPage) -> None:
    assert "query" not in page.recipe.estimate.text()
    page.state.set_answer(model_facts.dataset(task="embedding"))
    assert not page.editors["pooling"].isHidden()
    assert page.editors["preference"].isHidden()
    assert "compared with the texts of 15 other rows" in page.recipe.estimate.text()


@pytest.mark.slow
def test_settings_of_a_teacher_appear_with_it(page: TrainingPage) -> None:
    for more in page.recipe.findChildren(CollapsibleSection):
        more.set_open(True)
    names = ("teacher_precision", "distillation_weight", "distillation_top_k")
    assert page.editors["teacher"].isVisible()
    assert not any(page.editors[name].isVisible() for name in names)
    page.state.set("training", "teacher", "org/large")
    assert all(page.editors[name].isVisible() for name in names)
