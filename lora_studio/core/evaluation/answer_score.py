"""The score of a run in its newest evaluation, as tables of runs show it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lora_studio.core.evaluation import forgetting, own_models, storage, summary
from lora_studio.core.evaluation.own_models import Checksums
from lora_studio.core.evaluation.results import EvaluationResults
from lora_studio.core.problems import ProblemError


@dataclass(frozen=True)
class AnswerScore:
    """The mean score of a run's model, 0 to 1, by the first measure of the first test set.

    `measure` and `test_set` are their names; scores by the same ones can be compared. `is_outdated`:
    the model has changed since it was evaluated.
    """

    score: float
    measure: str
    test_set: str
    is_outdated: bool = False


def read_answer_score(evaluations: Path, checksums: Checksums) -> AnswerScore | None:
    """Return the score in the newest evaluation of a folder that has one, else None.

    `checksums` are those that the run's manifest records now.
    """
    for folder in storage.list_evaluations(evaluations):
        try:
            score = find_answer_score(folder.read(), checksums)
        except ProblemError:
            continue
        if score is not None:
            return score
    return None


def find_answer_score(results: EvaluationResults, checksums: Checksums) -> AnswerScore | None:
    """Return the score of the run's own model: its first column whose answers are complete.

    Models of other runs and of servers don't count, and neither does a part of the answers.
    """
    complete = {report.key for report in results.facts.columns if report.complete}
    own = [key for key in own_models.list_own_columns(results) if key in complete]
    outdated = own_models.list_outdated(results, checksums)
    for test_set, measures in results.facts.measures.items():
        for measure in measures if test_set != forgetting.KEY else ():
            if summary.is_lower_better(measure):
                continue
            for column in own[:1]:
                if scores := list(results.get_scores(test_set, column, measure).values()):
                    mean = sum(scores) / len(scores)
                    return AnswerScore(mean, measure, test_set, column in outdated)
    return None
