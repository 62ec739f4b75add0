"""Judge a training while it runs, early enough to act on the verdict."""

from __future__ import annotations

import math

from lora_studio.core.curves import verdict
from lora_studio.core.curves.verdict import Point, TrainingVerdict
from lora_studio.core.messages import text
from lora_studio.core.protocol import events
from lora_studio.core.protocol.training import has_rewards

#: Half-life of the smoothed loss, in steps.
_HALF_LIFE = 10
#: Steps that are averaged for the initial loss, and steps needed before a rise counts.
_FIRST, _ENOUGH = 5, 20
#: Steps, and share of the plan, after which a flat loss can't be explained by warmup.
_FLAT_STEPS, _FLAT_SHARE = 50, 0.3
#: Consecutive steps with a zero gradient. A single one can be a batch that the model has memorized.
_ZEROES = 5
#: Relative changes of the loss below this are ignored.
_NOTICEABLE = 0.02


class TrainingMonitor:
    """Follows the events of a training, at constant cost per event, and judges whether something is
    wrong.

    Diverging: the loss is not finite, or its smoothed value is half above its lowest and a quarter of
    the way back to its initial value. Zero gradient: five steps in a row. Overfitting: the last two
    evaluations are noticeably above the best. Not learning: less than 2 % lower after 50 steps and 30 %
    of the plan. With rewards, the loss of a step stays near zero however well training goes, so only a loss
    that isn't finite is judged.
    """

    def __init__(self) -> None:
        """Start without findings."""
        self._first: list[float] = []
        self._smooth = self._lowest = self._weight = 0.0
        self._steps = self._planned = self._zeroes = 0
        self._is_finite = True
        self.has_rewards = False
        self._evaluations: list[Point] = []

    def on_event(self, event: object) -> None:
        """Follow one event of the run."""
        match event:
            case events.StepDone():
                self._on_step(event)
            case events.Evaluated():
                # A resumed training repeats the steps after its checkpoint.
                earlier = [point for point in self._evaluations if point[0] < event.step]
                self._evaluations = [*earlier, (event.step, event.loss)]

    def get_verdict(self) -> TrainingVerdict | None:
        """Return what is currently wrong, or None."""
        if not self._is_finite:
            return verdict.divergence_verdict(text("The loss is NaN or infinite."))
        if self.has_rewards:
            return None
        if self._zeroes >= _ZEROES:
            return verdict.zero_gradient_verdict()
        return self._diverging() or self._overfitting() or self._not_learning()

    def _on_step(self, event: events.StepDone) -> None:
        self._planned = event.steps
        self._steps += 1
        self.has_rewards = has_rewards(event.figures)
        self._is_finite = math.isfinite(event.loss)
        self._zeroes = self._zeroes + 1 if event.grad_norm == 0 else 0
        if not self._is_finite:
            return
        if len(self._first) < _FIRST:
            self._first.append(event.loss)
        decay = 0.5 ** (1 / _HALF_LIFE)
        self._weight = decay * self._weight + 1 - decay
        self._smooth += (1 - decay) / self._weight * (event.loss - self._smooth)
        if self._steps <= _FIRST or self._smooth < self._lowest:
            self._lowest = self._smooth

    def _diverging(self) -> TrainingVerdict | None:
        if self._steps < _ENOUGH:
            return None
        began = sum(self._first) / len(self._first)
        threshold = self._lowest + 0.25 * (began - self._lowest)
        if self._smooth <= max(1.5 * self._lowest, threshold):
            return None
        return verdict.divergence_verdict(
            text(
                "The loss is rising: from {lowest:loss} to {current:loss}.",
                lowest=self._lowest,
                current=self._smooth,
            )
        )

    def _overfitting(self) -> TrainingVerdict | None:
        if len(self._evaluations) < 3:
            return None
        best_step, best = min(self._evaluations, key=lambda point: point[1])
        last = [loss for _, loss in self._evaluations[-2:]]
        if not all(loss > best * (1 + _NOTICEABLE) for loss in last):
            return None
        return verdict.overfitting_verdict(best_step, best, last[-1])

    def _not_learning(self) -> TrainingVerdict | None:
        if self._steps < max(_FLAT_STEPS, _FLAT_SHARE * self._planned):
            return None
        began = sum(self._first) / len(self._first)
        if self._smooth < began * (1 - _NOTICEABLE):
            return None
        return verdict.not_learning_verdict("training", began, self._smooth)
