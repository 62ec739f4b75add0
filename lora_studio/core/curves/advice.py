"""Suggest setting changes for a training verdict, as fixes that the user can apply with one click."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lora_studio.core.curves.verdict import TrainingVerdict
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.messages import Text, counted, text
from lora_studio.core.problems import Fix
from lora_studio.core.project.presets import scale_alpha
from lora_studio.core.training.optimizers import OPTIMIZERS
from lora_studio.core.training.spec import TrainingSpec

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
