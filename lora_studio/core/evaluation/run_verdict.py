"""What an evaluation says about its run's model, and whether that model has changed since."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_studio.core.chat import AdapterChatModel, FolderChatModel, GgufChatModel
from lora_studio.core.evaluation import forgetting, storage, summary
from lora_studio.core.evaluation.columns import AnyColumnModel
from lora_studio.core.evaluation.results import EvaluationResults
from lora_studio.core.evaluation.summary import DifferenceVerdict, ForgettingReport
from lora_studio.core.messages import NO_TEXT, Text, listed, text
from lora_studio.core.problems import ProblemError


@dataclass(frozen=True)
class RunVerdict:
    """The verdict on one model of a run; `column` is its key, `evaluation` the name of the evaluation.

    `test_set` is the title of the test set that `difference` is about, and `metric` the name of its
    metric. `is_outdated`: the model has changed since.
    """

    evaluation: str
    column: str
    difference: DifferenceVerdict | None = None
    test_set: Text = NO_TEXT
    metric: str = ""
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
    outdated = list_outdated(results, checksums)
    shown = summary.summarize(results)
    for column in list_own_columns(results):
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
            metric=found.metric if found else "",
            forgetting=forgotten,
            is_outdated=column in outdated,
        )
    return None


# The run's own models in an evaluation, and whether they have changed since.
#
# A run records the checksums of its adapter, its merged model, and its GGUF files when they are written. An
# evaluation keeps a digest of those, so that its scores are known to be out of date once the training was
# continued, or the model was merged or exported again. Nothing but the manifest is read for that.

#: The checksums that the manifest of a run records: by folder, then by file name.
Checksums = Mapping[str, Mapping[str, Any]]


def list_own_columns(results: EvaluationResults) -> list[str]:
    """Return the keys of the columns that are models of the evaluated run, in the plan's order."""
    run = _get_run_name(results)
    return [
        column.key for column in results.plan.columns if get_path_in_run(column.model, run) is not None
    ]  # fmt: skip


def list_outdated(results: EvaluationResults, checksums: Checksums) -> list[str]:
    """Return the keys of the run's own columns whose model isn't the evaluated one anymore."""
    run = _get_run_name(results)
    evaluated = {report.key: report.recorded for report in results.facts.columns}
    return [
        key
        for key in list_own_columns(results)
        if evaluated.get(key)
        and evaluated[key] != digest_model(results.plan.get_column(key).model, run, checksums)
    ]


def describe_outdated(results: EvaluationResults, keys: Sequence[str]) -> Text:
    """Return a sentence on columns whose model has changed, NO_TEXT without any."""
    if not keys:
        return NO_TEXT
    names = listed([results.plan.get_column(key).label for key in keys])
    return text(
        "Out of date: {names} changed after this evaluation. Evaluate the run again.", names=names
    )


def digest_model(model: AnyColumnModel, run: str, checksums: Checksums) -> str:
    """Return a digest of the recorded checksums of a model in the run's folder named `run`.

    "" if the model isn't the run's, or if no checksums of it are recorded.
    """
    path = get_path_in_run(model, run)
    if not path:
        return ""
    entry: Any = checksums.get("/".join(path))
    if entry is None:
        entry = checksums.get("/".join(path[:-1]), {}).get(path[-1])
    plain = json.dumps(entry, sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()[:32] if entry else ""


def get_path_in_run(model: AnyColumnModel, run: str) -> tuple[str, ...] | None:
    """Return the path of a model below the run's folder, None if it isn't there.

    A run that was moved keeps the name of its folder.
    """
    match model:
        case AdapterChatModel(adapters=(adapter, *_)):
            path = adapter.folder
        case FolderChatModel():
            path = model.folder
        case GgufChatModel():
            path = model.file
        case _:
            return None
    parts = Path(path).parts
    if run not in parts:
        return None
    return parts[len(parts) - parts[::-1].index(run) :]


def _get_run_name(results: EvaluationResults) -> str:
    """Return the name of the run's folder; a job's path may lead through a descriptor of it."""
    return results.folder.resolve().parent.parent.name


@dataclass(frozen=True)
class AnswerScore:
    """The mean score of a run's model, 0 to 1, by the first metric of the first test set.

    `metric` and `test_set` are their names; scores by the same ones can be compared. `is_outdated`:
    the model has changed since it was evaluated.
    """

    score: float
    metric: str
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
    own = [key for key in list_own_columns(results) if key in complete]
    outdated = list_outdated(results, checksums)
    for test_set, metrics in results.facts.metrics.items():
        for metric in metrics if test_set != forgetting.KEY else ():
            if summary.is_lower_better(metric):
                continue
            for column in own[:1]:
                if scores := list(results.get_scores(test_set, column, metric).values()):
                    mean = sum(scores) / len(scores)
                    return AnswerScore(mean, metric, test_set, column in outdated)
    return None
