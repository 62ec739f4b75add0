"""Facts about a training for the script that repeats it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lora_studio.core.project.project import Project
from lora_studio.core.tasks.samples import TaskName
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.tokens.batches import BatchPlan
from lora_studio.engine.training.step_batches import TrainingRows


@dataclass(frozen=True)
class ReproductionFacts:
    """A training as its live objects describe it, rather than as it was configured.

    `is_packed` says whether rows are packed end to end, `is_filled` whether packed rows are padded to a
    round number of tokens (`Scorer.fills`), `uses_tf32` whether products in 32-bit use TF32, and `step` how
    many steps are done already. `label_counts` are the training rows of each label of a classifier.
    """

    project: Project
    tuned: AdaptedModel
    task: TaskName
    rows: TrainingRows
    plan: BatchPlan
    steps: int
    optimizer: torch.optim.Optimizer
    is_packed: bool
    is_filled: bool
    uses_tf32: bool
    has_validation: bool
    world_size: int
    step: int
    label_counts: dict[str, int]
