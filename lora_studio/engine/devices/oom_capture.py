"""Run an action and return running out of memory as a value instead of an exception."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch

from lora_studio.core.messages import Text, text
from lora_studio.engine.devices.ranks import ProcessGroup
from lora_studio.engine.runtime import failures, torch_settings

T = TypeVar("T")


class MemoryPressureError(MemoryError):
    """Memory ran out, on this rank or another, or is so short that the system may kill the process."""

    def __init__(self, reason: Text) -> None:
        """Take the sentence that says which memory ran out."""
        super().__init__(str(reason))
        self.reason = reason


class PartialUpdateError(MemoryPressureError):
    """Memory ran out inside `optimizer.step()`: some weights have been updated and some haven't."""


@dataclass(frozen=True)
class OutOfMemory:
    """What `capture_oom` returns when memory ran out.

    `weights_changed` means that the model can't be used before a checkpoint is loaded.
    """

    reason: Text
    weights_changed: bool = False


def capture_oom(action: Callable[[], T], *, attempts: int = 1) -> T | OutOfMemory:
    """Return the result of `action`, or OutOfMemory; every other exception passes through.

    With more than one attempt, unused memory is released in between, because the shortage may be
    temporary. The exception is dropped before this returns: its traceback keeps alive every tensor in the
    frames that it passed through.
    """
    failure: OutOfMemory | None = None
    for _ in range(attempts):
        if failure is not None:
            release_memory()
        try:
            return action()
        except Exception as error:
            if (failure := find_oom(error)) is None:
                raise
    assert failure is not None
    return failure


def find_oom(error: Exception) -> OutOfMemory | None:
    """Return what an exception says about memory that ran out; None for any other exception.

    A collective that runs out of memory fails on this rank alone, while the others wait: no one can handle that.
    """
    if isinstance(error, torch.distributed.DistError) or not failures.is_out_of_memory(error):
        return None
    return OutOfMemory(_shorten_reason(error), isinstance(error, PartialUpdateError))


@contextmanager
def fail_together(ranks: ProcessGroup) -> Iterator[None]:
    """Wrap work in which ranks don't communicate; if one of them runs out of memory, all of them fail.

    Raises MemoryPressureError on every rank, so that they recover together. With sharded weights the
    ranks do communicate inside the block, and the exception passes through on one rank alone.
    """
    failure: OutOfMemory | None = None
    try:
        yield
    except Exception as error:
        if ranks.is_sharded or (failure := find_oom(error)) is None:
            raise
        # The new exception keeps this one, and its frames every tensor in them.
        traceback.clear_frames(error.__traceback__)
    if not ranks.is_sharded and ranks.is_true_on_any(failure is not None):
        reason = failure.reason if failure else text("Out of memory on another device.")
        raise MemoryPressureError(reason) from None


def release_memory() -> None:
    """Return unused memory to the GPU and to the system."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
    torch_settings.trim_freed_memory()


def _shorten_reason(error: BaseException) -> Text:
    """Return an error's message as a sentence, without the advice that libraries append."""
    if isinstance(error, MemoryPressureError):
        return error.reason
    first_line = str(error).strip().split("\n")[0]
    amount = first_line.partition("Tried to allocate ")[2].partition(". ")[0].strip(". ")
    if amount:
        return text("Out of memory while allocating {amount}.", amount=amount)
    return text("Out of memory.")
