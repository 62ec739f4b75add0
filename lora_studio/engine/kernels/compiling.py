"""torch.compile where it pays: measured on the longest micro-batch of the training.

Only the feed-forward parts of the blocks are compiled. They have the same structure, so one compilation
covers all of them, and they contain most of the operations that can be fused. Attention runs row by
row, with lengths that change every step, so it would be recompiled each time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from lora_studio.core.messages import Text, text
from lora_studio.core.problems import Problem, Where, warning
from lora_studio.core.protocol import events
from lora_studio.core.system import programs
from lora_studio.engine.runtime import failures
from lora_studio.engine.runtime.channel import JobContext

#: Timed passes of each variant; the fastest counts, because other programs may interfere.
_TIMED_PASSES = 3
#: How much faster compiled passes have to be to be worth their different rounding.
_MIN_SPEEDUP = 1.03

#: Names of the feed-forward part of a block in transformers.
_FEED_FORWARD_NAMES = ("mlp", "feed_forward")


def compile_if_faster(
    model: torch.nn.Module, run_pass: Callable[[], object], job: JobContext
) -> bool:
    """Compile the feed-forward parts of a model if that makes `run_pass` faster; return whether it does.

    `run_pass` is a forward and backward pass without side effects. Where compiling fails, Warned is
    emitted and the model stays as it was.
    """
    parts = _feed_forward_parts(model)
    if not parts:
        reason = text("this model has no feed-forward layers")
        job.emit(events.Warned(problem=_not_compiled_problem(reason)))
        return False
    before = _measure_fastest_seconds(run_pass)
    started = time.monotonic()
    try:
        set_compiled(model, enabled=True)
        run_pass()
        compile_seconds = time.monotonic() - started
        after = _measure_fastest_seconds(run_pass)
    except Exception as error:
        set_compiled(model, enabled=False)
        if isinstance(error, torch.OutOfMemoryError) or not _is_compiler_error(error):
            raise
        cause = getattr(error, "inner_exception", error)  # the outer one names the backend only
        reason = text("{error}", error=failures.get_first_line(cause).rstrip("."))
        job.emit(events.Warned(problem=_not_compiled_problem(reason)))
        return False
    pays = before / after >= _MIN_SPEEDUP
    if not pays:
        set_compiled(model, enabled=False)
    job.emit(events.LogLine(text=_report(pays, before, after, compile_seconds)))
    return pays


def set_compiled(model: torch.nn.Module, *, enabled: bool) -> None:
    """Compile the feed-forward parts on their next use, for any number of tokens; or undo that."""
    programs.set_compile_caches()
    for part in _feed_forward_parts(model):
        if enabled and part._compiled_call_impl is None:
            part.compile(dynamic=True)
        elif not enabled:
            part._compiled_call_impl = None


def _feed_forward_parts(model: torch.nn.Module) -> list[Any]:
    names = model.named_modules()
    return [part for name, part in names if name.rpartition(".")[2] in _FEED_FORWARD_NAMES]


def _measure_fastest_seconds(run_pass: Callable[[], object]) -> float:
    seconds = []
    for _ in range(_TIMED_PASSES):
        started = time.monotonic()
        run_pass()
        _wait_for_gpu()
        seconds.append(time.monotonic() - started)
    return min(seconds)


def _wait_for_gpu() -> None:
    """Wait until a GPU has computed everything: a pass returns before that."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    if torch.backends.mps.is_available():
        torch.mps.synchronize()


def _is_compiler_error(error: Exception) -> bool:
    """Return whether an error comes from the compiler, not from the compiled code."""
    return type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))


def _report(pays: bool, before: float, after: float, compile_seconds: float) -> Text:
    template = (
        "torch.compile is used: the longest micro-batch takes {after:.3g} s instead of {before:.3g} s, "
        "after {seconds:duration} of compiling."
        if pays
        else "torch.compile isn't used because it isn't faster: the longest micro-batch takes "
        "{after:.3g} s instead of {before:.3g} s, after {seconds:duration} of compiling."
    )
    return text(template, after=after, before=before, seconds=compile_seconds)


def _not_compiled_problem(reason: Text) -> Problem:
    return warning(
        "training.not_compiled",
        "torch.compile can't be used here: {reason}.",
        "Training continues without it, with the same result. It needs a C++ compiler, and Triton on "
        "a GPU.",
        where=Where(step="training", field="torch_compile"),
        reason=reason,
    )
