"""What all tasks have in common in the engine: losses, objectives, and how a model gets ready to train."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from lora_studio.core.project.project import Project
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.devices.ranks import ProcessGroup
from lora_studio.engine.kernels.logprobs import LogprobModel
from lora_studio.engine.runtime.channel import JobContext


@dataclass
class Loss:
    """The loss of a micro-batch and further metrics, all summed over its rows.

    `confusion` [labels, labels] counts the rows of a classifier by actual and by predicted label.
    """

    total: torch.Tensor
    metrics: dict[str, torch.Tensor] = field(default_factory=dict)
    confusion: torch.Tensor | None = None


@dataclass(frozen=True)
class Divisors:
    """What the sums of a step are divided by: its loss, and each metric that is a mean over something else."""

    loss: int
    metrics: Mapping[str, int] = field(default_factory=dict)

    def get_for_metric(self, name: str) -> int:
        """Return what a metric is divided by."""
        return self.metrics.get(name, self.loss)


class Objective:
    """A way to train on rows of one kind.

    All use `LogprobModel`: log π(x_t | x_<t) of the trained tokens. Every loss is a sum over a micro-batch. The trainer
    divides it by `count_items` of the whole step: a mean, however the step is split into micro-batches.
    """

    #: Whether the validation rows are measured before the first step, to compare with.
    measures_start: ClassVar[bool] = False

    def __init__(self, logprob_model: LogprobModel) -> None:
        self.logprob_model = logprob_model

    def count_items(self, rows: Sequence[Any]) -> int:
        """Return the number of items that the loss sums over: rows, or what they have several of."""
        return len(rows)

    def prepare_step(self, micro_batches: Sequence[Sequence[Any]]) -> None:
        """Compute what a loss depends on beyond its own micro-batch, once for an optimizer step."""

    def compute_loss(self, rows: Sequence[Any]) -> Loss:
        """Return the loss of one micro-batch, with gradients where they are enabled."""
        raise NotImplementedError

    def measure(
        self,
        rows: Any,
        micro_batch: int,
        inference_context: Callable[[], AbstractContextManager[object]],
        job: JobContext,
    ) -> dict[str, float]:
        """Return metrics of the validation rows, a sequence, all together. Every rank has to call it."""
        return {}


class ReferenceObjective(Objective):
    """An objective that compares the model with a reference."""

    def compute_reference(self, rows: Sequence[Any]) -> torch.Tensor:
        """Return the reference's log-probability of each answer, [rows, answers of a row]."""
        raise NotImplementedError


class TaskTraining:
    """How one task is trained."""

    #: Whether a row is also compared with the answer of the row before it.
    compares_neighbors: ClassVar[bool] = False

    def create_objective(
        self,
        spec: TrainingSpec,
        logprob_model: LogprobModel,
        ranks: ProcessGroup,
        label_counts: Sequence[int],
    ) -> Objective:
        """Return the objective of a recipe; raises ProblemError for a recipe that it can't train.

        `label_counts` are the training rows of each label, in the order of a classifier's outputs.
        """
        raise NotImplementedError

    def attach_head(self, spec: TrainingSpec, tuned: AdaptedModel, labels: Sequence[str]) -> None:
        """Add the layer that a task trains with the adapter, if any; raises ProblemError where it can't be added."""

    def prepare_model(self, project: Project, tuned: AdaptedModel, job: JobContext) -> Project:
        """Return the project with what the task decides once rows are tokenized; raises ProblemError."""
        return project
