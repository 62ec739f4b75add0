"""Prompts for rewards: rows become prompts with a reference and their further columns."""

from __future__ import annotations

from typing import Any

import pytest

from lora_studio.core.dataset.faults import find_faults
from lora_studio.core.dataset.formats.conversion import convert
from lora_studio.core.dataset.formats.detection import detect
from lora_studio.core.tasks.samples import Sample, UnusableRow

_TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


def to_sample(row: dict[str, Any], mapping: dict[str, str] | None = None) -> Sample:
    verdict = detect([row], chosen="prompts", mapping=mapping)
    assert (verdict.format, verdict.task) == ("prompts", "grpo"), verdict.problems
    return convert(row, "prompts", verdict.mapping)


@pytest.mark.parametrize(
    ("row", "prompt", "reference"),
    [
        ({"prompt": "2 + 2?"}, ["2 + 2?"], None),
        ({"prompt": "2 + 2?", "ground_truth": 4}, ["2 + 2?"], "4"),
        ({"question": "2 + 2?", "answer": "#### 4"}, ["2 + 2?"], "#### 4"),
        ({"messages": _TURNS}, ["Hi"], "Hello"),
        ({"prompt": _TURNS[:1], "solution": "Hello"}, ["Hi"], "Hello"),
        ({"system": "Be brief.", "prompt": "Hi", "answer": ""}, ["Be brief.", "Hi"], None),
    ],
)
def test_row_becomes_a_prompt_with_its_reference(
    row: dict[str, Any], prompt: list[str], reference: str | None
) -> None:
    sample = to_sample(row)
    assert [turn.content for turn in sample.messages] == prompt
    assert not any(turn.trained for turn in sample.messages)
    assert sample.reference == reference
    assert find_faults(sample) == frozenset()


def test_columns_without_a_slot_are_kept_as_text() -> None:
    row = {"prompt": "Solve it", "level": 3, "note": "", "reward_model": {"ground_truth": "34"}}
    sample = to_sample(row, {"reference": "reward_model.ground_truth"})
    assert sample.reference == "34"
    assert dict(sample.columns) == {"level": "3", "reward_model": '{"ground_truth": "34"}'}


@pytest.mark.parametrize("row", [{"prompt": " "}, {"other": "x"}, {"prompt": [_TURNS[1]]}])
def test_row_without_a_question_is_unusable(row: dict[str, Any]) -> None:
    with pytest.raises(UnusableRow):
        convert(row, "prompts", {"prompt": "prompt"})


def test_format_is_chosen_by_the_user_only() -> None:
    rows = [{"prompt": f"What is {n} and {n}?", "answer": str(2 * n)} for n in range(3)]
    assert detect(rows).task == "sft"
