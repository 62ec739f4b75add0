"""Judge a training during it and after it: the finding in one sentence, what to do next, and fixes."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.messages import Text, counted, text
from lora_studio.core.problems import Fix
from lora_studio.core.project.presets import scale_alpha
from lora_studio.core.protocol import events
from lora_studio.core.protocol.training import has_rewards
from lora_studio.core.training.optimizers import OPTIMIZERS
from lora_studio.core.training.spec import TrainingSpec

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
_FELL: dict[Curve, str] = {
    "training": "Training loss fell {first:loss} → {last:loss}.",
    "eval": "Eval loss fell {first:loss} → {last:loss}.",
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
    drop exceeds half the average drop. Improved: everything else; it leveled off only where a further
    fall of 4 % is outside of the noise, or the last of three evaluations is within 2 % of the one before.
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
    is_level = len(evaluations) > 2 and abs(drop) <= _NOTICEABLE * last
    return _improvement_verdict("eval", first, last, is_level=is_level)


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
    tail = losses[-max(_ENOUGH_STEPS, len(losses) // 3) :]
    if len({step for step, _ in tail}) < 3:
        return _improvement_verdict("training", first, last, is_level=False)
    slope, error = fit_trend(tail)
    span, mean = tail[-1][0] - tail[0][0], statistics.fmean(loss for _, loss in tail)
    if -slope * span > _NOTICEABLE * mean and -slope > 2 * error:
        return _still_falling_verdict("training", first, last)
    is_level = (2 * error - slope) * span <= 2 * _NOTICEABLE * mean
    return _improvement_verdict("training", first, last, is_level=is_level)


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


def _improvement_verdict(
    curve: Curve, first: float, last: float, *, is_level: bool
) -> TrainingVerdict:
    return TrainingVerdict(
        "improved",
        text((_LEVELED_OFF if is_level else _FELL)[curve], first=first, last=last),
        text("Continue with the next step."),
    )


def judge_rewards(rewards: Sequence[Point], evaluations: Sequence[Point] = ()) -> TrainingVerdict:
    """Judge the mean reward of the answers of each step; `evaluations` are those of validation prompts.

    Rewards have no scale of their own, so a trend counts where the least-squares line rises or falls by more
    than twice its standard error. Still rising: the last third does so by itself.
    """
    known = [(step, value) for step, value in rewards if math.isfinite(value)]
    if len(known) < _ENOUGH_STEPS:
        return TrainingVerdict(
            "too_short",
            counted(
                len(known),
                "One step with rewards is too few to judge them.",
                "{n} steps with rewards are too few to judge them.",
            ),
            text("Train longer, or compare the model with the base model on Evaluate."),
        )
    first, last = average_ends([value for _, value in known])
    direction = _get_direction(known)
    if (last - first) * direction <= 0:
        kind: Kind = "not_learning"
    elif direction < 0:
        kind = "diverged"
    else:
        is_rising = _get_direction(known[-max(_ENOUGH_STEPS, len(known) // 3) :]) > 0
        kind = "still_falling" if is_rising else "improved"
    finding, advice = _explain(kind, first, last)
    return _make_verdict(kind, finding, advice, evaluations)


def _explain(kind: Kind, first: float, last: float) -> tuple[Text, Text]:
    """Return what a trend shows, and what to do next."""
    ends = {"first": first, "last": last}
    match kind:
        case "diverged":
            return (
                text("Mean reward fell {first:loss} → {last:loss}.", **ends),
                text("Divide the learning rate by three or raise the KL weight, then train again."),
            )
        case "not_learning":
            return (
                text("Mean reward hardly changed ({first:loss} → {last:loss}).", **ends),
                text(
                    "Raise the learning rate, train longer, or use prompts that the model sometimes completes well."
                ),
            )
        case "still_falling":
            return (
                text("Mean reward rose {first:loss} → {last:loss} and was still rising.", **ends),
                text("Train longer to improve it further, or continue with this adapter."),
            )
    return (
        text("Mean reward rose {first:loss} → {last:loss} and leveled off.", **ends),
        text("Continue with the next step."),
    )


def _get_direction(points: Sequence[Point]) -> int:
    """Return 1 for a significant rise, -1 for a significant fall, else 0."""
    slope, error = fit_trend(points)
    if abs(slope) <= 2 * error:
        return 0
    return 1 if slope > 0 else -1


def _make_verdict(
    kind: Kind, finding: Text, advice: Text, evaluations: Sequence[Point]
) -> TrainingVerdict:
    """Return a verdict that also says what the evaluations show."""
    known = [value for _, value in evaluations if math.isfinite(value)]
    if len(known) >= 2:
        finding = text(
            "{finding} On validation prompts: {first:loss} → {last:loss}.",
            finding=finding,
            first=known[0],
            last=known[-1],
        )
    return TrainingVerdict(kind, finding, advice)


#: Half-life of the smoothed loss, in steps.
_HALF_LIFE = 10
#: Steps that are averaged for the initial loss, and steps needed before a rise counts.
_FIRST, _ENOUGH = 5, 20
#: Steps, and share of the plan, after which a flat loss can't be explained by warmup.
_FLAT_STEPS, _FLAT_SHARE = 50, 0.3
#: Consecutive steps with a zero gradient. A single one can be a batch that the model has memorized.
_ZEROES = 5


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
            return divergence_verdict(text("The loss is NaN or infinite."))
        if self.has_rewards:
            return None
        if self._zeroes >= _ZEROES:
            return zero_gradient_verdict()
        return self._diverging() or self._overfitting() or self._not_learning()

    def _on_step(self, event: events.StepDone) -> None:
        self._planned = event.steps
        self._steps += 1
        self.has_rewards = has_rewards(event.metrics)
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
        return divergence_verdict(
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
        return overfitting_verdict(best_step, best, last[-1])

    def _not_learning(self) -> TrainingVerdict | None:
        if self._steps < max(_FLAT_STEPS, _FLAT_SHARE * self._planned):
            return None
        began = sum(self._first) / len(self._first)
        if self._smooth < began * (1 - _NOTICEABLE):
            return None
        return not_learning_verdict("training", began, self._smooth)


#: Advice doubles only ranks below the first, and suggests none below the second.
_HIGHEST_RANK, _LOWEST_RANK = 128, 8


@dataclass(frozen=True)
class RecipeFacts:
    """The settings that a training ran with; `steps_per_epoch` in optimizer steps."""

    training: TrainingSpec
    lora: LoraSpec
    steps_per_epoch: float = 1.0


def suggest_fixes(verdict: TrainingVerdict, recipe: RecipeFacts) -> list[Fix]:
    """Return the changes that a verdict calls for, those most likely to help first; [] if all is
    well.
    """
    match verdict.kind:
        case "diverged":
            return list(_suggest_lower_rates(recipe.training))
        case "overfitting":
            return list(_suggest_less_training(verdict, recipe))
        case "not_learning":
            return list(_suggest_more_capacity(recipe))
        case "zero_gradient":
            return list(_suggest_wider_adapter(recipe.lora))
        case "still_falling":
            return [_suggest_more_epochs(recipe.training)]
    return []


def _suggest_lower_rates(training: TrainingSpec) -> Iterator[Fix]:
    yield _suggest_rate(training.learning_rate / 3)
    if training.max_grad_norm == 0 or training.max_grad_norm > 1:
        yield _suggest_value(text("Clip gradients at {value}", value=1), "max_grad_norm", 1.0)
    if training.warmup_steps == 0 and training.warmup_share < 0.1:
        yield _suggest_value(text("Warm up over 10 % of the steps"), "warmup_share", 0.1)


def _suggest_less_training(verdict: TrainingVerdict, recipe: RecipeFacts) -> Iterator[Fix]:
    training, lora = recipe.training, recipe.lora
    # Round to half epochs: the exact turning point of the curve is mostly noise.
    epochs = max(0.5, round(2 * verdict.best_step / recipe.steps_per_epoch) / 2)
    if epochs < training.epochs:
        yield _suggest_value(_format_epochs(epochs), "epochs", epochs)
    if lora.dropout < 0.1:
        yield Fix(label=text("Dropout {value}", value=0.1), step="lora", field="dropout", value=0.1)
    if lora.rank > _LOWEST_RANK:
        yield _suggest_rank(lora, max(_LOWEST_RANK, lora.rank // 2))
    if not training.keep_best:
        yield _suggest_value(text("Keep the best adapter"), "keep_best", True)


def _suggest_more_capacity(recipe: RecipeFacts) -> Iterator[Fix]:
    training = recipe.training
    about = OPTIMIZERS[training.optimizer]
    rate = max(3 * training.learning_rate, about.lowest)
    if rate <= about.highest / 2:
        yield _suggest_rate(rate)
    yield from _suggest_wider_adapter(recipe.lora)
    if recipe.lora.rank < _HIGHEST_RANK:
        yield _suggest_rank(recipe.lora, 2 * recipe.lora.rank)


def _suggest_wider_adapter(lora: LoraSpec) -> Iterator[Fix]:
    if lora.targets != "all_linear":
        yield Fix(
            label=text("Adapt all linear layers"), step="lora", field="targets", value="all_linear"
        )
    if lora.blocks:
        yield Fix(label=text("Adapt all blocks"), step="lora", field="blocks", value="")


def _suggest_more_epochs(training: TrainingSpec) -> Fix:
    if training.max_steps:
        steps = 2 * training.max_steps
        return _suggest_value(
            counted(steps, "Train for {n} step", "Train for {n} steps"), "max_steps", steps
        )
    epochs = min(1000.0, 2 * training.epochs)
    return _suggest_value(_format_epochs(epochs), "epochs", epochs)


def _suggest_rate(rate: float) -> Fix:
    value = float(f"{rate:.1g}")
    return _suggest_value(text("Learning rate {value:small}", value=value), "learning_rate", value)


def _suggest_rank(lora: LoraSpec, rank: int) -> Fix:
    """Return a change of the rank that keeps the ratio of alpha to rank."""
    alpha = scale_alpha(lora.alpha, lora.rank, rank)
    return Fix(
        label=text("Rank {rank}", rank=rank),
        step="lora",
        field="rank",
        value=rank,
        also=(("lora", "alpha", alpha),),
    )


def _format_epochs(epochs: float) -> Text:
    if epochs == 1:
        return text("Train for 1 epoch")
    return text("Train for {epochs} epochs", epochs=epochs)


def _suggest_value(label: Text, field: str, value: object) -> Fix:
    return Fix(label=label, step="training", field=field, value=value)
