"""The reward editor: shown with prompts for rewards only, and what it stores."""

from __future__ import annotations

from typing import Any

import pytest
from pytestqt.qtbot import QtBot

from lora_studio.core.rewards.spec import TITLES
from lora_studio.gui.controls.choices import FlagControl
from lora_studio.gui.controls.controls import LineControl
from lora_studio.gui.pages.training.reward_list import RewardList


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
