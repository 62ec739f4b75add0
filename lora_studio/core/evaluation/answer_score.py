"""The score of a run in its newest evaluation, as tables of runs show it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lora_studio.core.evaluation import forgetting, storage, summary
from lora_studio.core.evaluation.results import EvaluationResults


@dataclass(frozen=True)
class AnswerScore:
    """The mean score of a run's model, 0 to 1, by the first measure of the first test set.

    `measure` and `test_set` are their names; scores by the same ones can be compared.
    """

    score: float
    measure: str
    test_set: str


def read_answer_score(evaluations: Path) -> AnswerScore | None:
    """Return the score in the newest readable evaluation of a folder, None without one."""
    results = storage.read_latest(evaluations)
    return None if results is None else find_answer_score(results)


def find_answer_score(results: EvaluationResults) -> AnswerScore | None:
    """Return the score of the fine-tuned model: the first column that isn't the base model."""
    tuned = [column.key for column in results.plan.columns if not column.is_base]
    for test_set, measures in results.facts.measures.items():
        for measure in measures if test_set != forgetting.KEY else ():
            if summary.is_lower_better(measure):
                continue
            for column in tuned[:1]:
                if scores := list(results.get_scores(test_set, column, measure).values()):
                    return AnswerScore(sum(scores) / len(scores), measure, test_set)
    return None
