"""Reward training on the Train page: the mean reward is the curve, and its best and worst answers are shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from lora_studio.core.protocol import events
from lora_studio.core.protocol.training import ShownAnswer
from lora_studio.gui.pages.training.page import TrainingPage
from lora_studio.gui.plots.drawing import SpreadTrace
from lora_studio.gui.plots.metrics import EACH_REWARD
from lora_studio.gui.plots.run_curves import RunCurves
from lora_studio.gui.plots.run_overlay import RunOverlay
from lora_studio.gui.project.state import ProjectState

_ONE = ShownAnswer(
    prompt="<b>2 + 2?</b>", text="<i>4</i>", reference="4", reward=1.5, values={"exact": 1.0, "length": 0.5}
)  # fmt: skip
_OTHER = ShownAnswer(prompt="2 + 3?", text="", reward=-0.5, values={"exact": 0.0}, ended=False)


def _step(number: int, **metrics: float) -> events.StepDone:
    rewards = {"reward/exact": 0.5, "reward_spread/exact": 0.1, "reward/length": 0.25, "reward_spread/length": 0.2}  # fmt: skip
    metrics = {"failed_share": 0.0, "cut_share": 0.25} | rewards | metrics
    return events.StepDone(
        id="t", time=float(number), step=number, steps=20, epoch=1.0, loss=1e-4, learning_rate=1e-4, grad_norm=1.0,
        tokens=10, tokens_per_s=1.0, memory_bytes=1 << 20, metrics=metrics,
    )  # fmt: skip


def _events() -> Iterator[Any]:
    yield events.Started(id="t", time=0.0, command="train")
    yield events.TrainingStarted(id="t", steps=20, steps_per_epoch=10, effective_batch=8)
    for number in range(1, 21):
        yield events.AnswersRated(id="t", step=number, best=_ONE, worst=_OTHER)
        yield _step(number, reward=number / 10, reward_spread=0.5)
    metrics = {"failed_share": 0.0, "reward": 1.75}
    yield events.Evaluated(id="t", step=20, loss=-1.75, metrics=metrics)


@pytest.fixture
def page(qtbot: QtBot, tmp_path: Path) -> TrainingPage:
    """Return the Train page after a reward training."""
    page = TrainingPage(ProjectState())
    qtbot.addWidget(page)
    page.resize(1280, 800)
    page.show()
    for event in _events():
        page.on_event(event)
    page.refresh()
    page.plot.redraw_now()
    return page


def test_mean_reward_is_the_curve_with_its_spread(page: TrainingPage) -> None:
    plot = page.plot
    assert [name for name, *_ in plot.list_entries()][:3] == [
        "mean reward",
        "spread",
        "eval reward",
    ]
    band = next(trace for trace in plot.chart.traces if isinstance(trace, SpreadTrace))
    _, lower, upper = band.get_band()
    assert upper - lower == pytest.approx(1.0)
    assert "mean reward is 2.0" in plot.accessibleDescription() or "mean reward is 1.9" in plot.accessibleDescription()  # fmt: skip
    assert "eval reward is 1.75" in plot.accessibleDescription()
    plot.read_at(10)
    assert {"spread": "0.50", "Exact match": "0.50", "Length": "0.25"}.items() <= {
        value.name: value.text for value in plot._list_values(10)
    }.items()
    bar = plot.bar
    assert bar.get_shown_metric() == EACH_REWARD
    titles = [bar.strip.itemText(index) for index in range(bar.strip.count())]
    assert {"Exact match", "Length", "Answers cut", "Mean reward only"} <= set(titles)
    assert not any("spread/" in title.lower() for title in titles)


def test_tiles_and_answers_of_the_latest_step(page: TrainingPage) -> None:
    tiles = page.tiles
    assert tiles.tiles["loss"].accessibleName() == "Mean reward: 2.00"
    assert tiles.tiles["eval"].accessibleName() == "Eval reward: 1.75"
    assert tiles.text("cut") == "25.0 %" or tiles.text("cut") == "25 %"
    assert not tiles.tiles["kl"].isVisibleTo(page)
    page.on_event(_step(21, reward=2.0, kl=0.125))
    page.refresh()
    assert tiles.tiles["kl"].isVisibleTo(page)
    page.on_event(_step(22))
    page.refresh()
    assert tiles.text("loss") == "–"
    assert page.tabs.currentWidget() is page.answers
    best, worst = page.answers.best, page.answers.worst
    assert (best.title.text(), worst.title.text()) == ("Best answer: 1.50", "Worst answer: -0.50")
    assert (best.prompt.text(), best.answer.text()) == ("<b>2 + 2?</b>", "<i>4</i>")
    labels = page.answers.findChildren(QLabel)
    assert {each.textFormat() for each in labels} == {Qt.TextFormat.PlainText}
    assert best.rewards.text() == "Exact match 1.00 · Length 0.50"
    assert worst.cut.isVisibleTo(page)
    assert not worst.reference.isVisibleTo(page)
    equal = events.AnswersRated(id="t", step=21, best=_ONE, worst=_ONE)
    page.on_event(equal)
    page.refresh()
    assert not page.answers.worst.isVisibleTo(page)


def test_comparison_of_reward_runs_starts_with_the_reward(qtbot: QtBot) -> None:
    run, overlay = RunCurves("a"), RunOverlay()
    qtbot.addWidget(overlay)
    for event in _events():
        run.add_event(event)
    overlay.set_runs([run])
    assert overlay.shown_metric == "reward"
    titles = [overlay.choice.itemText(index) for index in range(overlay.choice.count())]
    assert "Eval mean reward" in titles
    assert "Eval loss" not in titles
    overlay.set_runs([])
    assert overlay.shown_metric == "loss"
