"""When a training is evaluated."""

from __future__ import annotations

from bisect import bisect_left

from lora_studio.core.training.spec import TrainingSpec


class EvaluationSchedule:
    """The steps after which a training is evaluated: every so many, and the last one."""

    def __init__(self, total_steps: int, every: float) -> None:
        """Evaluate never if `every` is 0."""
        steps = range(1, total_steps + 1) if every else ()
        self._due = [step for step in steps if step % every == 0 or step == total_steps]

    def is_due(self, step: int) -> bool:
        """Return whether an evaluation follows a step."""
        return self.count_from(step) > self.count_from(step + 1)

    def count_from(self, step: int) -> int:
        """Return the number of evaluations after this step and later ones."""
        return len(self._due) - bisect_left(self._due, step)


def schedule_evaluations(
    spec: TrainingSpec, total_steps: int, steps_per_epoch: float, *, has_rows: bool
) -> EvaluationSchedule:
    """Return when to evaluate: never without validation rows and sample prompts."""
    if not (has_rows or spec.sample_prompts):
        return EvaluationSchedule(total_steps, 0)
    every = spec.count_steps_between(spec.eval_every, steps_per_epoch) or steps_per_epoch
    return EvaluationSchedule(total_steps, every)
