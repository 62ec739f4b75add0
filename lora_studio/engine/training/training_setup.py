"""Everything that an optimizer step needs, built from the recipe."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.tasks.table import TASKS
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.devices.ranks import ProcessGroup
from lora_studio.engine.kernels.logprobs import Scorer
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.training import kernel_choice
from lora_studio.engine.training.recipe import neftune, objectives, optimizers, schedules
from lora_studio.engine.training.recipe.objectives import Objective
from lora_studio.engine.training.step_batches import StepBatches, TrainingData, TrainingRows

# Backward pass, gradient clipping and update, with the loss scaled where gradients are float16.
#
# accelerate's `Accelerator` offers the same, but it also sets up a process group and refuses computers
# with several RTX 40 GPUs and an older driver, even to train on one of them.


class LossScaling:
    """Scale the loss in float16 on a GPU (Micikevicius et al. 2018), and do nothing in other formats.

    `scaler` is None without scaling.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        """Create a scaler for `dtype` on `device`, if it needs one."""
        is_scaled = dtype == torch.float16 and device.type == "cuda"
        self.scaler = torch.amp.GradScaler(device.type) if is_scaled else None

    @property
    def can_reduce(self) -> bool:
        """Return whether the scale can still fall.

        The scaler then skips a step whose gradients are infinite or NaN, and reduces the scale.
        """
        return self.scaler is not None and bool(self.scaler.get_scale() >= 1)

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a loss, scaled, to the parameters'."""
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()

    def clip_gradients(
        self,
        optimizer: torch.optim.Optimizer,
        parameters: Sequence[torch.nn.Parameter],
        max_norm: float,
    ) -> torch.Tensor:
        """Undo the scale, limit the norm of all gradients to `max_norm` and return the norm before."""
        if self.scaler is not None and _has_gradients(optimizer):
            self.scaler.unscale_(optimizer)
        return torch.nn.utils.clip_grad_norm_(parameters, max_norm)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Update the weights; skip the update where the scaled gradients overflowed.

        Without any gradient, as in reward training if all rewards are equal, the scale stays as it is: the
        scaler raises where it has no gradient to check.
        """
        if self.scaler is None or not _has_gradients(optimizer):
            optimizer.step()
            return
        self.scaler.step(optimizer)
        self.scaler.update()


def _has_gradients(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether any parameter has a gradient, which may be zero."""
    return any(
        value.grad is not None for group in optimizer.param_groups for value in group["params"]
    )


@dataclass(frozen=True)
class TrainingSetup:
    """The objects of a step, from rows to weights."""

    batches: StepBatches
    scorer: Scorer
    objective: Objective
    scaling: LossScaling
    optimizer: Optimizer
    scheduler: LRScheduler

    @property
    def scaler(self) -> torch.amp.GradScaler | None:
        """Return the gradient scaler; None without float16."""
        return self.scaling.scaler


def build_setup(
    run: RunFolder,
    spec: TrainingSpec,
    tuned: AdaptedModel,
    data: TrainingData,
    job: JobContext,
    ranks: ProcessGroup,
) -> TrainingSetup:
    """Build the objects of a step; raises ProblemError when the recipe isn't available here.

    The model isn't wrapped for several ranks; `devices/ranks.py` explains why.
    """
    scaling = LossScaling(tuned.base.device, tuned.base.dtype)
    optimizer = optimizers.create_optimizer(spec, tuned.model)
    # The noise of NEFTune depends on the length of the row.
    sharing = TASKS[data.task].writes_rollouts and not spec.neftune_alpha
    rows = spec.count_steps(len(data.training)) * spec.effective_batch
    rows = min(rows, math.ceil(spec.epochs * len(data.training)))
    tokens = round(rows * data.training.lengths.mean() / ranks.world_size)
    scorer = kernel_choice.create_scorer(
        run, spec, tuned, job, ranks, sharing=sharing, tokens=tokens
    )
    if spec.neftune_alpha:
        neftune.add_embedding_noise(scorer, spec.neftune_alpha)
    counts = tuple(data.ready.labels.values())
    objective = objectives.create_objective(spec, data.task, scorer, ranks, counts)
    # Other objectives need both answers of a pair, or each answer beside those of its micro-batch.
    is_divisible = isinstance(objective, objectives.Sft)
    batches = plan_batches(data.training, spec, scorer, ranks, divisible=is_divisible)
    scheduler = schedules.create_scheduler(spec, optimizer, batches.total_steps)
    return TrainingSetup(batches, scorer, objective, scaling, optimizer, scheduler)


def plan_batches(
    rows: TrainingRows,
    spec: TrainingSpec,
    scorer: Scorer,
    ranks: ProcessGroup,
    *,
    divisible: bool,
) -> StepBatches:
    """Return the micro-batches that all ranks divide, also where one of them can't pack rows.

    `divisible`: the rows of a micro-batch don't depend on one another.
    """
    is_padded = ranks.is_true_on_any(not scorer.packed)
    has_all_logits = ranks.is_true_on_any(not scorer.chunked)
    can_fill = divisible and not (is_padded or has_all_logits)
    return StepBatches(rows, spec, padded=is_padded, fill=can_fill)
