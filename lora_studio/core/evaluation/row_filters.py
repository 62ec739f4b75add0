"""Choose rows of an evaluation by what happened to them: fixed, broken, different, wrong, or failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lora_studio.core.evaluation import summary
from lora_studio.core.evaluation.items import EvaluationItem
from lora_studio.core.evaluation.measures.normalization import normalize
from lora_studio.core.evaluation.results import EvaluationResults

RowKind = Literal["all", "fixed", "broken", "different", "wrong", "failed"]

#: A change of a score from 0 to 1 that counts as fixed or broken, where scores aren't right or wrong.
_NOTICEABLE = 0.1


@dataclass(frozen=True)
class ResultFilter:
    """Which rows to show: `column` compared with `other`, in one test set, or in all if it is ""."""

    kind: RowKind = "all"
    column: str = ""
    other: str = ""
    test_set: str = ""
    search: str = ""


def filter_rows(results: EvaluationResults, rule: ResultFilter) -> list[EvaluationItem]:
    """Return the items that a filter lets through, in their order."""
    needle = rule.search.casefold().strip()
    return [
        item
        for item in results.items
        if (not rule.test_set or item.test_set == rule.test_set)
        and _is_kind(results, item, rule)
        and (not needle or _contains(results, item, needle))
    ]


def get_score(results: EvaluationResults, item: EvaluationItem, column: str) -> float | None:
    """Return the score of a column on an item by its main measure, None without one."""
    row = results.answers.get((item.id, column))
    if row is None:
        return None
    names = results.facts.measures.get(item.test_set, ())
    return next((row.scores[name] for name in names if name in row.scores), None)


def _is_kind(results: EvaluationResults, item: EvaluationItem, rule: ResultFilter) -> bool:
    if rule.kind == "all":
        return True
    row = results.answers.get((item.id, rule.column))
    if rule.kind == "failed":
        return row is not None and row.problem is not None
    if rule.kind == "wrong":
        score = get_score(results, item, rule.column)
        return score is not None and score < 0.5
    other = results.answers.get((item.id, rule.other))
    if row is None or other is None:
        return False
    if rule.kind == "different":
        return normalize(row.answer) != normalize(other.answer)
    change = _compute_gain(results, item, rule)
    return change >= _NOTICEABLE if rule.kind == "fixed" else change <= -_NOTICEABLE


def _compute_gain(results: EvaluationResults, item: EvaluationItem, rule: ResultFilter) -> float:
    """Return by how much the column is better than the other one; 0 if it isn't known."""
    names = results.facts.measures.get(item.test_set, ())
    first, second = (results.answers[item.id, key].scores for key in (rule.other, rule.column))
    for name in names:
        if name in first and name in second:
            change = second[name] - first[name]
            return -change if summary.is_lower_better(name) else change
    return 0.0


def _contains(results: EvaluationResults, item: EvaluationItem, needle: str) -> bool:
    texts = [item.question, item.reference or "", item.category]
    texts += [
        row.answer
        for column in results.plan.columns
        if (row := results.answers.get((item.id, column.key))) is not None
    ]
    return any(needle in text.casefold() for text in texts)
