"""Export the results of an evaluation as CSV and JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict

from lora_studio.core.evaluation import preferences, summary
from lora_studio.core.evaluation.columns import format_model_name
from lora_studio.core.evaluation.preferences import Preference, PreferenceVote, VoteComparison
from lora_studio.core.evaluation.results import EvaluationResults, find_chosen
from lora_studio.core.evaluation.summary import EvaluationSummary
from lora_studio.core.formatting import CsvWriter

#: The columns of a CSV file before the scores.
_HEADS = (
    "test_set", "item", "category", "question", "reference", "column", "answer", "choice", "tokens",
    "seconds", "problem", "compared_with", "preference", "compared_by",
)  # fmt: skip

#: The test set of blind votes in a CSV file.
_VOTES = "blind_votes"


def to_csv(results: EvaluationResults, votes: Iterable[PreferenceVote] = ()) -> str:
    """Return one line per item and column: what was asked and expected, the answer, and its scores.

    `preference` is "better", "worse", "tie", or "no verdict" of the judge, who compared the answer with
    that of the column `compared_with`. Each of people's blind votes follows as a line of its own.
    """
    measures = list_measures(results)
    out = io.StringIO()
    writer = CsvWriter(out)
    writer.writerow([*_HEADS, *measures])
    for facts, scores in (*_iter_answers(results), *_iter_votes(results, votes)):
        cells = [facts.get(head, "") for head in _HEADS]
        writer.writerow([*cells, *(scores.get(measure, "") for measure in measures)])
    return out.getvalue()


_Line = tuple[dict[str, object], dict[str, float]]


def _iter_answers(results: EvaluationResults) -> Iterator[_Line]:
    """Yield the cells and the scores of every answer, with what the judge said of it."""
    judged = {(each.item, each.second): each for each in preferences.list_judgments(results)}
    judge = results.plan.judge
    name = "" if judge is None else format_model_name(judge.model)
    for item in results.items:
        for column in results.plan.columns:
            row = results.answers.get((item.id, column.key))
            if row is None:
                continue
            facts: dict[str, object] = {
                "test_set": item.test_set, "item": item.id, "category": item.category,
                "question": item.question, "reference": item.reference or "", "column": column.key,
                "answer": row.answer, "choice": find_chosen(item, row), "tokens": row.tokens,
                "seconds": round(row.seconds, 4),
                "problem": "" if row.problem is None else str(row.problem.what),
            }  # fmt: skip
            if judgment := judged.get((item.id, column.key)):
                facts |= {
                    "compared_with": judgment.first,
                    "preference": _name_preference(column.key, judgment.winner),
                    "compared_by": name,
                }
            yield facts, row.scores


def _iter_votes(results: EvaluationResults, votes: Iterable[PreferenceVote]) -> Iterator[_Line]:
    """Yield the cells of every comparison that people made."""
    for vote in _list_votes(results, votes):
        facts: dict[str, object] = {
            "test_set": _VOTES, "question": vote.prompt, "column": vote.column, "answer": vote.answer,
            "compared_with": vote.baseline, "compared_by": "people",
            "preference": _name_preference(vote.column, vote.winner),
        }  # fmt: skip
        yield facts, {}


def to_json(results: EvaluationResults, votes: Iterable[PreferenceVote] = ()) -> str:
    """Return the plan, the facts, means, verdicts, preferences, and every item with its answers.

    `preferences` are those of the judge and of people's blind votes, with 95 % intervals.
    """
    votes = tuple(votes)
    items = []
    for item in results.items:
        rows = [results.answers.get((item.id, column.key)) for column in results.plan.columns]
        answers = [row.model_dump(mode="json", exclude={"item"}) for row in rows if row is not None]
        items.append(item.model_dump(mode="json", exclude_defaults=True) | {"answers": answers})
    shown = summary.summarize(results)
    content = {
        "plan": results.plan.model_dump(mode="json"),
        "facts": results.facts.model_dump(mode="json"),
        "complete": results.is_complete,
        "means": compute_means(results),
        **_list_verdicts(shown),
        "preferences": [
            _to_plain(each) for each in preferences.list_preferences(results, votes, shown.baseline)
        ],
        "items": items,
        "judgments": [judgment.model_dump(mode="json") for judgment in results.judgments],
        "votes": [asdict(each) for each in _list_votes(results, votes)],
    }
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def _list_votes(
    results: EvaluationResults, votes: Iterable[PreferenceVote]
) -> list[VoteComparison]:
    baseline = summary.choose_baseline(results.plan.columns)
    return preferences.list_vote_comparisons(results.plan.columns, votes, baseline)


def _name_preference(column: str, winner: str | None) -> str:
    """Return the result of a comparison for one of its columns."""
    if winner is None:
        return "no verdict"
    return "tie" if not winner else "better" if winner == column else "worse"


def _to_plain(preference: Preference) -> dict[str, object]:
    """Return a preference with its share, interval, and finding."""
    return asdict(preference) | {
        "compared_by": "judge" if preference.judge else "people",
        "compared": preference.compared,
        "share": preference.share if preference.compared else None,
        "interval": asdict(preference.interval) if preference.compared else None,
        "finding": preference.finding,
        "sentence": str(preference.sentence),
    }


def _list_verdicts(shown: EvaluationSummary) -> dict[str, object]:
    """Return the baseline, each difference from it, and what each column has forgotten."""
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
