"""Several evaluations as one: their models side by side, on the items that all of them have."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lora_studio.core.evaluation.columns import Column
from lora_studio.core.evaluation.results import ColumnReport, EvaluationFacts, EvaluationResults
from lora_studio.core.problems import fail


def overlay(
    evaluations: Sequence[EvaluationResults], format_column: Callable[[Column], str]
) -> EvaluationResults:
    """Return the first evaluation with the columns of the others, reduced to the items that all share.

    Items are equal if they ask and expect the same, so every comparison is paired. Columns of the
    evaluation number n have the title `n: NAME`. One whose model and sampling are those of an earlier
    column isn't repeated. Only measures that all evaluations have remain. Raises ProblemError if the
    evaluations have no item in common.
    """
    first, shared = evaluations[0], _find_shared(evaluations)
    columns: list[Column] = []
    reports: list[ColumnReport] = []
    combined = EvaluationResults(first.folder, first.plan, first.facts)
    combined.items = [item for item in first.items if item.id in shared]
    for number, results in enumerate(evaluations, 1):
        keys = _find_repeated(results, first) if number > 1 else {}
        for column in results.plan.columns:
            if column.key in keys:
                continue
            key = keys[column.key] = column.key if number == 1 else f"{number}: {column.key}"
            title = column.title if number == 1 else f"{number}: {format_column(column)}"
            columns.append(column.model_copy(update={"key": key, "title": title}))
            reports += [
                report.model_copy(update={"key": key})
                for report in results.facts.columns
                if report.key == column.key
            ]
        _add_answers(combined, results, keys, shared)
    combined.plan = first.plan.model_copy(update={"columns": tuple(columns)})
    combined.facts = _combine_facts(evaluations, combined, tuple(reports))
    return combined


def _find_shared(evaluations: Sequence[EvaluationResults]) -> set[str]:
    """Return the IDs of the items that all evaluations have; raises ProblemError if there is none."""
    shared = set.intersection(*({item.id for item in results.items} for results in evaluations))
    if not shared:
        raise fail(
            "evaluation.nothing_shared",
            "These evaluations have no items in common.",
            "Choose evaluations of the same test sets.",
        )
    return shared


def _find_repeated(results: EvaluationResults, first: EvaluationResults) -> dict[str, str]:
    """Return the columns whose model the first evaluation has, with the key that it has there."""
    if results.plan.sampling != first.plan.sampling:
        return {}
    known = {report.model_hash: report.key for report in first.facts.columns if report.model_hash}
    return {
        report.key: known[report.model_hash]
        for report in results.facts.columns
        if report.model_hash in known
    }


def _add_answers(
    combined: EvaluationResults,
    results: EvaluationResults,
    keys: dict[str, str],
    shared: set[str],
) -> None:
    """Add the answers and judgments on the shared items, under the new keys of their columns."""
    for (item, column), row in results.answers.items():
        if item in shared and column in keys and (item, keys[column]) not in combined.answers:
            key = keys[column]
            combined.answers[item, key] = row.model_copy(update={"column": key})
    if results.plan.judge != combined.plan.judge:
        return  # another judge, or the same one with other criteria
    for judgment in results.judgments:
        if judgment.item in shared and judgment.first in keys and judgment.second in keys:
            names = {name: keys[getattr(judgment, name)] for name in ("first", "second")}
            winner = keys.get(judgment.winner or "", judgment.winner)
            combined.judgments.append(judgment.model_copy(update=names | {"winner": winner}))


def _combine_facts(
    evaluations: Sequence[EvaluationResults],
    combined: EvaluationResults,
    reports: tuple[ColumnReport, ...],
) -> EvaluationFacts:
    """Return the facts of the first evaluation about what is left of it."""
    first = evaluations[0].facts
    counts: dict[str, int] = {}
    for item in combined.items:
        counts[item.test_set] = counts.get(item.test_set, 0) + 1
    finished = [results.facts.finished for results in evaluations]
    known = [end for end in finished if end is not None]
    return first.model_copy(
        update={
            "columns": reports,
            "finished": max(known) if len(known) == len(finished) else None,
            "test_sets": tuple(
                report.model_copy(update={"items": counts[report.key]})
                for report in first.test_sets
                if report.key in counts
            ),
            "measures": {
                key: tuple(
                    name
                    for name in names
                    if all(name in each.facts.measures.get(key, ()) for each in evaluations)
                )
                for key, names in first.measures.items()
                if key in counts
            },
        }
    )
