"""How an evaluation is stored in the folder of its run, read at any time, and exported.

`plan.json` is what was started, `items.jsonl` the items, `facts.json` what is known about the test sets
and columns, `answers.jsonl` one line per item and column, appended as answers arrive, and
`judgments.jsonl` one line per comparison by the judge. A reader skips a line that isn't complete yet, so
partial results can be read while the evaluation runs, and a killed one continues where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from lora_studio.core.evaluation.columns import Column
from lora_studio.core.evaluation.items import EvaluationItem
from lora_studio.core.evaluation.metrics import Logprobs
from lora_studio.core.evaluation.plan import EvaluationPlan
from lora_studio.core.evaluation.test_sets import TestSetReport
from lora_studio.core.problems import Problem, fail


class _Stored(BaseModel):
    """Base of stored data: fields of a newer version are ignored."""

    model_config = ConfigDict(
        defer_build=True, frozen=True, extra="ignore", ser_json_inf_nan="strings"
    )


class ItemResult(_Stored):
    """The answer of one column to one item, and its scores by the name of the metric.

    A metric that doesn't apply to the item has no score. `seconds` is the time since the previous answer
    of the column, because answers are computed together: only their sum means something. Of a server, it
    is the time of the request. `cached`: an earlier evaluation had computed the answer. `problem` says why there is no
    answer: such an item counts as failed, and its scores are those of an empty answer.
    """

    item: str
    column: str
    answer: str = ""
    tokens: int = 0
    prompt_tokens: int = 0
    seconds: float = 0.0
    ending: Literal["end", "length", ""] = ""
    scores: dict[str, float] = {}
    logprobs: Logprobs | None = None
    cached: bool = False
    problem: Problem | None = None


class Judgment(_Stored):
    """The judge's comparison of two columns on one item: the winner's key, "" for a tie.

    `winner` is None if a reply named no winner. `replies` are in both orders: with `first` shown first,
    then with `second` shown first. A pair whose two replies contradict each other is a tie.
    """

    item: str
    first: str
    second: str
    winner: str | None = None
    replies: tuple[str, ...] = ()
    problem: Problem | None = None


class ColumnReport(_Stored):
    """Facts about a column: the digest of its model, the device that ran it, and its time.

    `unmeasured` are metrics that need log-likelihoods, which a server doesn't report. `problem` says why
    the column couldn't be evaluated, or not to its end. `recorded` is the digest of the checksums that the
    run had recorded of the model, "" if it isn't the run's own.
    """

    key: str
    model_hash: str = ""
    recorded: str = ""
    unmeasured: tuple[str, ...] = ()
    device: str = ""
    seconds: float = 0.0
    answered: int = 0
    cached: int = 0
    failed: int = 0
    complete: bool = False
    problem: Problem | None = None


class EvaluationFacts(_Stored):
    """What is known about an evaluation besides its answers; the file `facts.json`.

    `metrics` are the names of the metrics by the key of the test set. Times are in seconds since
    1970 (UTC); `finished` is None until everything is evaluated. `judge_problem` says why the judge couldn't
    compare the answers.
    """

    schema_version: int = 1
    created: float = 0.0
    finished: float | None = None
    app_version: str = ""
    test_sets: tuple[TestSetReport, ...] = ()
    columns: tuple[ColumnReport, ...] = ()
    metrics: dict[str, tuple[str, ...]] = Field(
        {}, validation_alias=AliasChoices("metrics", "measures")
    )
    judge_problem: Problem | None = None


@dataclass
class EvaluationResults:
    """An evaluation as read from its folder, complete or not."""

    folder: Path
    plan: EvaluationPlan
    facts: EvaluationFacts
    items: list[EvaluationItem] = field(default_factory=list)
    #: By the IDs of the item and the column.
    answers: dict[tuple[str, str], ItemResult] = field(default_factory=dict)
    judgments: list[Judgment] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Whether everything that can be evaluated was."""
        return self.facts.finished is not None

    def get_scores(self, test_set: str, column: str, metric: str) -> dict[str, float]:
        """Return the scores of one metric by item ID, in the order of the items."""
        chosen = [item.id for item in self.items if item.test_set == test_set]
        rows = ((item, self.answers.get((item, column))) for item in chosen)
        return {
            item: row.scores[metric]
            for item, row in rows
            if row is not None and metric in row.scores
        }


def find_chosen(item: EvaluationItem, result: ItemResult) -> str:
    """Return the choice with the highest log-likelihood, "" where there is none."""
    scores = result.logprobs.choices if result.logprobs is not None else ()
    if not scores or len(scores) != len(item.choices):
        return ""
    return item.choices[max(range(len(scores)), key=lambda index: scores[index])]


def overlay(
    evaluations: Sequence[EvaluationResults], format_column: Callable[[Column], str]
) -> EvaluationResults:
    """Return the first evaluation with the columns of the others, reduced to the items that all share.

    Items are equal if they ask and expect the same, so every comparison is paired. Columns of the
    evaluation number n have the title `n: NAME`. One whose model and sampling are those of an earlier
    column isn't repeated. Only metrics that all evaluations have remain. Raises ProblemError if the
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
            "metrics": {
                key: tuple(
                    name
                    for name in names
                    if all(name in each.facts.metrics.get(key, ()) for each in evaluations)
                )
                for key, names in first.metrics.items()
                if key in counts
            },
        }
    )
