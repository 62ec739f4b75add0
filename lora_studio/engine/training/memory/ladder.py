"""What training does when memory runs out: the same steps, with less of each in memory at a time."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import peft
import torch

from lora_studio.core import formatting
from lora_studio.core.problems import Fix, Problem, ProblemError, Where
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.runtime import failures


class MemoryPressureError(MemoryError):
    """The limit of this process's memory is so near that the next piece may end the process."""


@dataclass(frozen=True)
class MemoryLevel:
    """Rows computed at once, and whether activations are computed twice in place of being kept."""

    micro_batch: int
    recomputing: bool

    def accumulation(self, rows_per_step: int) -> int:
        """Micro-batches of a step; the last may be smaller, so that a step has all its rows."""
        return math.ceil(rows_per_step / self.micro_batch)

    def below(self, *, can_recompute: bool) -> MemoryLevel | None:
        """The next one down: half the rows, then recomputing; None where there is none."""
        if self.micro_batch > 1:
            return MemoryLevel(self.micro_batch // 2, self.recomputing)
        return MemoryLevel(1, True) if can_recompute and not self.recomputing else None


def first(spec: TrainingSpec, *noted: Any) -> MemoryLevel:
    """Where a training begins: at its recipe, or as low as it is `noted` to have gone before."""
    rungs = [MemoryLevel(spec.micro_batch, spec.gradient_checkpointing != "off")]
    for entry in noted:
        with contextlib.suppress(KeyError, TypeError, ValueError):
            rungs.append(MemoryLevel(max(1, int(entry["micro_batch"])), bool(entry["recomputing"])))
    return min(rungs, key=lambda rung: (rung.micro_batch, not rung.recomputing))


def tried(action: Callable[[], None]) -> str | None:
    """Does something; one sentence if memory ran out on the way, None if it was done.

    The exception is gone when this returns: it holds every tensor of the frames it passed.
    """
    try:
        action()
    except Exception as error:
        # What carries gradients between ranks may run out too, on one alone while the others wait.
        if isinstance(error, torch.distributed.DistError) or not failures.is_out_of_memory(error):
            raise
        return _sentence(error)
    return None


def tried_twice(action: Callable[[], None]) -> str | None:
    """The same, with a second try once everything is given back: a piece of memory may be missing for
    a moment only."""
    if tried(action) is None:
        return None
    release()
    return tried(action)


def release() -> None:
    """Gives back to the system what is not in use any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)  # glibc keeps freed pieces for later otherwise


def recompute(model: peft.PeftModel) -> None:
    """Computes activations twice from now on; the results stay the same."""
    base = model.get_base_model()
    if not base.is_gradient_checkpointing:
        base.gradient_checkpointing_enable({"use_reentrant": False})


def can_recompute(model: peft.PeftModel) -> bool:
    """Whether the architecture offers it."""
    return bool(getattr(model.get_base_model(), "supports_gradient_checkpointing", False))


def room_for_state(model: torch.nn.Module, optimizer: Any) -> list[torch.Tensor]:
    """As much memory as the optimizer will take with its first step, two values a parameter."""
    trained = [value for value in model.parameters() if value.requires_grad]
    is_new = not any(getattr(optimizer, "state", {}).values())
    return [torch.zeros((2, *value.shape), device=value.device) for value in trained if is_new]


def begins_anew(why: str) -> ProblemError:
    """The end of this process, for another one to go on with less (`restarting.py`): where ranks hold
    parts of the weights the others wait in the middle of a block, and there is no way back."""
    return ProblemError(
        Problem(
            code="worker.out_of_memory",
            what=f"{why} With weights that are divided among devices, training has to begin anew "
            "from its last checkpoint.",
            remedy="Resume it with a smaller micro-batch, shorter rows or gradient checkpointing.",
            where=Where(step="training", field="micro_batch"),
        )
    )


def exhausted(why: str, lengths: Sequence[int] | np.ndarray, precision: str) -> ProblemError:
    """The end of the ladder: one row at a time, activations recomputed. Says what costs least."""
    rows = np.asarray(lengths)
    longest, usual = int(rows.max()), int(np.percentile(rows, 95))
    limit = max(64, -(-usual // 8) * 8)
    what = f"{why} Not even one row at a time fits, with activations computed twice."
    if longest >= 1.5 * limit:
        over = formatting.plural(int((rows > limit).sum()), "row")
        return ProblemError(
            Problem(
                code="device.out_of_memory",
                what=what,
                remedy=f"The longest row has {formatting.number(longest)} tokens, 95 % of them have at "
                f"most {formatting.number(usual)}: a limit of {formatting.number(limit)} tokens costs least, "
                f"it cuts {over}. Checkpoints from before are kept.",
                where=Where(step="dataset", field="max_length"),
                fix=Fix(label=f"Rows of at most {formatting.number(limit)} tokens", step="dataset",
                        field="max_length", value=limit),
            )
        )  # fmt: skip
    if precision != "4bit":
        return ProblemError(
            Problem(
                code="device.out_of_memory",
                what=what,
                remedy="4-bit weights take a quarter of the memory of 16-bit ones: that costs least "
                "here. Closing other programs that use the device helps too.",
                where=Where(step="model", field="precision"),
                fix=Fix(label="4-bit weights", step="model", field="precision", value="4bit"),
            )
        )
    return ProblemError(
        Problem(
            code="device.out_of_memory",
            what=what,
            remedy="Close other programs that use the device, choose a smaller model, or allow "
            f"fewer tokens than {formatting.number(longest)} in a row.",
            where=Where(step="model", field="source"),
        )
    )


def no_room_for_checkpoint(why: str, step: int, saved_step: int) -> Problem:
    """A checkpoint that could not be written; `saved_step` is that of the last one, 0 without any."""
    place = f"the one of step {saved_step}" if saved_step else "the beginning"
    return Problem(
        code="training.no_memory_for_checkpoint",
        what=f"There was no memory for the checkpoint of step {step}: {why}",
        remedy=f"Training goes on from {place} if it is interrupted before the next one. Closing other "
        "programs helps.",
        where=Where(step="training", field="save_every"),
        severity="warning",
    )


def no_room_for_best(step: int) -> Problem:
    """The adapter of the best evaluation that could not be written."""
    return Problem(
        code="training.no_memory_for_best",
        what=f"There was no memory to keep the adapter of step {step}, the best so far.",
        remedy="Training goes on. Unless a better one comes, the last adapter is kept at its end.",
        where=Where(step="training", field="keep_best"),
        severity="warning",
    )


def _sentence(error: BaseException) -> str:
    """Why, without the advice of the library that follows the first sentence."""
    if isinstance(error, MemoryPressureError):
        return str(error)
    text = str(error).strip().split("\n")[0]
    tried_for = text.partition("Tried to allocate ")[2].partition(". ")[0].strip(". ")
    return f"Memory ran out{f' at a piece of {tried_for}' if tried_for else ''}."
