"""The recipe before training: presets, fields that count, what the machine lacks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from lora_studio.core import events
from lora_studio.gui.pages.training import TrainingPage
from lora_studio.gui.project_state import ProjectState
from tests.helpers import model_facts


@pytest.fixture
def page(qtbot: QtBot, state: ProjectState) -> Iterator[TrainingPage]:
    made = TrainingPage(state)
    qtbot.addWidget(made)
    made.resize(1100, 740)
    made.show()
    qtbot.waitExposed(made)
    yield made
    state.undo.setClean()


def click(qtbot: QtBot, page: TrainingPage, name: str) -> None:
    qtbot.mouseClick(page.recipe.presets.cards.cards[name], Qt.MouseButton.LeftButton)


def test_a_preset_shows_what_it_changes_before_it_changes_it(
    qtbot: QtBot, page: TrainingPage
) -> None:
    panel = page.recipe.presets
    assert panel.cards.cards["balanced"].radio.isChecked()
    assert not panel.preview.isVisible()
    click(qtbot, page, "quick")
    assert panel.preview.isVisible()
    assert panel.changes.text() == (
        "Quick try changes 4 settings: Rank 16 → 8 · Alpha 32 → 16 · Epochs 3 → 1 · "
        "Step limit 0 → 60"
    )
    assert page.state.get("lora", "rank") == 16
    qtbot.mouseClick(panel.leave, Qt.MouseButton.LeftButton)
    assert not panel.preview.isVisible()
    assert panel.cards.cards["balanced"].radio.isChecked()
    assert page.state.undo.count() == 0


def test_a_preset_is_taken_and_undone_as_one_step(qtbot: QtBot, page: TrainingPage) -> None:
    state, panel = page.state, page.recipe.presets
    click(qtbot, page, "memory")
    qtbot.mouseClick(panel.apply, Qt.MouseButton.LeftButton)
    assert (state.get("model", "precision"), state.get("training", "micro_batch")) == ("4bit", 1)
    assert page.editors["micro_batch"].control.line.text() == "1"  # type: ignore[attr-defined]
    assert panel.cards.cards["memory"].radio.isChecked()
    assert not panel.preview.isVisible()
    assert state.undo.count() == 1
    assert state.undo.undoText() == "Smallest memory"
    state.undo.undo()
    assert (state.get("model", "precision"), state.get("training", "micro_batch")) == ("auto", 4)
    assert panel.cards.cards["balanced"].radio.isChecked()


def test_a_recipe_of_ones_own_is_none_of_the_presets(qtbot: QtBot, page: TrainingPage) -> None:
    page.state.set("training", "epochs", 2.0)
    cards = page.recipe.presets.cards.cards.values()
    assert not any(card.radio.isChecked() for card in cards)
    click(qtbot, page, "balanced")
    assert "1 setting: Epochs 2 → 3" in page.recipe.presets.changes.text()


def test_only_fields_that_the_schedule_has_a_use_for_are_shown(page: TrainingPage) -> None:
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
    assert page.editors["schedule"].help.text() == "Not used: AdamW, schedule-free needs none."


def test_an_optimizer_that_this_machine_lacks_is_said_at_the_field_and_mended_by_a_click(
    qtbot: QtBot, page: TrainingPage
) -> None:
    lacking = model_facts.devices().model_copy(update={"missing": ("bitsandbytes",)})
    page.state.take_answer(lacking)
    page.state.set("training", "optimizer", "adamw_8bit")
    page.focus_field("optimizer")
    made = page.editors["optimizer"]
    assert "needs the package bitsandbytes" in made.error.text()
    qtbot.mouseClick(made._fix_button, Qt.MouseButton.LeftButton)
    assert page.state.get("training", "optimizer") == "adamw"
    assert not page.state.problems("training", "optimizer")


def test_automatic_on_an_apple_gpu_rules_bitsandbytes_out(page: TrainingPage) -> None:
    gpu = events.Device(name="mps", title="Apple GPU", total_bytes=1, free_bytes=1)
    page.state.take_answer(events.DevicesFound(devices=(gpu,)))
    page.state.set("training", "optimizer", "lion_8bit")
    (problem,) = page.state.problems("training", "optimizer")
    assert "no optimizers for Apple GPUs" in problem.what
    page.state.set("model", "device", "mps")  # the checks say the same; once is enough
    assert len(page.state.problems("training", "optimizer")) == 1


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


def test_samples_stand_beside_the_bases_and_those_of_earlier_steps_can_be_looked_at(
    page: TrainingPage,
) -> None:
    page.on_event(events.Started(id="t", command="train"))
    assert page.tabs.indexOf(page.samples) < 0
    for event in (sample(0, "base", "Dunno"), sample(10, "tuned", "A bit"), sample(20, "tuned", "Right")):  # fmt: skip
        page.on_event(event)
    assert page.tabs.tabText(page.tabs.indexOf(page.samples)) == "Samples"
    assert page.samples.answers() == {(0, "base"): "Dunno", (0, "tuned"): "Right"}
    page.samples.steps.setCurrentIndex(0)
    page.samples.steps.activated.emit(0)
    assert page.samples.answers()[(0, "tuned")] == "A bit"
    page.on_event(sample(30, "tuned", "Better"))  # whoever looks at an earlier one goes on to
    assert page.samples.answers()[(0, "tuned")] == "A bit"
    words = {part.text() for part in page.samples.findChildren(QLabel)}
    assert {"Question 0", "Dunno", "A bit", "Base", "Tuned"} <= words


def test_sample_prompts_are_written_one_a_line(qtbot: QtBot, page: TrainingPage) -> None:
    page.focus_field("sample_prompts")
    made = page.editors["sample_prompts"]
    qtbot.keyClicks(made.control.box, "Where, please, is it?")  # type: ignore[attr-defined]
    qtbot.keyClick(made.control.box, Qt.Key.Key_Return)  # type: ignore[attr-defined]
    qtbot.keyClicks(made.control.box, " Who? ")  # type: ignore[attr-defined]
    made.commit()
    assert page.state.get("training", "sample_prompts") == ["Where, please, is it?", "Who?"]
    assert not page.state.problems("training")
