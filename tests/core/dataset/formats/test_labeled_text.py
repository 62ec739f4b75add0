"""Texts with labels: recognized where no other format fits, and converted with their labels as text."""

from __future__ import annotations

from typing import Any

import pytest

from lora_studio.core.dataset.faults import find_faults
from lora_studio.core.dataset.formats.conversion import convert
from lora_studio.core.dataset.formats.detection import detect
from lora_studio.core.tasks.samples import UnusableRow


@pytest.mark.parametrize(
    ("row", "text", "label"),
    [
        ({"text": "Nice.", "label": 1}, "Nice.", "1"),
        ({"text": "Nice.", "label": "positive"}, "Nice.", "positive"),
        ({"review": "Nice.", "stars": 5.0}, "Nice.", "5"),
        ({"utterance": "Play it.", "intent": " play "}, "Play it.", "play"),
        ({"prompt": "Play it.", "label": "play"}, "Play it.", "play"),
        ({"id": "a7", "message": "Where is it?", "sentiment": True}, "Where is it?", "true"),
        ({"text": "Nice.", "label": 1, "label_text": "positive"}, "Nice.", "positive"),
    ],
)
def test_labeled_text_is_recognized(row: dict[str, Any], text: str, label: str) -> None:
    verdict = detect([row] * 3, list(row))
    assert (verdict.format, verdict.task) == ("labeled_text", "classification"), verdict.problems
    sample = convert(row, "labeled_text", verdict.mapping)
    assert [turn.content for turn in sample.messages] == [text, label]
    assert convert(row, "labeled_text") == sample
    assert find_faults(sample) == frozenset()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": "Nice."}, "there is no label"),
        ({"text": " ", "label": 1}, "the text is empty"),
        ({"text": "Nice.", "label": 4.5}, "neither text nor a whole number"),
        ({"text": "Nice.", "label": ["a", "b"]}, "neither text nor a whole number"),
        ({"text": "Nice.", "label": "a" * 201}, "more than 200 characters"),
    ],
)
def test_row_without_a_usable_label_is_skipped(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnusableRow) as caught:
        convert(row, "labeled_text", {"text": "text", "label": "label"})
    assert reason in str(caught.value.reason)


def test_text_with_a_category_offers_classification() -> None:
    rows = [{"text": f"The parcel is late {n}.", "category": "shipping"} for n in range(3)]
    verdict = detect(rows)
    assert verdict.format == "text"
    assert "labeled_text" in verdict.others
    chosen = detect(rows, chosen="labeled_text")
    assert chosen.mapping == {"text": "text", "label": "category"}


@pytest.mark.parametrize(
    ("row", "task"),
    [
        ({"question": "Who?", "answer": "I.", "label": "news"}, "sft"),
        ({"prompt": "Who?", "completion": "I.", "label": False}, "kto"),
        ({"premise": "It rains.", "hypothesis": "It is wet.", "label": 0}, None),
    ],
)
def test_labels_of_other_data_are_not_classes(row: dict[str, Any], task: str | None) -> None:
    assert detect([row] * 3).task == task
