"""Checks of resuming, and of what happens when memory runs out."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from tests.gpu.peers import release_gpu
from tests.gpu.registry import CheckContext, check
from tests.gpu.trainings import (
    compare_losses,
    create_run,
    get_half_precision,
    get_losses,
    get_warnings,
    train,
    train_run,
)

#: More than any device has, in bytes.
_TOO_MUCH = 1 << 50


@check("T6", "a training that pauses and resumes has the losses of one that doesn't", seconds=43)
def resume_like_uninterrupted(context: CheckContext) -> None:
    """Compare the losses for each optimizer, and the bits with deterministic algorithms."""
    from lora_studio.core.training.optimizers import OPTIMIZERS

    # PyTorch's deterministic algorithms need it, and the library reads it once.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    precision = "fp32" if context.is_cpu else get_half_precision(context)
    for name, about in OPTIMIZERS.items():
        if about.paged and context.is_cpu:
            continue  # states are paged from a GPU to main memory
        settings: dict[str, Any] = {
            "model": {"precision": precision}, "optimizer": name, "max_steps": 20,
            # So high that without the optimizer's state, losses differ by a percent and more.
            "learning_rate": min(about.highest, max(1e-3, about.usual)),
            # bitsandbytes pages states of 100,000 values and more, and stores those of more than 4,096 in 8 bits.
            "lora": {"rank": 1024 if about.paged else 128 if about.library == "bitsandbytes" else 8},
        }  # fmt: skip
        _, whole = train(context, **settings)
        with _note_optimizers() as created:
            parts = train_run(create_run(context, **settings), pause_after=10)
        difference = compare_losses(parts, whole)
        context.figures[name] = f"{difference:.4%}"
        context.expect(difference <= 0.005, f"{name}: losses differ by {difference:.2%}")
        if about.library == "bitsandbytes":
            _check_states(context, name, created[-1], is_paged=about.paged)
    _compare_bits(context, precision)


@contextlib.contextmanager
def _note_optimizers() -> Iterator[list[Any]]:
    """Yield a list that gets each optimizer of the trainings in the block."""
    from lora_studio.engine.training.recipe import torch_optimizers

    created: list[Any] = []
    original = torch_optimizers.create_optimizer

    def create(*arguments: Any) -> Any:
        created.append(original(*arguments))
        return created[-1]

    with mock.patch.object(torch_optimizers, "create_optimizer", create):
        yield created


def _check_states(context: CheckContext, name: str, optimizer: Any, *, is_paged: bool) -> None:
    """Expect that a resumed optimizer's states have as many bits as before, and can leave the GPU if paged."""
    import torch

    states = [
        value
        for state in optimizer.state.values()
        for value in (state.get("state1"), state.get("state2"))
        if value is not None and value.numel() >= (100_000 if is_paged else 5_000)
    ]
    context.expect(bool(states), f"{name}: no state is large enough")
    expected = torch.uint8 if name.endswith("8bit") else torch.float32
    formats = {str(value.dtype) for value in states if value.dtype != expected}
    context.expect(not formats, f"{name}: resumed states are {', '.join(sorted(formats))}")
    paged = sum(getattr(value, "is_paged", False) for value in states)
    context.figures[f"{name}: paged states"] = f"{paged} of {len(states)}"
    context.expect(paged == is_paged * len(states), f"{name}: {paged} of {len(states)} are paged")


def _compare_bits(context: CheckContext, precision: str) -> None:
    """Train with deterministic algorithms: the adapter must be the same bit for bit."""
    import torch
    from safetensors.torch import load_file

    settings: dict[str, Any] = {"model": {"precision": precision}, "max_steps": 6}
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        whole, _ = train(context, **settings)
        parts = create_run(context, **settings)
        train_run(parts, pause_after=3)
    finally:
        torch.use_deterministic_algorithms(False)
    one, other = (load_file(run.adapter / "adapter_model.safetensors") for run in (whole, parts))
    is_equal = all(torch.equal(value, other[name]) for name, value in one.items())
    context.figures["deterministic"] = "equal" if is_equal else "different"
    context.expect(is_equal, "a resumed training has other bits with deterministic algorithms")


# --- out of memory ------------------------------------------------------------------------------


def _list_places() -> dict[str, tuple[Any, str]]:
    """Return what runs out of memory: a name, the owner of a function, and its name."""
    import torch

    from lora_studio.engine.generation import answering
    from lora_studio.engine.kernels.logprobs import LogprobModel
    from lora_studio.engine.training import checkpoint_files
    from lora_studio.engine.training.evaluation import Evaluator

    return {
        "forward": (LogprobModel, "__call__"),
        "backward": (torch.Tensor, "backward"),
        "optimizer": (torch.optim.AdamW, "step"),
        "evaluation": (Evaluator, "_add_losses"),
        "sampling": (answering, "complete"),
        "checkpoint": (checkpoint_files, "write_checkpoint"),
    }


@contextlib.contextmanager
def fail_once(owner: Any, name: str, device: str, call: int) -> Iterator[None]:
    """Allocate more memory than there is in one call of a function, after it has done its work."""
    import torch

    original: Callable[..., Any] = getattr(owner, name)
    calls = []

    def function(*arguments: Any, **named: Any) -> Any:
        result = original(*arguments, **named)
        calls.append(name)
        if len(calls) == call:
            torch.empty(_TOO_MUCH, dtype=torch.uint8, device=device)
        return result

    with mock.patch.object(owner, name, function):
        yield
    assert len(calls) >= call, f"{name} was called {len(calls)} times"


@check("T7", "training recovers wherever memory runs out, with the same losses", seconds=18)
def recover_from_lack_of_memory(context: CheckContext) -> None:
    """Run out of memory in each part of a training; then train with less memory than it takes."""
    # Each once, also where float16 is what the GPU has.
    precisions = ("fp32",) if context.is_cpu else {get_half_precision(context): "", "fp16": ""}
    for precision in precisions:
        settings: dict[str, Any] = {
            "model": {"precision": precision}, "dataset": {"validation_share": 0.25}, "max_steps": 3,
            "micro_batch": 4, "gradient_accumulation": 1, "eval_every": 2, "save_every": 1,
            "sample_prompts": ("Who is Pim?",), "sample_tokens": 4, "sample_rows": 0,
        }  # fmt: skip
        _, whole = train(context, **settings)
        # 32-bit sums differ in their order only.
        tolerance = {"fp32": 1e-4, "bf16": 0.01, "fp16": 0.01}[precision]
        for place, (owner, name) in _list_places().items():
            with fail_once(owner, name, context.device, call=2):
                channel = train_run(create_run(context, **settings))
            # A step whose update failed is repeated.
            difference = max(
                abs(get_losses(channel)[step] - loss) / loss
                for step, loss in get_losses(whole).items()
            )
            said = [event.kind for event in channel.events if event.kind == "recovered"]
            context.figures[f"{place} {precision}"] = (
                f"{difference:.3%}, {', '.join(said + get_warnings(channel))}"
            )
            context.expect(difference <= tolerance, f"{place} {precision}: {difference:.1%} off")
            is_complete = _list_finished(channel) == _list_finished(whole)
            context.expect(is_complete, f"{place} {precision}: evaluations or checkpoints differ")
    if not context.is_cpu:
        _train_under_a_cap(context)


def _list_finished(channel: Any) -> list[tuple[str, int]]:
    """Return the evaluations and checkpoints of a training, with their steps."""
    kinds = "evaluated", "checkpoint_saved"
    return [(event.kind, event.step) for event in channel.events if event.kind in kinds]


def _train_under_a_cap(context: CheckContext) -> None:
    """Train with three quarters of the memory that the micro-batch takes."""
    import torch

    # Long rows: most of the memory has to be that of activations, which smaller micro-batches need less of.
    rows = [
        {"instruction": "Count.", "output": " ".join(map(str, range(n, n + 150)))}
        for n in range(32)
    ]
    settings: dict[str, Any] = {
        "rows": rows, "model": {"precision": get_half_precision(context)},
        "dataset": {"max_length": 1024}, "max_steps": 3, "micro_batch": 16, "gradient_accumulation": 1,
    }  # fmt: skip
    torch.cuda.reset_peak_memory_stats()
    _, whole = train(context, **settings)
    # What was allocated: reserved memory also has gaps, which could make up for the missing quarter.
    peak = torch.cuda.max_memory_allocated()
    release_gpu()
    total = torch.cuda.get_device_properties(context.device).total_memory
    torch.cuda.set_per_process_memory_fraction(0.75 * peak / total, context.device)
    try:
        _, channel = train(context, **settings)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, context.device)
    difference = compare_losses(channel, whole)
    lowered = [event for event in channel.events if event.kind == "recovered"]
    context.figures["three quarters of the memory"] = f"{difference:.3%}, {len(lowered)} recoveries"
    context.expect(bool(lowered), "training under a cap doesn't run out of memory")
    context.expect(difference <= 0.01, f"under a cap, losses differ by {difference:.1%}")


@check(
    "T8",
    "rows of random lengths near the limit don't fragment memory",
    seconds=14,
    needs_gpu=True,
)
def train_random_lengths(context: CheckContext) -> None:
    """Train 300 steps of random lengths; count how often the allocator had to free its cache and retry."""
    import random

    import torch

    draw = random.Random(1)
    rows = [
        {"instruction": "Count.", "output": " ".join(["one"] * draw.randint(4, 400))}
        for _ in range(600)
    ]
    settings: dict[str, Any] = {
        "rows": rows, "model": {"precision": get_half_precision(context)},
        "dataset": {"max_length": 1024}, "micro_batch": 2, "gradient_accumulation": 1, "liger": "off",
    }  # fmt: skip
    # The longest rows: what 300 steps take at most.
    longest = sorted(rows, key=lambda row: -len(row["output"]))[:40]
    train(context, **settings | {"rows": longest}, max_steps=20)
    # With room for three of the allocator's segments of 20 MB: a segment more isn't fragmentation.
    reserved = torch.cuda.max_memory_reserved()
    cap = max(1.15 * reserved, reserved + 64e6)
    release_gpu()
    torch.cuda.reset_peak_memory_stats()
    total = torch.cuda.get_device_properties(context.device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, cap / total), context.device)
    before = torch.cuda.memory_stats()["num_alloc_retries"]
    _, channel = train(context, **settings, max_steps=300)
    retries = torch.cuda.memory_stats()["num_alloc_retries"] - before
    context.figures |= {
        "retries": retries,
        "peak allocated in MB": torch.cuda.max_memory_allocated() >> 20,
        "peak reserved in MB": torch.cuda.max_memory_reserved() >> 20,
        "settings": os.environ.get("PYTORCH_ALLOC_CONF", ""),
    }
    context.expect(len(get_losses(channel)) == 300, "steps are missing")
    if context.figures["settings"]:
        context.expect(retries == 0, f"the allocator retried {retries} times")
