"""Supervised fine-tuning, also with a teacher."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.devices.ranks import ProcessGroup
from lora_studio.engine.kernels.distillation import DistillationLoss, TeacherTokens
from lora_studio.engine.kernels.logprobs import LogprobModel
from lora_studio.engine.tasks.task import Loss, Objective, TaskTraining
from lora_studio.engine.tokens.batches import collate
from lora_studio.engine.tokens.encoder import Encoded


class SupervisedTraining(TaskTraining):
    """Learn the trained tokens of conversations or documents."""

    def create_objective(
        self,
        spec: TrainingSpec,
        logprob_model: LogprobModel,
        ranks: ProcessGroup,
        label_counts: Sequence[int],
    ) -> Objective:
        """Return the objective, with the teacher's probabilities if there is one."""
        if spec.teacher.strip():
            return Distillation(
                logprob_model, spec.distillation_weight, spec.distillation_temperature
            )
        return Sft(logprob_model)


class Sft(Objective):
    """Supervised fine-tuning: −log π(x_t | x_<t), summed over all trained tokens t (Ouyang et al. 2022, section 3.5).

    Continued pre-training is the same with every token trained.
    """

    def count_items(self, rows: Sequence[Encoded]) -> int:
        """Return the number of trained tokens, without those at the start of a row."""
        return sum(int(row.trained[1:].sum()) for row in rows)

    def compute_loss(self, rows: Sequence[Encoded]) -> Loss:
        """Return the loss in nats, summed over trained tokens."""
        return Loss(-self.logprob_model(collate(rows)).sum())


class Distillation(Sft):
    """Supervised fine-tuning that also learns from a teacher's probabilities p:

    (1 − w) · −log π(x_t | x_<t) + w T² KL(p ‖ π), summed over all trained tokens t, both models' logits divided
    by T in the second term. Hinton et al. 2015, section 2. The teacher's most likely tokens are known and
    all others count as one (`kernels/distillation.py`).
    """

    def __init__(self, logprob_model: LogprobModel, weight: float, temperature: float) -> None:
        super().__init__(logprob_model)
        self._loss = DistillationLoss(weight, temperature)

    def compute_loss(self, rows: Sequence[Encoded]) -> Loss:
        """Return the loss in nats, summed over trained tokens, and both terms without their factors."""
        records = np.concatenate([row.teacher for row in rows if row.teacher is not None])
        teacher = TeacherTokens(
            torch.from_numpy(records["ids"].astype(np.int64)),
            torch.from_numpy(records["logprobs"]),
            torch.from_numpy(records["rest"]),
        )
        values = self.logprob_model.compute_distillation(collate(rows), teacher, self._loss)
        total, entropy, divergence = values.sum(0)
        return Loss(total, {"cross_entropy": entropy.detach(), "teacher_kl": divergence.detach()})
