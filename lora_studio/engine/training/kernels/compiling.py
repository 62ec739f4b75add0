"""torch.compile where it pays: measured on the longest micro-batch of the training, taken or left.

Compiled are the feed-forward parts of the blocks. They are alike, so that one compilation serves all
of them, and most of what there is to join is in them; attention is computed row by row, with other
lengths in every step, which would be compiled anew each time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from lora_studio.core import formatting
from lora_studio.core.problems import Problem, Where
from lora_studio.core.protocol import events
from lora_studio.engine.runtime.channel import JobContext

#: Passes that are timed of each kind, the fastest of which counts: other programs run as well.
_TIMED = 3
#: Compiled passes have to be this much faster to be worth their rounding otherwise.
_WORTH = 1.03

#: What transformers calls the feed-forward part of a block.
_NAMES = ("mlp", "feed_forward")


def choose(model: torch.nn.Module, attempt: Callable[[], object], job: JobContext) -> bool:
    """Compiles the feed-forward parts of a model if that makes `attempt` faster; whether it did.

    `attempt` is one pass forward and backward without any effect. What cannot be compiled here is
    told in a Warned, and stays as it was.
    """
    parts = _parts(model)
    if not parts:
        job.emit(events.Warned(problem=_cannot("this model has no feed-forward parts")))
        return False
    before = _seconds(attempt)
    began = time.monotonic()
    try:
        switch(model, on=True)
        attempt()
        taken = time.monotonic() - began
        after = _seconds(attempt)
    except Exception as error:
        if isinstance(error, torch.OutOfMemoryError) or not _is_of_compiler(error):
            switch(model, on=False)
            raise
        switch(model, on=False)
        job.emit(events.Warned(problem=_cannot(str(error).strip().split("\n")[0])))
        return False
    pays = before / after >= _WORTH
    if not pays:
        switch(model, on=False)
    job.emit(
        events.Log(
            text=f"torch.compile {'pays' if pays else 'does not pay'} here: the longest micro-batch takes "
            f"{after:.3g} s instead of {before:.3g} s, after {formatting.duration(taken)} of compiling."
        )
    )
    return pays


def switch(model: torch.nn.Module, *, on: bool) -> None:
    """Compiles the parts when they are next used, for any number of tokens; or undoes that."""
    for part in _parts(model):
        if on and part._compiled_call_impl is None:
            part.compile(dynamic=True)
        elif not on:
            part._compiled_call_impl = None


def _parts(model: torch.nn.Module) -> list[Any]:
    return [part for name, part in model.named_modules() if name.rpartition(".")[2] in _NAMES]


def _seconds(attempt: Callable[[], object]) -> float:
    found = []
    for _ in range(_TIMED):
        began = time.monotonic()
        attempt()
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        found.append(time.monotonic() - began)
    return min(found)


def _is_of_compiler(error: Exception) -> bool:
    """Whether an error comes from compiling, not from what is compiled."""
    return type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))


def _cannot(why: str) -> Problem:
    return Problem(
        code="training.not_compiled",
        what=f"torch.compile cannot be used here: {why}.",
        remedy="Training goes on without it, to the same result. It needs a C++ compiler, and Triton "
        "on a GPU.",
        where=Where(step="training", field="torch_compile"),
        severity="warning",
    )
