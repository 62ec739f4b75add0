"""Reward training on the Train page: the mean reward is the curve, and its best and worst answers are shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from lora_studio.core.problems import warning
from lora_studio.core.protocol import events
from lora_studio.core.protocol.training import PreviewAnswer, ShownAnswer
from lora_studio.core.rewards.spec import TITLES
from lora_studio.gui.controls.choices import FlagControl
from lora_studio.gui.controls.controls import LineControl
from lora_studio.gui.pages.training.page import TrainingPage
from lora_studio.gui.pages.training.reward_list import RewardList
from lora_studio.gui.pages.training.reward_trial import RewardTrial
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
        value.name: value.text for value in plot.list_values(10)
    }.items()
    bar = plot.bar
    assert bar.get_shown_metric() == EACH_REWARD
    titles = [bar.strip.itemText(index) for index in range(bar.strip.count())]
    assert {"Exact match", "Length", "Truncated completions", "Mean reward only"} <= set(titles)
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
    assert (best.title.text(), worst.title.text()) == (
        "Best completion: 1.50",
        "Worst completion: -0.50",
    )
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
        run.series.on_event(event)
    overlay.set_runs([run])
    assert overlay.shown_metric == "reward"
    titles = [overlay.choice.itemText(index) for index in range(overlay.choice.count())]
    assert "Eval mean reward" in titles
    assert "Eval loss" not in titles
    overlay.set_runs([])
    assert overlay.shown_metric == "loss"


@pytest.fixture
def rewards(qtbot: QtBot) -> RewardList:
    """Return an empty reward editor."""
    control = RewardList()
    qtbot.addWidget(control)
    return control


def collect(rewards: RewardList) -> list[Any]:
    """Return the list in which the values that are edited from now on appear."""
    edits: list[Any] = []
    rewards.edited.connect(edits.append)
    return edits


def test_menu_adds_a_reward_of_each_kind(rewards: RewardList) -> None:
    edits = collect(rewards)
    for action in rewards.menu.actions():
        action.trigger()
    assert edits[-1] == [{"kind": kind} for kind in TITLES]
    assert [editor.kind for editor in rewards.rewards] == list(TITLES)


def test_settings_at_their_default_are_not_stored(rewards: RewardList) -> None:
    rewards.show_value([{"kind": "exact"}, {"kind": "number"}])
    edits = collect(rewards)
    flag, weight = (rewards.rewards[0].controls[name] for name in ("verbatim", "weight"))
    assert isinstance(flag, FlagControl)
    assert isinstance(weight, LineControl)
    weight.edited.emit(2.0)
    flag.edited.emit(True)
    assert edits[-1] == [{"kind": "exact", "weight": 2.0, "verbatim": True}, {"kind": "number"}]
    flag.edited.emit(False)
    assert edits[-1] == [{"kind": "exact", "weight": 2.0}, {"kind": "number"}]


def test_a_reward_is_titled_as_its_curve(rewards: RewardList) -> None:
    rewards.show_value([{"kind": "regex"}, {"kind": "regex"}, {"kind": "exact", "name": "<b>Form"}])
    edits = collect(rewards)

    def titles() -> list[str]:
        return [editor.title.text() for editor in rewards.rewards]

    assert titles() == ["Regular expression", "Regular expression 2", "<b>Form"]
    rewards.rewards[0].controls["name"].edited.emit("Equation")
    assert edits[-1][0] == {"kind": "regex", "name": "Equation"}
    assert titles() == ["Equation", "Regular expression", "<b>Form"]
    assert rewards.rewards[0].remove.accessibleName() == "Remove Equation"


def test_a_reward_is_removed(rewards: RewardList) -> None:
    rewards.show_value([{"kind": "exact"}, "nonsense", {"kind": "length"}])
    edits = collect(rewards)
    rewards.rewards[1].remove.click()
    assert edits == [[{"kind": "exact"}, "nonsense"]]
    assert len(rewards.rewards) == 1


@pytest.mark.parametrize("value", ["nonsense", None, 3, [{"kind": "?"}], [{"kind": []}]])
def test_values_that_are_no_rewards_are_not_shown(rewards: RewardList, value: Any) -> None:
    rewards.show_value(value)
    assert rewards.rewards == []


_ANSWERS = (
    PreviewAnswer(prompt="1 + 1?", text="<b>2</b>\nor so", values={"exact": 1.0, "exact_2": None}, reward=None),
    PreviewAnswer(prompt="1 + 2?", text="", values={"exact": 0.0, "exact_2": 0.5}, reward=0.5),
)  # fmt: skip


@pytest.fixture
def trial(qtbot: QtBot) -> RewardTrial:
    """Return the panel of a new project."""
    trial = RewardTrial(ProjectState())
    qtbot.addWidget(trial)
    trial.show()
    return trial


def test_trial_needs_a_model_data_and_rewards(trial: RewardTrial) -> None:
    state = trial._state
    for step, field, value in (
        ("model", "source", "org/some-model"),
        ("dataset", "sources", [{"path": "prompts.jsonl"}]),
    ):
        state.set(step, field, value)
        assert not trial.start_button.isEnabled()
    state.set("training", "rewards", [{"kind": "exact"}])
    assert trial.start_button.isEnabled()
    state.set("training", "rewards", [])
    assert not trial.start_button.isEnabled()


def test_answers_rewards_and_problems_are_shown(trial: RewardTrial) -> None:
    trial._latest = "t"
    problem = warning("training.reward_constant", "The reward is constant.", "Change it.")
    trial._on_event(events.RewardsPreviewed(id="t", answers=_ANSWERS, problems=(problem,)))
    table = trial.table
    titles = [table.horizontalHeaderItem(at).text() for at in range(table.columnCount())]
    assert titles == ["Prompt", "Answer", "Exact match", "Exact match 2", "Total"]
    rows = [[table.item(row, at).text() for at in range(5)] for row in range(2)]
    assert rows == [
        ["1 + 1?", "<b>2</b> or so", "1.00", "–", "–"],
        ["1 + 2?", "(empty)", "0", "0.50", "0.50"],
    ]
    assert "<b>" not in table.item(0, 1).toolTip()
    trial.resize(300, 400)
    assert min(table.columnWidth(at) for at in range(5)) >= 100
    assert table.horizontalScrollBar().maximum() > 0
    assert trial.problems.text() == "⚠ The reward is constant. Change it."
    trial._on_event(events.RewardsPreviewed(id="older", answers=()))
    assert table.rowCount() == 2
    trial._on_event(events.Failed(id="t", problem=problem.model_copy(update={"severity": "error"})))
    assert trial.problems.text().startswith("✗")
    assert table.isHidden()
