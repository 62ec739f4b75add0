"""Several evaluations as one: shared items, paired columns, and equal models once."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.core.chat import AdapterChatModel, GgufChatModel
from lora_studio.core.evaluation.columns import Column
from lora_studio.core.evaluation.items import create_item
from lora_studio.core.evaluation.plan import EvaluationPlan
from lora_studio.core.evaluation.results import (
    ColumnReport,
    EvaluationFacts,
    EvaluationResults,
    ItemResult,
    overlay,
)
from lora_studio.core.evaluation.summary import summarize
from lora_studio.core.evaluation.test_sets import TestSetReport
from lora_studio.core.problems import ProblemError


def _make(first: int, last: int, right: float, *, metrics: tuple[str, ...]) -> EvaluationResults:
    """Return an evaluation of the questions `first` to `last`; the tuned model scores `right`."""
    columns = (
        Column(key="base", model=AdapterChatModel()),
        Column(key="Q8_0", model=GgufChatModel(file="x")),
    )
    items = [
        create_item(test_set="heldout", raw_prompt=str(n), reference="1")
        for n in range(first, last)
    ]
    facts = EvaluationFacts(
        finished=1.0,
        test_sets=(TestSetReport(key="heldout", items=len(items)),),
        metrics={"heldout": metrics},
        columns=(
            ColumnReport(key="base", model_hash="b"),
            ColumnReport(key="Q8_0", model_hash=str(right)),
        ),
    )
    results = EvaluationResults(Path("run"), EvaluationPlan(columns=columns), facts, items)
    for item in items:
        for key, score in (("base", 0.0), ("Q8_0", right)):
            results.answers[item.id, key] = ItemResult(
                item=item.id, column=key, scores={"exact": score}
            )
    return results


def test_models_of_all_evaluations_are_paired_on_shared_items() -> None:
    first = _make(0, 30, 1.0, metrics=("exact", "contains"))
    second = _make(10, 50, 0.0, metrics=("exact",))
    combined = overlay([first, second], lambda column: column.key)
    assert [(each.key, each.title) for each in combined.plan.columns] == [
        ("base", ""), ("Q8_0", ""), ("2: Q8_0", "2: Q8_0"),
    ]  # fmt: skip
    assert [item.raw_prompt for item in combined.items] == [str(n) for n in range(10, 30)]
    assert combined.facts.metrics == {"heldout": ("exact",)}
    assert combined.facts.test_sets[0].items == 20
    shown = summarize(combined)
    assert shown.verdicts["heldout", "exact", "Q8_0"].difference.rows == 20
    assert shown.verdicts["heldout", "exact", "Q8_0"].finding == "better"
    assert shown.verdicts["heldout", "exact", "2: Q8_0"].finding == "unclear"


def test_evaluations_without_shared_items_are_refused() -> None:
    with pytest.raises(ProblemError) as caught:
        overlay([_make(0, 5, 1.0, metrics=()), _make(5, 9, 1.0, metrics=())], str)
    assert caught.value.problems[0].code == "evaluation.nothing_shared"
