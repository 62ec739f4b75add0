"""Judge the loss curves of a training: the finding in one sentence, and what to do next."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lora_studio.core.messages import Text, counted, text

Kind = Literal[
    "too_short", "diverged", "zero_gradient", "not_learning", "overfitting", "still_falling", "improved",
]  # fmt: skip
Point = tuple[int, float]  # step, loss in nats per trained token
Curve = Literal["training", "eval"]

_HARDLY_MOVED: dict[Curve, str] = {
    "training": "Training loss hardly changed ({first:loss} → {last:loss}).",
    "eval": "Eval loss hardly changed ({first:loss} → {last:loss}).",
}
_STILL_FALLING: dict[Curve, str] = {
    "training": "Training loss fell {first:loss} → {last:loss} and was still falling.",
    "eval": "Eval loss fell {first:loss} → {last:loss} and was still falling.",
}
_LEVELED_OFF: dict[Curve, str] = {
    "training": "Training loss fell {first:loss} → {last:loss} and leveled off.",
    "eval": "Eval loss fell {first:loss} → {last:loss} and leveled off.",
}

#: A relative change of the loss below this share is ignored.
_NOTICEABLE = 0.02
#: A single evaluation that lowers the loss by less than this share doesn't predict the next one.
_LEAST = 0.005
#: Training steps needed to judge a trend.
_ENOUGH_STEPS = 8


@dataclass(frozen=True)
class TrainingVerdict:
    """How a training went: `what` is the finding, `advice` what to do about it.

    `best_step` is the step with the lowest eval loss, set for overfitting only.
    """

    kind: Kind
    what: Text
    advice: Text
    best_step: int = 0

    @property
    def is_good(self) -> bool:
        """Whether the adapter can be used without changing the recipe."""
        return self.kind in ("improved", "still_falling")

    def __str__(self) -> str:
        """Return finding and advice as one paragraph."""
        return f"{self.what} {self.advice}".strip()


def judge(losses: Sequence[Point], evaluations: Sequence[Point] = ()) -> TrainingVerdict:
    """Judge the training losses, and the validation losses if there are at least two.

    Diverged: the loss is not finite, or ends more than half above its start. Overfitting: the last
    validation loss is noticeably above an earlier lowest one; if the lowest was the first
    evaluation, only if the training loss fell meanwhile. Not learning: less than 2 % lower at the
    end. Still falling: another 2 % lower over the last third of the steps (or the last evaluation),
    beyond the noise; with three or more evaluations, also if the last one is the best and the last
    drop exceeds half the average drop. Improved: everything else.
    """
    values = [loss for _, loss in losses]
    if not all(map(math.isfinite, [*values, *(loss for _, loss in evaluations)])):
        return divergence_verdict(text("The loss is NaN or infinite."))
    if len(losses) < _ENOUGH_STEPS and len(evaluations) < 2:
        return TrainingVerdict(
            "too_short",
            counted(
                len(losses),
                "One step is too few to judge the loss curve.",
                "{n} steps are too few to judge the loss curve.",
            ),
            text("Train longer, or try the adapter in the playground."),
        )
    if len(losses) >= _ENOUGH_STEPS:
        first, last = average_ends(values)
        if last > 1.5 * first:
            return divergence_verdict(
                text("The loss rose from {first:loss} to {last:loss}.", first=first, last=last)
            )
    if len(evaluations) >= 2:
        return _judge_evaluations(evaluations, fell=_has_fallen(values))
    return _judge_training(losses)


def _has_fallen(values: Sequence[float]) -> bool:
    """Return whether training losses ended noticeably below where they started."""
    if len(values) < _ENOUGH_STEPS:
        return False
    first, last = average_ends(values)
    return last < first * (1 - _NOTICEABLE)


def _judge_evaluations(evaluations: Sequence[Point], *, fell: bool) -> TrainingVerdict:
    first, last = evaluations[0][1], evaluations[-1][1]
    best_step, best = min(evaluations, key=lambda point: point[1])
    if last > best * (1 + _NOTICEABLE) and (best_step > evaluations[0][0] or fell):
        return overfitting_verdict(best_step, best, last)
    if last > first * (1 - _NOTICEABLE):
        return not_learning_verdict("eval", first, last)
    drop, mean = evaluations[-2][1] - last, (first - last) / (len(evaluations) - 1)
    steady = len(evaluations) > 2 and drop > mean / 2 and last == best
    if drop > evaluations[-2][1] * _NOTICEABLE or (steady and drop > last * _LEAST):
        return _still_falling_verdict("eval", first, last)
    return _improvement_verdict("eval", first, last)


def overfitting_verdict(best_step: int, best: float, last: float) -> TrainingVerdict:
    """Return the verdict for an eval loss that rises again after `best_step`."""
    return TrainingVerdict(
        "overfitting",
        text(
            "Eval loss was lowest at step {step} ({best:loss}) and has since risen to {last:loss}.",
            step=best_step,
            best=best,
            last=last,
        ),
        text("Train for fewer steps, raise the dropout, lower the rank, or add rows."),
        best_step,
    )


def _judge_training(losses: Sequence[Point]) -> TrainingVerdict:
    first, last = average_ends([loss for _, loss in losses])
    if last > first * (1 - _NOTICEABLE):
        return not_learning_verdict("training", first, last)
    if _is_falling(losses[-max(_ENOUGH_STEPS, len(losses) // 3) :]):
        return _still_falling_verdict("training", first, last)
    return _improvement_verdict("training", first, last)


def _is_falling(tail: Sequence[Point]) -> bool:
    """Return whether a line through the points falls by more than 2 % and twice its standard error."""
    steps = [float(step) for step, _ in tail]
    values = [loss for _, loss in tail]
    if len(set(steps)) < 3:
        return False
    slope, error = fit_trend(tail)
    drop = -slope * (steps[-1] - steps[0])
    return drop > _NOTICEABLE * statistics.fmean(values) and -slope > 2 * error


def fit_trend(points: Sequence[Point]) -> tuple[float, float]:
    """Return the slope of the least-squares line through at least 3 points, and its standard error."""
    steps = [float(step) for step, _ in points]
    values = [value for _, value in points]
    slope, intercept = statistics.linear_regression(steps, values)
    mean_step = statistics.fmean(steps)
    residual = sum(
        (value - slope * step - intercept) ** 2 for step, value in zip(steps, values, strict=True)
    )
    spread = sum((step - mean_step) ** 2 for step in steps)
    return slope, math.sqrt(residual / (len(steps) - 2) / spread)


def average_ends(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean values of the first and last 5 % of the steps, at least 3 steps each."""
    width = max(3, len(values) // 20)
    return statistics.fmean(values[:width]), statistics.fmean(values[-width:])


def divergence_verdict(what: Text) -> TrainingVerdict:
    """Return the verdict for a loss that has blown up, described by `what`."""
    advice = text("Divide the learning rate by three or use a longer warmup, then train again.")
    return TrainingVerdict("diverged", what, advice)


def not_learning_verdict(curve: Curve, first: float, last: float) -> TrainingVerdict:
    """Return the verdict for a loss that has hardly changed."""
    return TrainingVerdict(
        "not_learning",
        text(_HARDLY_MOVED[curve], first=first, last=last),
        text(
            "Raise the learning rate or the rank, adapt more layers, and check the colored tokens of "
            "a few rows."
        ),
    )


def zero_gradient_verdict() -> TrainingVerdict:
    """Return the verdict for a training whose steps don't change the weights."""
    return TrainingVerdict(
        "zero_gradient",
        text("The gradient is zero: the trainable parameters don't affect the loss."),
        text(
            "Adapt more layers, and check the colored tokens of a few rows: some of them must be "
            "trained."
        ),
    )


def _still_falling_verdict(curve: Curve, first: float, last: float) -> TrainingVerdict:
    return TrainingVerdict(
        "still_falling",
        text(_STILL_FALLING[curve], first=first, last=last),
        text("Train longer to improve it further, or continue with this adapter."),
    )


def _improvement_verdict(curve: Curve, first: float, last: float) -> TrainingVerdict:
    return TrainingVerdict(
        "improved",
        text(_LEVELED_OFF[curve], first=first, last=last),
        text("Continue with the next step."),
    )
