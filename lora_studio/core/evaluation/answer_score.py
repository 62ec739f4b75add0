"""The score of a run in its newest evaluation, as tables of runs show it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lora_studio.core.chat import AdapterSpeaker, GgufSpeaker, ModelSpeaker
from lora_studio.core.evaluation import forgetting, storage, summary
from lora_studio.core.evaluation.columns import AnyColumnModel
from lora_studio.core.evaluation.results import EvaluationResults
from lora_studio.core.problems import ProblemError


@dataclass(frozen=True)
class AnswerScore:
    """The mean score of a run's model, 0 to 1, by the first measure of the first test set.

    `measure` and `test_set` are their names; scores by the same ones can be compared.
    """

    score: float
    measure: str
    test_set: str


def read_answer_score(evaluations: Path) -> AnswerScore | None:
    """Return the score in the newest evaluation of a folder that has one, else None."""
    for folder in storage.list_evaluations(evaluations):
        try:
            score = find_answer_score(folder.read())
        except ProblemError:
            continue
        if score is not None:
            return score
    return None


def find_answer_score(results: EvaluationResults) -> AnswerScore | None:
    """Return the score of the run's own model: its first column whose answers are complete.

    Models of other runs and of servers don't count, and neither does a part of the answers.
    """
    complete = {report.key for report in results.facts.columns if report.complete}
    run = results.folder.parent.parent.name
    tuned = [
        column.key
        for column in results.plan.columns
        if column.key in complete and run in _list_path_parts(column.model)
    ]
    for test_set, measures in results.facts.measures.items():
        for measure in measures if test_set != forgetting.KEY else ():
            if summary.is_lower_better(measure):
                continue
            for column in tuned[:1]:
                if scores := list(results.get_scores(test_set, column, measure).values()):
                    return AnswerScore(sum(scores) / len(scores), measure, test_set)
    return None


def _list_path_parts(model: AnyColumnModel) -> tuple[str, ...]:
    """Return the names in the path of a model on this computer; a moved run keeps its folder's name."""
    match model:
        case AdapterSpeaker(adapters=(adapter, *_)):
            return Path(adapter.folder).parts
        case ModelSpeaker():
            return Path(model.folder).parts
        case GgufSpeaker():
            return Path(model.file).parts
        case _:
            return ()
