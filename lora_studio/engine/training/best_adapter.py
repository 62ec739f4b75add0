"""Choose the adapter to keep and decide on early stopping, from the evaluations."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from lora_studio.core.protocol import events
from lora_studio.core.protocol.training import BestMetric
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.training.trainer_state import EvaluationResult


def find_best_evaluation(
    evaluations: Sequence[EvaluationResult], spec: TrainingSpec
) -> EvaluationResult | None:
    """Return the evaluation with the highest score or lowest finite loss, the first of equal ones."""
    finite = [evaluation for evaluation in evaluations if math.isfinite(get_cost(evaluation, spec))]
    return min(finite, key=lambda evaluation: get_cost(evaluation, spec)) if finite else None


def get_cost(evaluation: EvaluationResult, spec: TrainingSpec) -> float:
    """Return what the best evaluation has least of: the loss, or the negative score of answers.

    Infinite without a score: memory ran out, and the evaluation can't be the best one.
    """
    if spec.best_by == "loss":
        return evaluation.loss
    return math.inf if evaluation.score is None else -evaluation.score


def is_exhausted(evaluations: Sequence[EvaluationResult], spec: TrainingSpec) -> bool:
    """Return whether early stopping ends the training.

    That is when the loss or the score hasn't improved by more than `early_stopping_delta` for
    `early_stopping` evaluations in a row.
    """
    if not spec.early_stopping:
        return False
    lowest, without_improvement = math.inf, 0
    for evaluation in evaluations:
        cost = get_cost(evaluation, spec)
        if cost < lowest - spec.early_stopping_delta:
            lowest, without_improvement = cost, 0
        else:
            without_improvement += 1
    return without_improvement >= spec.early_stopping


def create_ended_early(
    step: int, evaluations: Sequence[EvaluationResult], spec: TrainingSpec
) -> events.EndedEarly:
    """Return what is reported when early stopping ends the training after a step."""
    has_rewards = any(each.reward is not None for each in evaluations)
    by: BestMetric = "score" if spec.best_by != "loss" else "reward" if has_rewards else "loss"
    return events.EndedEarly(step=step, evaluations=spec.early_stopping, best_by=by)


class BestAdapterStore:
    """The adapters of a run's best evaluations, on disk. Only rank 0 uses it.

    It keeps the best adapter until the end, and the one that was best at the last checkpoint, because
    a training that resumes from there refers to that one.
    """

    def __init__(self, run: RunFolder) -> None:
        """Use the adapters that an interrupted training has left."""
        self._run = run
        self._step_at_checkpoint: int | None = None

    def prepare_folder(
        self, evaluations: Sequence[EvaluationResult], spec: TrainingSpec
    ) -> Path | None:
        """Return the folder to save the adapter in if the last evaluation is the best, else None.

        Also returns None if the recipe doesn't keep the best. Deletes outdated adapters.
        """
        best = find_best_evaluation(evaluations, spec)
        if not spec.keep_best or best is None or best is not evaluations[-1]:
            return None
        self._delete_all_but((best.step, self._step_at_checkpoint))
        return self._run.get_best_adapter(best.step)

    def set_checkpoint(self, evaluations: Sequence[EvaluationResult], spec: TrainingSpec) -> None:
        """Record the evaluations that the last checkpoint contains."""
        best = find_best_evaluation(evaluations, spec)
        self._step_at_checkpoint = best.step if best else None

    def find_best(
        self, evaluations: Sequence[EvaluationResult], spec: TrainingSpec
    ) -> EvaluationResult | None:
        """Return the evaluation whose stored adapter is to be kept; None to keep the last adapter.

        If training stopped while the loss was still falling, the last adapter is kept: it hasn't been
        evaluated, but it continues from the best one.
        """
        best = find_best_evaluation(evaluations, spec) if spec.keep_best else None
        return None if best is None or best is evaluations[-1] else best

    def _delete_all_but(self, steps: Iterable[int | None]) -> None:
        names = {self._run.get_best_adapter(step).name for step in steps if step is not None}
        for folder in self._run.best.iterdir() if self._run.best.is_dir() else ():
            if folder.name not in names:
                shutil.rmtree(folder, ignore_errors=True)
