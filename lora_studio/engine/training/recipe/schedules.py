"""Learning rate schedules: those of transformers, and a plateau with warmup.

Two of transformers' are left out: "greedy" follows the loss of single steps, which depends mostly on
their rows, and "cosine_warmup_with_min_lr" differs from the one without "warmup" in its first steps only.
"""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from transformers import get_scheduler

from lora_studio.core.training.spec import TrainingSpec

#: Plateau schedule: evaluations without a lower loss to wait for, and the factor for the rate.
_PATIENCE = 1
_FACTOR = 0.5


def create_scheduler(spec: TrainingSpec, optimizer: Optimizer, steps: int) -> LRScheduler:
    """Return torch's scheduler for a training of `steps` steps; call its `step` after each one.

    A schedule-free optimizer gets a constant rate after warmup, whatever the recipe says.
    """
    warmup = spec.count_warmup_steps(steps)
    if get_scheduler_name(spec) == "reduce_on_plateau":
        return WarmupPlateau(optimizer, warmup, spec.lowest_rate)
    return get_scheduler(
        get_scheduler_name(spec),
        optimizer,
        num_warmup_steps=warmup,
        num_training_steps=steps,
        scheduler_specific_kwargs=scheduler_kwargs(spec, steps, warmup),
    )


def report_evaluation(scheduler: LRScheduler, loss: float) -> None:
    """Pass a validation loss to the scheduler, if it is one that depends on it."""
    if isinstance(scheduler, WarmupPlateau):
        scheduler.report_evaluation(loss)


def get_scheduler_name(spec: TrainingSpec) -> str:
    """Return transformers' name of the schedule; "reduce_on_plateau" is our own."""
    is_constant = spec.schedule_free or spec.schedule == "constant"
    return "constant_with_warmup" if is_constant else spec.schedule


def scheduler_kwargs(spec: TrainingSpec, steps: int, warmup: int) -> dict[str, Any]:
    """Return transformers' `scheduler_specific_kwargs`."""
    match get_scheduler_name(spec):
        case "cosine_with_restarts":
            return {"num_cycles": spec.schedule_cycles}
        case "cosine_with_min_lr":
            return {"min_lr_rate": spec.lowest_rate}
        case "polynomial":
            return {"lr_end": spec.lowest_rate * spec.learning_rate, "power": spec.schedule_power}
        case "warmup_stable_decay":
            decay = min(round(spec.decay_share * steps), steps - warmup)
            return {"num_decay_steps": decay, "min_lr_ratio": spec.lowest_rate}
    return {}


class WarmupPlateau(ReduceLROnPlateau):
    """Halves the rate when two evaluations in a row don't lower the loss, after a warmup."""

    def __init__(self, optimizer: Optimizer, warmup: int, lowest: float) -> None:
        """Take the warmup in steps, and the minimum rate as a share of the initial one."""
        self.base = [group["lr"] for group in optimizer.param_groups]
        self.warmup, self.done = warmup, 0
        super().__init__(
            optimizer,
            factor=_FACTOR,
            patience=_PATIENCE,
            min_lr=[lowest * rate for rate in self.base],
        )
        self._apply_warmup()

    def step(self, metrics: Any = None, epoch: int | None = None) -> None:  # type: ignore[override]  # each step, as other schedules
        """Continue the warmup after an optimizer step."""
        self.done += 1
        self._apply_warmup()

    def report_evaluation(self, loss: float) -> None:
        """Halve the rate if the loss has stopped falling; evaluations in the warmup don't count."""
        if self.done >= self.warmup:
            super().step(loss)

    def _apply_warmup(self) -> None:
        if self.done <= self.warmup and self.warmup:
            for group, rate in zip(self.optimizer.param_groups, self.base, strict=True):
                group["lr"] = rate * self.done / self.warmup
            self._last_lr = [group["lr"] for group in self.optimizer.param_groups]
