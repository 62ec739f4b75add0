"""What the newest complete evaluation of a run says about its model, in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lora_studio.core.evaluation import own_models, storage, summary
from lora_studio.core.evaluation.own_models import Checksums
from lora_studio.core.evaluation.results import EvaluationResults
from lora_studio.core.evaluation.summary import DifferenceVerdict, ForgettingReport
from lora_studio.core.messages import NO_TEXT, Text
from lora_studio.core.problems import ProblemError


@dataclass(frozen=True)
class RunVerdict:
    """The verdict on one model of a run; `column` is its key, `evaluation` the name of the evaluation.

    `test_set` is the title of the test set that `difference` is about, and `measure` the name of its
    measure. `is_outdated`: the model has changed since.
    """

    evaluation: str
    column: str
    difference: DifferenceVerdict | None = None
    test_set: Text = NO_TEXT
    measure: str = ""
    forgetting: ForgettingReport | None = None
    is_outdated: bool = False


def read_run_verdict(evaluations: Path, checksums: Checksums) -> RunVerdict | None:
    """Return the verdict of the newest complete evaluation that has one, None without any.

    `checksums` are those that the run's manifest records now. Reads all answers of an evaluation, so
    it takes a moment.
    """
    for folder in storage.list_evaluations(evaluations):
        try:
            if folder.read_facts().finished is None:
                continue
            verdict = find_run_verdict(folder.read(), checksums)
        except ProblemError:
            continue
        if verdict is not None:
            return verdict
    return None


def find_run_verdict(results: EvaluationResults, checksums: Checksums) -> RunVerdict | None:
    """Return the verdict on the run's first own model whose answers are complete, None without one."""
    complete = {report.key for report in results.facts.columns if report.complete}
    outdated = own_models.list_outdated(results, checksums)
    shown = summary.summarize(results)
    for column in own_models.list_own_columns(results):
        if column not in complete or column == shown.baseline:
            continue
        found = shown.find_main_verdict(column)
        forgotten = shown.forgetting.get(column)
        if found is None and forgotten is None:
            continue
        titles = {report.key: report.title for report in results.facts.test_sets}
        return RunVerdict(
            evaluation=results.folder.name,
            column=column,
            difference=found.verdict if found else None,
            test_set=titles.get(found.test_set, NO_TEXT) if found else NO_TEXT,
            measure=found.measure if found else "",
            forgetting=forgotten,
            is_outdated=column in outdated,
        )
    return None
