"""What of a recipe cannot work, or hardly ever does: said at the field, with a way out."""

from __future__ import annotations

from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Fix, Problem, Where
from lora_studio.core.training import optimizers
from lora_studio.core.training.spec import TrainingSpec


def check(spec: TrainingSpec) -> list[Problem]:
    """What can be seen from the recipe alone."""
    return [*_check_rate(spec), *_check_cadence(spec)]


def check_with(data: DatasetSpec, spec: TrainingSpec) -> list[Problem]:
    """What takes validation rows where there are none."""
    if data.validation_share or data.validation_count or data.validation_file:
        return []
    fix = Fix(
        label="Keep 5 % of the rows for validation",
        step="dataset",
        field="validation_share",
        value=0.05,
    )
    wanted = {
        "early_stopping": ("Early stopping", spec.early_stopping > 0),
        "schedule": (
            "Halving the learning rate on a plateau",
            spec.schedule == "reduce_on_plateau" and not spec.schedule_free,
        ),
    }
    return [
        Problem(
            code="training.needs_validation",
            what=f"{name} goes by eval loss, and no rows are kept for validation.",
            remedy="Keep some rows of the dataset for validation, or do without.",
            where=Where(step="training", field=field),
            fix=fix,
        )
        for field, (name, asked) in wanted.items()
        if asked
    ]


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


def _check_cadence(spec: TrainingSpec) -> list[Problem]:
    """Intervals of more epochs than there are, as after a change from steps to epochs."""
    if spec.cadence == "steps":
        return []
    return [
        Problem(
            code="training.interval_too_long",
            what=f"{what} every {every:g} epochs never comes in {spec.epochs:g}.",
            remedy="Choose fewer epochs, or count in steps.",
            where=Where(step="training", field=field),
            severity="warning",
            fix=Fix(label="Every epoch", step="training", field=field, value=1.0),
        )
        for field, what, every in (
            ("eval_every", "An evaluation", spec.eval_every),
            ("save_every", "A checkpoint", spec.save_every),
        )
        if every > spec.epochs
    ]


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
