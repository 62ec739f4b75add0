"""The memory of a training on its page: the bar, what fits, and what the buttons change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from lora_studio.core.memory.estimate import estimate
from lora_studio.core.protocol import events
from lora_studio.core.protocol.training import COMPONENTS
from lora_studio.gui import theme
from lora_studio.gui.pages.training.memory_bar import MemoryBar, describe, shade
from lora_studio.gui.pages.training.memory_panel import MemoryPanel
from lora_studio.gui.pages.training.page import TrainingPage
from lora_studio.gui.project import memory_plan
from lora_studio.gui.project.state import ProjectState
from tests.helpers import model_facts
from tests.helpers.plans import plan


@pytest.fixture
def page(qtbot: QtBot, state: ProjectState, project_folder: Path) -> Iterator[TrainingPage]:
    """The training page of a project whose model, rows and 24 GiB device are known."""
    assert state.open(project_folder)
    made = TrainingPage(state)
    qtbot.addWidget(made)
    made.resize(1100, 740)
    made.show()
    state.set_answer(model_facts.devices())
    state.set_answer(model_facts.lengths(range(200, 1200, 10)))
    state.set_answer(model_facts.model())
    yield made
    state.undo.setClean()


def bar_of(qtbot: QtBot, free: float, **recipe: int) -> MemoryBar:
    made = MemoryBar()
    qtbot.addWidget(made)
    made.resize(400, 80)
    made.show_estimate(estimate(plan(free=free, **recipe)))
    made.show()
    qtbot.waitExposed(made)
    return made


class TestBar:
    def test_parts_are_as_wide_as_their_share_of_the_memory(self, qtbot: QtBot) -> None:
        found = estimate(plan(free=24))
        made = bar_of(qtbot, 24)
        bar = made.bar
        for name, place in bar.segments():
            share = found.parts[name] / (found.available or 1)
            assert place.width() == pytest.approx(bar.width() * share, abs=0.01)
        assert bar.limit() is None

    def test_a_line_marks_where_too_small_a_memory_ends(self, qtbot: QtBot) -> None:
        found = estimate(plan(free=3, micro_batch=16))
        made = bar_of(qtbot, 3, micro_batch=16)
        bar = made.bar
        assert bar.limit() == pytest.approx(bar.width() * (found.available or 0) / found.total)
        assert bar.segments()[-1][1].right() == pytest.approx(bar.width())

    def test_every_part_is_named_with_its_number_in_the_legend_and_to_those_who_listen(
        self, qtbot: QtBot
    ) -> None:
        made = bar_of(qtbot, 24)
        legend = [entry.text.text() for entry in made.entries.values()]
        assert [text.split(" ")[0] for text in legend] == list(COMPONENTS.values())
        heard = made.bar.accessibleName()
        assert all(text in heard for text in legend)
        assert made.free.text() in heard
        assert "free" in made.free.text()

    def test_says_how_much_is_lacking(self) -> None:
        assert "over the limit" in describe(estimate(plan(free=1)))

    @pytest.mark.parametrize("mode", ["light", "dark"])
    def test_shows_its_colours_in_both_themes(
        self, qtbot: QtBot, qapp: QApplication, mode: theme.Mode
    ) -> None:
        theme.apply(qapp, mode)
        made = bar_of(qtbot, 12)
        bar = made.bar
        image = bar.grab().toImage()
        ratio = image.devicePixelRatio()
        for name, place in bar.segments():
            if place.width() > 6:
                at = image.pixelColor(
                    round(place.center().x() * ratio), round(place.center().y() * ratio)
                )
                assert at.name() == shade(name).name(), name


class TestPanel:
    def test_says_what_is_missing_before_anything_is_known(self, qtbot: QtBot) -> None:
        made = MemoryPanel()
        qtbot.addWidget(made)
        assert "when the model and device are known" in made.sentence.text()
        assert made.larger.isHidden()
        assert made.fit.isHidden()

    def test_marks_a_training_that_does_not_fit_in_words(self, qtbot: QtBot) -> None:
        made = MemoryPanel()
        qtbot.addWidget(made)
        assert made.show_plan(plan(free=24)) is None
        assert made.sentence.text().startswith("✓")
        problem = made.show_plan(plan(free=4, micro_batch=16))
        assert problem is not None
        assert "but only" in made.sentence.text()


class TestPage:
    def test_shows_another_estimate_with_every_change_of_the_recipe(
        self, page: TrainingPage, state: ProjectState
    ) -> None:
        before = page.recipe.memory.sentence.text()
        state.set("training", "micro_batch", 8)
        assert page.recipe.memory.sentence.text() != before

    def test_the_largest_micro_batch_is_set_with_the_same_effective_batch_and_undone_at_once(
        self, page: TrainingPage, state: ProjectState, qtbot: QtBot
    ) -> None:
        state.change("batch", [("training", "micro_batch", 1), ("training", "gradient_accumulation", 32)])  # fmt: skip
        assert not page.recipe.memory.larger.isHidden()
        qtbot.mouseClick(page.recipe.memory.larger, Qt.MouseButton.LeftButton)
        size = state.get("training", "micro_batch")
        assert size > 1
        assert size * state.get("training", "gradient_accumulation") == 32
        state.undo.undo()
        assert state.get("training", "micro_batch") == 1

    def test_the_cheapest_change_makes_it_fit_and_its_problem_goes(
        self, page: TrainingPage, state: ProjectState, qtbot: QtBot
    ) -> None:
        state.set_answer(model_facts.devices(9 * model_facts.GIB))
        assert [p.code for p in state.problems("training")] == ["training.does_not_fit"]
        assert not page.recipe.memory.fit.isHidden()
        qtbot.mouseClick(page.recipe.memory.fit, Qt.MouseButton.LeftButton)
        assert "training.does_not_fit" not in [p.code for p in state.problems()]
        assert page.recipe.memory.sentence.text().startswith("✓")

    def test_says_when_rows_are_not_measured_yet(
        self, page: TrainingPage, state: ProjectState
    ) -> None:
        assert "not measured" not in page.recipe.memory.rows.text()
        state.forget("lengths")
        assert "haven't been measured yet" in page.recipe.memory.rows.text()


def test_of_several_gpus_the_fullest_one_counts(page: TrainingPage) -> None:
    state, panel = page.state, page.recipe.memory
    first, cpu = model_facts.devices(free=9 * model_facts.GIB).devices
    second = first.model_copy(update={"name": "cuda:1", "free_bytes": 23 * model_facts.GIB})
    state.set_answer(events.DevicesFound(devices=(first, second, cpu)))
    state.set("model", "precision", "4bit")
    state.set("model", "device", "cuda:0,cuda:1")
    assert "9 GiB is available on RTX 4090" in panel.sentence.text()
    assert page.recipe.summary.facts()["Device"] == "2 × RTX 4090"
    state.set("model", "precision", "bf16")
    whole = memory_plan.make_plan(state)
    state.set("model", "sharding", "shard")
    divided = memory_plan.make_plan(state)
    assert whole is not None
    assert divided is not None
    assert estimate(divided).weights < estimate(whole).weights
    assert "available on RTX 4090" in panel.sentence.text()


def test_that_a_training_does_not_fit_is_not_said_while_it_runs_in_fact(
    page: TrainingPage, state: ProjectState
) -> None:
    state.set_answer(model_facts.devices(free=model_facts.GIB))
    assert [item.code for item in state.problems()] == ["training.does_not_fit"]
    state.set_run(None, "train")
    assert state.problems() == []
    state.set_run(None, "")
    assert [item.code for item in state.problems()] == ["training.does_not_fit"]
