"""Export the results of an evaluation as CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict

from lora_studio.core.evaluation import summary
from lora_studio.core.evaluation.results import EvaluationResults, find_chosen


def to_csv(results: EvaluationResults) -> str:
    """Return one line per item and column: what was asked and expected, the answer, and its scores."""
    measures = list_measures(results)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["test_set", "item", "category", "question", "reference", "column", "answer", "choice", "tokens", "seconds", "problem", *measures]
    )  # fmt: skip
    for item in results.items:
        for column in results.plan.columns:
            row = results.answers.get((item.id, column.key))
            if row is None:
                continue
            cells = [
                item.test_set, item.id, item.category, item.question, item.reference or "", column.key, row.answer, find_chosen(item, row),
            ]  # fmt: skip
            problem = "" if row.problem is None else str(row.problem.what)
            scores = [row.scores.get(measure, "") for measure in measures]
            counts = [row.tokens, round(row.seconds, 4)]
            writer.writerow([*cells, *counts, problem, *scores])
    return out.getvalue()


def to_json(results: EvaluationResults) -> str:
    """Return the plan, the facts, means, verdicts, and every item with its answers."""
    items = []
    for item in results.items:
        rows = [results.answers.get((item.id, column.key)) for column in results.plan.columns]
        answers = [row.model_dump(mode="json", exclude={"item"}) for row in rows if row is not None]
        items.append(item.model_dump(mode="json", exclude_defaults=True) | {"answers": answers})
    content = {
        "plan": results.plan.model_dump(mode="json"),
        "facts": results.facts.model_dump(mode="json"),
        "complete": results.is_complete,
        "means": compute_means(results),
        **_list_verdicts(results),
        "items": items,
        "judgments": [judgment.model_dump(mode="json") for judgment in results.judgments],
    }
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def _list_verdicts(results: EvaluationResults) -> dict[str, object]:
    """Return the baseline, each difference from it, and what each column has forgotten."""
    shown = summary.summarize(results)
    differences = [
        {
            "test_set": test_set, "measure": measure, "column": column, "finding": verdict.finding,
            "sentence": str(verdict.sentence), **asdict(verdict.difference),
        }
        for (test_set, measure, column), verdict in shown.verdicts.items()
    ]  # fmt: skip
    forgetting = {
        column: {"has_forgotten": found.has_forgotten, "sentence": str(found.sentence)}
        for column, found in shown.forgetting.items()
    }
    return {"baseline": shown.baseline, "differences": differences, "forgetting": forgetting}


def list_measures(results: EvaluationResults) -> list[str]:
    """Return the names of all measures of an evaluation, in the order of its test sets."""
    names = (name for measures in results.facts.measures.values() for name in measures)
    return list(dict.fromkeys(names))


def compute_means(results: EvaluationResults) -> dict[str, dict[str, dict[str, float]]]:
    """Return mean scores by test set, measure, and column."""
    means: dict[str, dict[str, dict[str, float]]] = {}
    for test_set, measures in results.facts.measures.items():
        for measure in measures:
            for column in results.plan.columns:
                scores = results.get_scores(test_set, column.key, measure)
                mean = summary.compute_mean(measure, list(scores.values()))
                if mean is not None:
                    means.setdefault(test_set, {}).setdefault(measure, {})[column.key] = mean
    return means
