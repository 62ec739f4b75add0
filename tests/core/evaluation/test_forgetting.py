"""The built-in set of general abilities: correct, varied, and judged without a judge."""

import json
from collections import Counter

import pytest

from lora_studio.core.evaluation.forgetting import CATEGORIES, load_forgetting_items
from lora_studio.core.evaluation.metrics import create_metric
from lora_studio.core.system.paths import get_resources_folder

ITEMS = load_forgetting_items()


def _read_rows() -> list[dict[str, object]]:
    file = get_resources_folder() / "evaluation" / "forgetting.jsonl"
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def test_categories_are_balanced_in_both_languages() -> None:
    counts = Counter((row["category"], row["language"]) for row in _read_rows())
    assert set(counts.values()) == {30}
    assert {category for category, _ in counts} == CATEGORIES.keys() - {"text"}


def test_no_item_occurs_twice() -> None:
    assert len({item.id for item in ITEMS}) == len(ITEMS)
    assert len({item.question.casefold() for item in ITEMS}) == len(ITEMS)


def test_arithmetic_is_computed_correctly() -> None:
    checked = [row for row in _read_rows() if "expression" in row]
    assert len(checked) == 60
    for row in checked:
        result = eval(str(row["expression"]), {"__builtins__": {}})
        assert float(str(row["reference"])) == pytest.approx(result), row


def test_reference_is_right_and_silence_is_wrong() -> None:
    for item in ITEMS:
        if item.choices:
            assert item.correct is not None
            assert item.choices[item.correct] == item.reference
            assert len(set(item.choices)) == len(item.choices)
        elif not item.is_text:
            metric = create_metric(item.metric)
            assert metric.score(item, item.reference or "") == 1, item
            assert metric.score(item, "") == 0, item


@pytest.mark.parametrize(
    ("start", "wrong"),
    [("What is 17 + 26", "42"), ("Write the word lamp", "lamp"), ("Did Napoleon", "Yes, in 1812")],
)
def test_wrong_answer_scores_zero(start: str, wrong: str) -> None:
    item = next(item for item in ITEMS if start in item.question)
    assert create_metric(item.metric).score(item, wrong) == 0


def test_right_choice_has_no_favorite_position() -> None:
    counts = Counter(item.correct for item in ITEMS if item.choices)
    assert max(counts.values()) <= 20


def test_text_has_paragraphs_in_both_languages() -> None:
    paragraphs = [item for item in ITEMS if item.is_text]
    assert Counter(item.source for item in paragraphs) == {"text_en.txt": 12, "text_de.txt": 12}
    assert sum(len((item.reference or "").split()) for item in paragraphs) >= 2000
