"""Problems of self-tests that don't stop them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lora_studio.core.problems import Problem, Where, warning


@dataclass(frozen=True)
class MergedLoss:
    """Mean loss of answer tokens as trained and as merged, and how both agree: top-1, KL divergence in nats."""

    trained: float
    merged: float
    top1: float
    kl: float


def other_precision_problem(loss: MergedLoss, precision: str) -> Problem:
    """Return the warning for a run that was trained on rounded weights and merged into those before."""
    return warning(
        "selftest.other_precision",
        "The adapter was trained on rounded weights of the base model ({precision}) and merged into those before "
        "rounding. The loss of the answers changes from {trained:.3f} to {merged:.3f}; the top-1 agreement is "
        "{top1:percent}, the KL divergence {kl:.2g} nats.",
        "If that is too much, train in 16 bits, or on a model that is stored in 4 bits: merged into that, the weights "
        "stay as they were in training.",
        where=Where(step="merging", field="base"),
        precision=precision,
        trained=loss.trained,
        merged=loss.merged,
        top1=loss.top1,
        kl=loss.kl,
    )


def no_conversations_problem() -> Problem:
    """Return the warning for a run without held-out conversations."""
    return warning(
        "selftest.no_conversations",
        "No conversations were held out of training, so there is nothing to test on.",
        "Set a validation share on the Dataset page and train again.",
        where=Where(step="dataset", field="validation_share"),
    )


def missing_file_problem(file: Path, quantization: str) -> Problem:
    """Return the warning for an exported file that can't be tested because it is missing."""
    return warning(
        "selftest.file_missing",
        "{file} is missing, so it isn't tested.",
        "If you need it, export the run again with {quantization}.",
        where=Where(step="export", file=str(file)),
        file=file.name,
        quantization=quantization,
    )


def missing_model_problem(folder: Path) -> Problem:
    """Return the warning for a merged model that can't be tested because it is missing."""
    return warning(
        "selftest.merged_missing",
        "The merged model is missing, so it isn't tested.",
        "If you need it, merge the run again.",
        where=Where(step="merging", file=str(folder)),
    )
