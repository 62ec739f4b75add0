"""Which adapter is kept at the end, and whether that is now: both follow from the evaluations."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.training.spec import TrainingSpec

#: What the loop notes of an evaluation: its `step` and its `loss`.
Evaluations = Sequence[Mapping[str, Any]]


def best(evaluations: Evaluations) -> Mapping[str, Any] | None:
    """The evaluation with the lowest loss, the first of equal ones; None without any."""
    finite = [entry for entry in evaluations if math.isfinite(entry["loss"])]
    return min(finite, key=lambda entry: entry["loss"]) if finite else None


def is_exhausted(evaluations: Evaluations, spec: TrainingSpec) -> bool:
    """Whether eval loss has not fallen by more than the least improvement for so long that early
    stopping ends the training."""
    if not spec.early_stopping:
        return False
    lowest, waited = math.inf, 0
    for entry in evaluations:
        if entry["loss"] < lowest - spec.early_stopping_delta:
            lowest, waited = entry["loss"], 0
        else:
            waited += 1
    return waited >= spec.early_stopping


class BestAdapterStore:
    """The adapters of the best evaluations of a run, on disk; the first rank alone looks after them.

    That of the best one is there until the end, and so is that of the best at the last checkpoint:
    a training that goes on from there knows of no other.
    """

    def __init__(self, run: RunFolder) -> None:
        """Takes over what a training before has left."""
        self._run = run
        self._at_checkpoint: int | None = None

    def place(self, evaluations: Evaluations, spec: TrainingSpec) -> Path | None:
        """Where the adapter goes if the last evaluation is the best, and the best is to be kept.

        Deletes those that nothing goes back to any more.
        """
        found = best(evaluations)
        if not spec.keep_best or found is None or found is not evaluations[-1]:
            return None
        self._keep((found["step"], self._at_checkpoint))
        return self._run.best_adapter(found["step"])

    def checkpointed(self, evaluations: Evaluations) -> None:
        """A checkpoint knows of these evaluations."""
        found = best(evaluations)
        self._at_checkpoint = found["step"] if found else None

    def to_keep(
        self, evaluations: Evaluations, spec: TrainingSpec
    ) -> tuple[Path, Mapping[str, Any]] | None:
        """The adapter to keep and its evaluation; None where it is the last one.

        A training that was stopped while eval loss still fell keeps the last: nothing has judged it
        yet, but it has only gone on from the best.
        """
        found = best(evaluations) if spec.keep_best else None
        if found is None or found is evaluations[-1]:
            return None
        folder = self._run.best_adapter(found["step"])
        return (folder, found) if folder.is_dir() else None

    def _keep(self, steps: Iterable[int | None]) -> None:
        kept = {self._run.best_adapter(step).name for step in steps if step is not None}
        for folder in self._run.best.iterdir() if self._run.best.is_dir() else ():
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)
