"""Judge the mean rewards of a reward training, whose loss stays near zero however well it goes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lora_studio.core.curves.verdict import Kind, Point, TrainingVerdict, average_ends, fit_trend
from lora_studio.core.messages import Text, counted, text

#: Training steps with a mean reward that are needed to judge a trend.
_ENOUGH_STEPS = 8


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
                    "Raise the learning rate, train longer, or use prompts that the model sometimes answers well."
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
