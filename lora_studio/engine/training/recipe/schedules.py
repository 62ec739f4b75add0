"""How the learning rate goes over a training: transformers' schedules, and a plateau with warm-up.

Two of transformers' are left out: "greedy" steers by the loss of single steps, which is mostly their
rows, and "cosine_warmup_with_min_lr" differs from the one without "warmup" in its first steps alone.
"""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from transformers import get_scheduler

from lora_studio.core.training.spec import TrainingSpec

#: On a plateau: evaluations without a lower loss that are borne, and what the rate is multiplied by.
_PATIENCE = 1
_FACTOR = 0.5


def make(spec: TrainingSpec, optimizer: Optimizer, steps: int) -> Any:
    """The schedule of a training of that many steps: a scheduler of torch, stepped after each one.

    A schedule-free optimizer gets a rate that stays once it is warm, whatever the recipe says.
    """
    warmup = spec.warmup(steps)
    if name(spec) == "reduce_on_plateau":
        return Plateau(optimizer, warmup, spec.lowest_rate)
    return get_scheduler(
        name(spec),
        optimizer,
        num_warmup_steps=warmup,
        num_training_steps=steps,
        scheduler_specific_kwargs=details(spec, steps, warmup),
    )


def evaluated(schedule: Any, loss: float) -> None:
    """Tells the schedule an eval loss, if it is of the kind that wants to know."""
    if isinstance(schedule, Plateau):
        schedule.evaluated(loss)


def name(spec: TrainingSpec) -> str:
    """What transformers calls the schedule; a plateau is not one of its own."""
    is_constant = spec.schedule_free or spec.schedule == "constant"
    return "constant_with_warmup" if is_constant else spec.schedule


def details(spec: TrainingSpec, steps: int, warmup: int) -> dict[str, Any]:
    """What transformers has to be told of a schedule beside its name and the numbers of steps."""
    match name(spec):
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


class Plateau(ReduceLROnPlateau):
    """A rate that halves when two evaluations in a row bring no lower loss, after a warm-up."""

    def __init__(self, optimizer: Optimizer, warmup: int, lowest: float) -> None:
        """`warmup` in steps; `lowest` is the share of a rate below which it is not halved."""
        self.base = [group["lr"] for group in optimizer.param_groups]
        self.warmup, self.done = warmup, 0
        super().__init__(
            optimizer,
            factor=_FACTOR,
            patience=_PATIENCE,
            min_lr=[lowest * rate for rate in self.base],
        )
        self._warm()

    def step(self, metrics: Any = None, epoch: int | None = None) -> None:  # type: ignore[override]  # each step, as other schedules
        """After each optimizer step."""
        self.done += 1
        self._warm()

    def evaluated(self, loss: float) -> None:
        """After each evaluation; those of the warm-up do not count."""
        if self.done >= self.warmup:
            super().step(loss)

    def _warm(self) -> None:
        if self.done <= self.warmup and self.warmup:
            for group, rate in zip(self.optimizer.param_groups, self.base, strict=True):
                group["lr"] = rate * self.done / self.warmup
            self._last_lr = [group["lr"] for group in self.optimizer.param_groups]
