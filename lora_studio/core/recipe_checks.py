"""What of a recipe cannot work, or hardly ever does: said at the field, with a way out."""

from __future__ import annotations

from lora_studio.core import optimizers
from lora_studio.core.model import ModelSpec
from lora_studio.core.problems import Fix, Problem, Where
from lora_studio.core.training import TrainingSpec


def check(spec: TrainingSpec) -> list[Problem]:
    """What can be seen from the recipe alone."""
    return _check_rate(spec)


def check_on(model: ModelSpec, spec: TrainingSpec) -> list[Problem]:
    """What the chosen device rules out."""
    reason = optimizers.why_not(spec.optimizer, model.device)
    return [optimizer_not_available(reason)] if reason else []


def optimizer_not_available(reason: str) -> Problem:
    """The problem of an optimizer that cannot be used here; `reason` is a sentence."""
    return Problem(
        code="training.optimizer_not_available",
        what=reason,
        remedy="Choose AdamW, which every device has.",
        where=Where(step="training", field="optimizer"),
        fix=Fix(label="Use AdamW", step="training", field="optimizer", value="adamw"),
    )


def _check_rate(spec: TrainingSpec) -> list[Problem]:
    about = optimizers.OPTIMIZERS[spec.optimizer]
    rate = spec.learning_rate
    if about.lowest <= rate <= about.highest:
        return []
    name = "" if spec.optimizer == "adamw" else f" with {about.title}"
    if rate > about.highest:
        code, what = "training.learning_rate_high", f"usually makes LoRA diverge{name}"
    else:
        code, what = "training.learning_rate_low", f"hardly moves anything{name}"
    return [
        Problem(
            code=code,
            what=f"A learning rate of {rate:g} {what}.",
            remedy=f"{about.usual:g} is usual.",
            where=Where(step="training", field="learning_rate"),
            severity="warning",
            fix=Fix(
                label=f"Use {about.usual:g}",
                step="training",
                field="learning_rate",
                value=about.usual,
            ),
        )
    ]
