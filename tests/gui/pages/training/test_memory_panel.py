"""The memory panel of the training page: bar, verdict and buttons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from lora_studio.core import formatting
from lora_studio.core.memory.estimate import estimate
from lora_studio.core.protocol import events
from lora_studio.core.protocol.model import DeviceProgram
from lora_studio.core.protocol.training import COMPONENTS
from lora_studio.gui import theme
from lora_studio.gui.pages.lora.page import LoraPage
from lora_studio.gui.pages.training.page import TrainingPage
from lora_studio.gui.pages.training.recipe import (
    MemoryBar,
    MemoryPanel,
    describe,
    get_component_color,
)
from lora_studio.gui.project import run_preview
from lora_studio.gui.project.state import ProjectState
from tests.helpers.models import model_facts
from tests.helpers.models.plans import plan


@pytest.fixture
def page(qtbot: QtBot, state: ProjectState, project_folder: Path) -> Iterator[TrainingPage]:
    """Yield the training page of a project whose model, rows and 24 GiB device are known."""
    assert state.open(project_folder)
    training_page = TrainingPage(state)
    qtbot.addWidget(training_page)
    training_page.resize(1100, 740)
    training_page.show()
    state.set_answer(model_facts.devices())
    state.set_answer(model_facts.lengths(range(200, 1200, 10)))
    state.set_answer(model_facts.model())
    yield training_page
    state.undo.setClean()


def bar_of(qtbot: QtBot, free: float, **recipe: int) -> MemoryBar:
    memory_bar = MemoryBar()
    qtbot.addWidget(memory_bar)
    memory_bar.resize(400, 80)
    memory_bar.show_estimate(estimate(plan(free=free, **recipe)))
    memory_bar.show()
    qtbot.waitExposed(memory_bar)
    return memory_bar


class TestBar:
    def test_segment_width_is_its_share_of_the_memory(self, qtbot: QtBot) -> None:
        estimated = estimate(plan(free=24))
        memory_bar = bar_of(qtbot, 24)
        bar = memory_bar.bar
        for name, rectangle in bar.list_segments():
            share = estimated.parts[name] / (estimated.available or 1)
            assert rectangle.width() == pytest.approx(bar.width() * share, abs=0.01)
        assert bar.get_limit_position() is None

    def test_line_marks_the_available_memory(self, qtbot: QtBot) -> None:
        estimated = estimate(plan(free=3, micro_batch=16))
        memory_bar = bar_of(qtbot, 3, micro_batch=16)
        bar = memory_bar.bar
        assert bar.get_limit_position() == pytest.approx(
            bar.width() * (estimated.available or 0) / estimated.total
        )
        assert bar.list_segments()[-1][1].right() == pytest.approx(bar.width())

    def test_legend_and_accessible_name_list_every_component(self, qtbot: QtBot) -> None:
        memory_bar = bar_of(qtbot, 24)
        legend = [entry.text.text() for entry in memory_bar.entries.values()]
        assert [text.split(" ")[0] for text in legend] == list(COMPONENTS.values())
        accessible_name = memory_bar.bar.accessibleName()
        assert all(text in accessible_name for text in legend)
        assert memory_bar.free.text() in accessible_name
        assert "free" in memory_bar.free.text()

    def test_description_says_how_much_memory_is_missing(self) -> None:
        assert "over the limit" in describe(estimate(plan(free=1)))

    @pytest.mark.parametrize("mode", ["light", "dark"])
    def test_bar_has_the_segment_colors_in_both_themes(
        self, qtbot: QtBot, qapp: QApplication, mode: theme.Mode
    ) -> None:
        theme.apply(qapp, mode)
        memory_bar = bar_of(qtbot, 12)
        bar = memory_bar.bar
        image = bar.grab().toImage()
        ratio = image.devicePixelRatio()
        for name, rectangle in bar.list_segments():
            if rectangle.width() > 6:
                at = image.pixelColor(
                    round(rectangle.center().x() * ratio), round(rectangle.center().y() * ratio)
                )
                assert at.name() == get_component_color(name).name(), name


class TestPanel:
    def test_empty_panel_says_which_facts_are_missing(self, qtbot: QtBot) -> None:
        panel = MemoryPanel()
        qtbot.addWidget(panel)
        assert "when the model and device are known" in panel.sentence.text()
        assert panel.larger.isHidden()
        assert panel.fit.isHidden()

    def test_panel_says_when_training_does_not_fit(self, qtbot: QtBot) -> None:
        panel = MemoryPanel()
        qtbot.addWidget(panel)
        assert panel.show_plan(plan(free=24)) is None
        assert panel.sentence.text().startswith("✓")
        problem = panel.show_plan(plan(free=4, micro_batch=16))
        assert problem is not None
        assert "but only" in panel.sentence.text()
        assert "training time can be estimated once" in panel.rows.text()

    def test_change_of_many_settings_does_not_widen_the_panel(self, qtbot: QtBot) -> None:
        panel = MemoryPanel()
        qtbot.addWidget(panel)
        problem = panel.show_plan(plan(free=1.5, micro_batch=16, limit=4096))
        assert problem is not None
        assert problem.fix is not None
        assert len(problem.fix.changes) >= 3
        assert panel.change.text().startswith("Settings that fit: Gradient checkpointing, ")
        assert panel.fit.text() == "Reduce memory use"
        assert panel.minimumSizeHint().width() < 500

    def test_one_change_has_one_button(self, qtbot: QtBot) -> None:
        panel = MemoryPanel()
        qtbot.addWidget(panel)
        panel.show_plan(plan(free=4, micro_batch=16))
        assert "Micro-batch" in panel.change.text()
        assert (panel.fit.isHidden(), panel.larger.isHidden()) == (False, True)

    def test_programs_that_use_the_gpu_are_named(self, qtbot: QtBot) -> None:
        programs = (
            DeviceProgram(name="ollama", bytes=5 << 30),
            DeviceProgram(name="llama-server", bytes=3 << 30),
            DeviceProgram(name="Xorg", bytes=80 << 20),
        )
        free = plan(free=24)
        panel = MemoryPanel()
        qtbot.addWidget(panel)
        panel.show_plan(replace(free, device=free.device.model_copy(update={"programs": programs})))
        assert "GPU memory in use: ollama 5 GiB, llama-server 3 GiB. By default, Ollama keeps" in panel.rows.text()  # fmt: skip
        assert "Xorg" not in panel.rows.text()


class TestPage:
    @pytest.mark.slow
    def test_estimate_follows_changes_of_the_recipe(
        self, page: TrainingPage, state: ProjectState
    ) -> None:
        before = page.recipe.memory.sentence.text()
        state.set("training", "micro_batch", 8)
        assert page.recipe.memory.sentence.text() != before

    def test_largest_micro_batch_keeps_the_effective_batch_size(
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

    def test_fit_button_applies_the_cheapest_change(
        self, page: TrainingPage, state: ProjectState, qtbot: QtBot
    ) -> None:
        state.set_answer(model_facts.devices(9 * model_facts.GIB))
        assert [p.code for p in state.list_problems("training")] == ["training.does_not_fit"]
        assert not page.recipe.memory.fit.isHidden()
        qtbot.mouseClick(page.recipe.memory.fit, Qt.MouseButton.LeftButton)
        assert "training.does_not_fit" not in [p.code for p in state.list_problems()]
        assert page.recipe.memory.sentence.text().startswith("✓")

    def test_panel_says_when_rows_are_not_measured(
        self, page: TrainingPage, state: ProjectState
    ) -> None:
        assert "not measured" not in page.recipe.memory.rows.text()
        state.forget("lengths")
        assert "haven't been measured yet" in page.recipe.memory.rows.text()


def test_estimate_uses_the_gpu_with_the_least_free_memory(page: TrainingPage) -> None:
    state, panel = page.state, page.recipe.memory
    first, cpu = model_facts.devices(free=8 * model_facts.GIB).devices
    second = first.model_copy(update={"name": "cuda:1", "free_bytes": 23 * model_facts.GIB})
    state.set_answer(events.DevicesFound(devices=(first, second, cpu)))
    state.set("model", "precision", "4bit")
    state.set("model", "device", "cuda:0,cuda:1")
    assert "8 GiB is available on RTX 4090" in panel.sentence.text()
    assert page.recipe.summary.get_facts()["Device"] == "2 × RTX 4090"
    assert "Each GPU holds all weights" in panel.rows.text()
    state.set("model", "precision", "bf16")
    assert "don't fit on one GPU, so each holds a part" in panel.rows.text()
    state.set("model", "sharding", "replicate")
    whole = run_preview.make_plan(state)
    state.set("model", "sharding", "shard")
    divided = run_preview.make_plan(state)
    assert whole is not None
    assert divided is not None
    assert estimate(divided).weights < estimate(whole).weights
    assert "available on RTX 4090" in panel.sentence.text()


def test_panel_says_why_layers_are_spread_over_gpus(page: TrainingPage) -> None:
    first, cpu = model_facts.devices(free=8 * model_facts.GIB).devices
    second = first.model_copy(update={"name": "cuda:1", "precision": "fp16"})
    page.state.set_answer(events.DevicesFound(devices=(first, second, cpu)))
    page.state.set("model", "precision", "4bit")
    assert "currently RTX 4090 (cuda:0)" in page.recipe.memory.rows.text()
    page.state.set("model", "precision", "auto")
    assert "each of 2 holds some of the layers" in page.recipe.memory.rows.text()
    plan = run_preview.make_plan(page.state)
    assert plan is not None
    assert (plan.device.precision, plan.device.free_bytes) == ("fp16", 16 * model_facts.GIB)


def test_does_not_fit_problem_is_hidden_during_training(
    page: TrainingPage, state: ProjectState
) -> None:
    state.set_answer(model_facts.devices(free=model_facts.GIB))
    assert [item.code for item in state.list_problems()] == ["training.does_not_fit"]
    state.set_run(None, "train")
    assert state.list_problems() == []
    state.set_run(None, "")
    assert [item.code for item in state.list_problems()] == ["training.does_not_fit"]


def test_reward_head_is_in_every_count(qtbot: QtBot, page: TrainingPage) -> None:
    state = page.state
    lora = LoraPage(state)
    qtbot.addWidget(lora)
    state.set_answer(model_facts.model(adapter=model_facts.adapter(), hidden_size=400_000))
    without = run_preview.get_adapter_size(state)
    state.set_answer(model_facts.dataset(task="preference"))
    state.set("training", "preference", "reward")
    plan, size = run_preview.make_plan(state), run_preview.get_adapter_size(state)
    assert plan is not None
    assert size is not None
    assert without is not None
    assert plan.inspected.adapter is not None
    assert plan.inspected.adapter.trainable == size.trainable == without.trainable + 400_000
    for shown in (lora.sentence.text(), page.recipe.summary.get_facts()["Trainable"]):
        assert formatting.format_count(size.trainable) in shown
    state.set_answer(model_facts.dataset(task="classification"))
    labels = {"billing": 2, "shipping": 1, "technical": 0}
    state.set_answer(
        events.DatasetPlanned(task="classification", rows_read=3, rows_train=3, rows_validation=0, tokens=9, trained_tokens=3, labels=labels)
    )  # fmt: skip
    counted = formatting.format_count(without.trainable + 3 * 400_000)
    for shown in (lora.sentence.text(), page.recipe.summary.get_facts()["Trainable"]):
        assert counted in shown
