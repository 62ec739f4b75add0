"""Trying rewards before training: what the panel shows, and when it can start."""

from __future__ import annotations

import pytest
from pytestqt.qtbot import QtBot

from lora_studio.core.problems import warning
from lora_studio.core.protocol import events
from lora_studio.core.protocol.training import PreviewAnswer
from lora_studio.gui.pages.training.reward_trial import RewardTrial
from lora_studio.gui.project.state import ProjectState

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
