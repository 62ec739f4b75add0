"""Problems of a training that can't start, continue or save."""

from __future__ import annotations

import math
from pathlib import Path

from lora_studio.core.messages import Text, text
from lora_studio.core.problems import Problem, ProblemError, Where, fail, warning


def different_rows_error() -> ProblemError:
    """Return the error for processes that read different versions of the dataset."""
    return fail(
        "training.data_changed",
        "The training processes read different rows.",
        "Don't change the dataset's files while training starts, and start it again.",
        where=Where(step="dataset", field="sources"),
    )


def rows_changed_error() -> ProblemError:
    """Return the error for a checkpoint that was saved with other training rows."""
    return fail(
        "training.data_changed",
        "The training rows have changed since the checkpoint was saved.",
        "Restore the dataset, or start a new run.",
        where=Where(step="dataset", field="sources"),
    )


def checkpoint_mismatch_error(reason: Text | str, folder: str) -> ProblemError:
    """Return the error for a checkpoint whose weights don't fit the adapter."""
    return fail(
        "training.checkpoint_foreign",
        "The checkpoint doesn't match the adapter: {reason}.",
        "Use the engine version that the training started with, or start a new run.",
        where=Where(step="training", file=folder),
        reason=reason,
    )


def divergence_error(loss: float, step: int) -> ProblemError:
    """Return the error for a NaN or infinite loss, or gradient if the loss is finite."""
    if math.isfinite(loss):
        what = text(
            "The gradient is NaN or infinite in step {step:d}: training diverged.", step=step
        )
    elif math.isnan(loss):
        what = text("The loss is NaN in step {step:d}: training diverged.", step=step)
    else:
        what = text("The loss is infinite in step {step:d}: training diverged.", step=step)
    return fail(
        "training.diverged",
        what,
        "Lower the learning rate or lengthen the warmup. With float16 precision, bfloat16 helps too. "
        "Earlier checkpoints are kept.",
        where=Where(step="training", field="learning_rate"),
    )


def disk_pause_problem(problem: Problem, saved_step: int) -> Problem:
    """Return a full disk as the reason for a pause, with how to resume from step `saved_step`."""
    if problem.code == "disk.full":
        remedy = text(
            "Free up some space or move the project to a larger disk, then resume: training "
            "continues from step {step:d}.",
            step=saved_step,
        )
    else:
        remedy = text(
            "Move the project to a disk without that limit, or raise your account's limit on file "
            "sizes, then resume: training continues from step {step:d}.",
            step=saved_step,
        )
    return problem.model_copy(update={"remedy": remedy, "severity": "warning"})


def samples_not_finite_warning() -> Problem:
    """Return the warning for answers that were left out because their logits aren't finite."""
    return warning(
        "training.samples_not_finite",
        "No sample answers were generated: the model computed NaN or infinite values.",
        "Training continues without them. A model in float16 may need bfloat16.",
        where=Where(step="model", field="precision"),
    )


def script_not_written_warning(file: Path, reason: Text | str) -> Problem:
    """Return the warning for a train.py that couldn't be written."""
    return warning(
        "training.not_reproducible",
        "train.py, which repeats this training elsewhere, couldn't be written: {reason}.",
        "The training itself isn't affected.",
        where=Where(step="training", file=str(file)),
        reason=reason,
    )


def script_changed_warning(file: Path) -> Problem:
    """Return the warning for a file of the reproduction script that stays because it was changed."""
    return warning(
        "training.script_changed",
        "{file} has changed since the training wrote it. Your version is kept.",
        "If you didn't change it, it is damaged: delete it and resume the training, which writes it again.",
        where=Where(step="training", file=str(file)),
        file=file.name,
    )


def sharded_tokens_error() -> ProblemError:
    """Return the error for new tokens with weights that had to be sharded."""
    return fail(
        "training.sharded_tokens",
        "New tokens can't be trained while the weights are sharded across devices.",
        "Remove the new tokens, or replicate the weights.",
        where=Where(step="lora", field="new_tokens"),
    )
