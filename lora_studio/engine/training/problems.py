"""Problems of a training that can't start, continue or save."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lora_studio.core.messages import Text, counted, text
from lora_studio.core.problems import Fix, Problem, ProblemError, Where, error, fail, warning


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


def restart_required_error(reason: Text) -> ProblemError:
    """Return the error that ends this process so that a new one resumes with less memory.

    With sharded weights the other ranks wait inside a block and can't be called back;
    `client/oom_supervisor.py` restarts the training.
    """
    return fail(
        "worker.out_of_memory",
        "{reason} With sharded weights, training has to restart from its last checkpoint.",
        "Resume with a smaller micro-batch, shorter rows, or gradient checkpointing.",
        where=Where(step="training", field="micro_batch"),
        reason=reason,
    )


def memory_exhausted_error(
    reason: Text, lengths: Sequence[int] | np.ndarray, precision: str
) -> ProblemError:
    """Return the error for running out of memory at the lowest level, with the cheapest remedy.

    `lengths` are those of the training rows in tokens.
    """
    rows = np.asarray(lengths)
    longest, percentile_95 = int(rows.max()), int(np.percentile(rows, 95))
    limit = max(64, -(-percentile_95 // 8) * 8)
    what = text(
        "{reason} Even with gradient checkpointing, a single row doesn't fit.", reason=reason
    )
    if longest >= 1.5 * limit:
        return ProblemError(_cut_long_rows(what, rows, longest, percentile_95, limit))
    if precision != "4bit":
        return fail(
            "device.out_of_memory",
            what,
            "Use 4-bit weights: they take a quarter of the memory of 16-bit ones. Closing other "
            "programs that use the device helps too.",
            where=Where(step="model", field="precision"),
            fix=Fix(label=text("4-bit weights"), step="model", field="precision", value="4bit"),
        )
    return fail(
        "device.out_of_memory",
        what,
        "Close other programs that use the device, choose a smaller model, or lower the maximum "
        "sequence length below {longest} tokens.",
        where=Where(step="model", field="source"),
        longest=longest,
    )


def _cut_long_rows(what: Text, rows: np.ndarray, longest: int, usual: int, limit: int) -> Problem:
    return error(
        "device.out_of_memory",
        what,
        "The longest row has {longest} tokens, but 95 % of the rows have at most {usual}. Lower the "
        "maximum sequence length to {limit} tokens: this cuts {rows}. Earlier checkpoints are kept.",
        where=Where(step="dataset", field="max_length"),
        fix=Fix(
            label=text("Limit rows to {limit} tokens", limit=limit),
            step="dataset",
            field="max_length",
            value=limit,
        ),
        longest=longest,
        usual=usual,
        limit=limit,
        rows=counted(int((rows > limit).sum()), "{n} row", "{n} rows"),
    )


def checkpoint_memory_warning(reason: Text, step: int, saved_step: int) -> Problem:
    """Return the warning for a checkpoint that couldn't be saved; `saved_step` is 0 if there is none."""
    return warning(
        "training.no_memory_for_checkpoint",
        "The checkpoint of step {step:d} couldn't be saved: {reason}",
        "If training is interrupted before the next checkpoint, it resumes from step {saved_step:d}. "
        "Closing other programs helps."
        if saved_step
        else "If training is interrupted before the next checkpoint, it starts from the beginning. "
        "Closing other programs helps.",
        where=Where(step="training", field="save_every"),
        step=step,
        reason=reason,
        saved_step=saved_step,
    )


def best_adapter_memory_warning(step: int) -> Problem:
    """Return the warning for the adapter of the best evaluation that couldn't be saved."""
    return warning(
        "training.no_memory_for_best",
        "There wasn't enough memory to save the adapter of step {step:d}, the best so far.",
        "Training continues. Unless a later evaluation is better, the last adapter is kept.",
        where=Where(step="training", field="keep_best"),
        step=step,
    )


def samples_memory_warning() -> Problem:
    """Return the warning for sample answers that were left out."""
    return warning(
        "training.no_memory_for_samples",
        "There wasn't enough memory to generate sample answers.",
        "Training continues without them. Fewer prompts or tokens need less memory.",
        where=Where(step="training", field="sample_rows"),
    )
