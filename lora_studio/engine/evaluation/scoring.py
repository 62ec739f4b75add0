"""What an item needs from a model, and its scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lora_studio.core.evaluation import measures
from lora_studio.core.evaluation.columns import Column
from lora_studio.core.evaluation.items import OWN_MEASURE, EvaluationItem
from lora_studio.core.evaluation.measures import Logprobs
from lora_studio.core.evaluation.plan import EvaluationPlan
from lora_studio.core.evaluation.test_sets import TestSetReport


@dataclass(frozen=True)
class ItemNeeds:
    """Whether an item has to be answered, and whether log-likelihoods are needed."""

    answer: bool
    logprobs: bool


class ItemScorer:
    """The measures of an evaluation, by the key of the test set."""

    def __init__(self, names: Mapping[str, Sequence[str]], *, judges: bool = False) -> None:
        """Take the names of the measures by test set; raises ProblemError for an unknown one.

        With `judges`, every item is answered, for the judge to compare.
        """
        self._judges = judges
        self._measures = {
            test_set: [measures.measure_by_name(name) for name in chosen if name != OWN_MEASURE]
            for test_set, chosen in names.items()
        }
        self._own: dict[str, measures.AnswerMeasure] = {}

    def get_needs(self, item: EvaluationItem, column: Column) -> ItemNeeds:
        """Return what an item needs from a column."""
        chosen = self._list(item)
        needs_logprobs = any(measure.needs_logprobs for _, measure in chosen)
        is_answered = not item.is_text and (
            self._judges or not chosen or any(not measure.needs_logprobs for _, measure in chosen)
        )
        return ItemNeeds(is_answered, needs_logprobs and column.can_measure_logprobs)

    def score(
        self, item: EvaluationItem, answer: str | None, logprobs: Logprobs | None
    ) -> dict[str, float]:
        """Return the scores of an answer and of log-likelihoods, where there are any."""
        scores: dict[str, float] = {}
        for name, measure in self._list(item):
            value = None
            if measure.needs_logprobs:
                value = None if logprobs is None else measure.score_logprobs(item, logprobs)
            elif answer is not None:
                value = measure.score(item, answer)
            if value is not None:
                scores[name] = value
        return scores

    def list_unmeasured(self, column: Column, items: Iterable[EvaluationItem]) -> tuple[str, ...]:
        """Return the measures that can't be computed for a column, because it is on a server."""
        if column.can_measure_logprobs:
            return ()
        every = (measure for item in items for _, measure in self._list(item))
        return tuple(dict.fromkeys(each.name for each in every if each.needs_logprobs))

    def _list(self, item: EvaluationItem) -> list[tuple[str, measures.AnswerMeasure]]:
        """Return the measures of an item, by the names of their scores."""
        chosen = [(each.name, each) for each in self._measures.get(item.test_set, ())]
        if not item.measure:
            return chosen
        if item.measure not in self._own:
            self._own[item.measure] = measures.measure_by_name(item.measure)
        own = self._own[item.measure]
        return [(OWN_MEASURE, own), *(pair for pair in chosen if pair[1].needs_logprobs)]


def choose_measures(
    plan: EvaluationPlan, reports: Sequence[TestSetReport]
) -> dict[str, tuple[str, ...]]:
    """Return the names of the measures by test set: those of the plan, else those that suit each."""
    return {
        report.key: (
            tuple(name for name in report.suggested if name == OWN_MEASURE) + plan.measures
            if plan.measures
            else report.suggested
        )
        for report in reports
        if report.items
    }
