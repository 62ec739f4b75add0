"""Checks of memory estimates, and of what a step waits for."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any
from unittest import mock

from tests.gpu import peers
from tests.gpu.registry import CheckContext, check
from tests.gpu.speed import train_shape
from tests.gpu.trainings import get_half_precision, train

#: Steps at which kernels are chosen and memory is allocated.
_FIRST_STEPS = 3

#: Eight recipes: shape, precision ("" is the GPU's 16-bit format), micro-batch, words of a row, further settings.
_RECIPES: dict[str, tuple[str, str, int, int, dict[str, Any]]] = {
    "16-bit": ("0.5B", "", 4, 700, {}),
    "padded, without Liger": ("0.5B", "", 4, 700, {"packing": False, "liger": "off"}),
    "long rows, recomputed": ("0.5B", "", 1, 12_000, {"gradient_checkpointing": "on"}),
    "DPO": ("0.5B", "", 2, 700, {"objective": "dpo"}),
    "8-bit": ("0.5B", "8bit", 4, 700, {}),
    "4-bit": ("0.5B", "4bit", 4, 700, {}),
    "8B, recomputed": ("8B", "", 4, 700, {"gradient_checkpointing": "on"}),
    "8B in 4-bit, recomputed": ("8B", "4bit", 8, 700, {"gradient_checkpointing": "on"}),
}


@check(
    "T9",
    "no wait for the device in a micro-batch, and at most two in a step",
    seconds=17,
    needs_gpu=True,
)
def count_waits(context: CheckContext) -> None:
    """Count waits with two and four micro-batches a step; then the share of time that the GPU computes."""
    # Of one length, so that short rows don't share a micro-batch.
    rows = [{"instruction": "Count.", "output": "one two three " * 8} for _ in range(16)]
    for layout in ("packed", "padded"):
        counts = {}
        for micro_batches in (2, 4):
            settings: dict[str, Any] = {"micro_batch": 2, "gradient_accumulation": micro_batches}
            with _count_waits() as (waits, computed):
                train(
                    context, rows=rows, model={"precision": get_half_precision(context)},
                    max_steps=8, packing=layout == "packed", **settings,
                )  # fmt: skip
            counts[micro_batches] = max(waits[_FIRST_STEPS:])
            name = f"{layout}: waits of a step with {micro_batches} micro-batches"
            context.figures[name] = counts[micro_batches]
            context.expect(
                set(computed) == {micro_batches}, f"{layout}: steps of {computed} micro-batches"
            )
        context.expect(counts[4] == counts[2], f"{layout}: each micro-batch waits for the device")
        context.expect(counts[4] <= 2, f"{layout}: a step waits {counts[4]} times")
    busy = _measure_busy_share(context)
    context.figures["GPU busy at 1B"] = f"{busy:.1%}"
    context.expect(busy >= 0.9, f"the GPU computes {busy:.0%} of the time")


@contextlib.contextmanager
def _count_waits() -> Iterator[tuple[list[int], list[int]]]:
    """Yield lists that get the numbers of waits and micro-batches of each step.

    Micro-batches aren't filled up to the tokens that a GPU has room for: these small ones would be one.
    """
    import torch

    from lora_studio.engine.training.trainer import Trainer

    counts: list[int] = []
    micro_batches: list[int] = []
    original, fill = Trainer.training_step, Trainer.fill_micro_batches

    def step(trainer: Trainer) -> None:
        micro_batches.append(len(trainer.batches.read_step(trainer.state.step)))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                original(trainer)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        counts.append(sum("synchronizing" in str(each.message) for each in caught))

    with (
        mock.patch.object(Trainer, "training_step", step),
        mock.patch.object(Trainer, "fill_micro_batches", lambda trainer, _: fill(trainer, 0)),
    ):
        yield counts, micro_batches


def _measure_busy_share(context: CheckContext) -> float:
    """Return the share of time in which kernels run, over four steps at 1B's shape."""
    from torch.profiler import ProfilerActivity, profile

    from lora_studio.engine.training.trainer import Trainer

    original = Trainer.training_step
    profiler = profile(activities=[ProfilerActivity.CUDA])

    def step(trainer: Trainer) -> None:
        if trainer.state.step == _FIRST_STEPS:
            profiler.start()
        original(trainer)
        if trainer.state.step == _FIRST_STEPS + 4:
            peers.synchronize(context.device)
            profiler.stop()

    rows = peers.make_long_rows(64, 1000)
    with mock.patch.object(Trainer, "training_step", step):
        train_shape(context, "1B", rows, micro_batch=8)
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in profiler.events() or ()
        if str(event.device_type).endswith("CUDA")
    )
    if not spans:
        raise RuntimeError("the profiler saw no kernels; it needs CUPTI, and permission to use it")
    busy, end = 0.0, spans[0][0]
    for begin, finish in spans:
        busy += max(0.0, finish - max(begin, end))
        end = max(end, finish)
    return busy / (end - spans[0][0])


@check("T13", "estimates of memory are within 15 percent of the peak", seconds=56, needs_gpu=True)
def compare_estimates(context: CheckContext) -> None:
    """Train eight recipes at 0.5B's and 8B's shapes, and compare each peak with its estimate."""
    import torch

    from lora_studio.core.memory import calibration
    from lora_studio.core.protocol import events

    for name, (shape, precision, micro_batch, words, recipe) in _RECIPES.items():
        if not peers.has_room(context, shape):
            context.figures[name] = "too large for this GPU"
            continue
        rows = peers.make_long_rows(4 * micro_batch, words)
        if recipe.get("objective") == "dpo":
            rows = [
                {
                    "prompt": row["instruction"],
                    "chosen": row["output"],
                    "rejected": row["output"][4:],
                }
                for row in rows
            ]
        # The first training on a computer has nothing to correct its estimate by.
        calibration.get_path().unlink(missing_ok=True)
        torch.cuda.reset_peak_memory_stats()
        _, channel = train_shape(
            context, shape, rows, precision, micro_batch=micro_batch, max_steps=3, **recipe
        )
        peak = channel.last(events.StepDone).memory_bytes
        ratio = channel.last(events.MemoryEstimated).estimate.reported / peak
        context.figures[name] = f"peak {peak / 1e9:.2f} GB, estimate {ratio:.0%} of it"
        context.expect(abs(ratio - 1) <= 0.15, f"{name}: the estimate is {ratio:.0%} of the peak")
