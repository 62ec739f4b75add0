"""Checks of speed, against other ways to train and the measured rate of matrix products."""

from __future__ import annotations

import importlib.util
import math
from typing import Any

from tests.gpu import peers
from tests.gpu.registry import CheckContext, UnavailableCheckError, check
from tests.gpu.trainings import (
    create_run,
    get_half_precision,
    get_losses,
    train_in_worker,
    train_run,
)

#: Shape -> micro-batch, for rows of about a thousand tokens.
_MICRO_BATCHES = {"135M": 16, "0.5B": 8, "1B": 8, "8B": 4}

#: Goals of the largest shape.
_LEAST_SHARE, _LEAST_GAIN, _LEAST_4BIT_SHARE = 0.45, 1.3, 0.75

#: How many times as fast as one GPU two have to be.
_LEAST_OF_TWO = 1.85


def train_shape(
    context: CheckContext,
    shape: str,
    rows: list[dict[str, Any]],
    precision: str = "",
    *,
    objective: str = "sft",
    in_worker: bool = False,
    **recipe: Any,
) -> tuple[Any, Any]:
    """Train a model of a real shape on rows of up to 32,768 tokens, in this process or in one of its own.

    Without a precision, in the 16-bit format of the GPU.
    """
    precision = precision or get_half_precision(context)
    model = {"source": str(peers.write_model(context, shape)), "precision": precision}
    recipe = {
        "gradient_accumulation": 1,
        "max_steps": 8,
        "sample_rows": 0,
        "save_every": 0,
        **recipe,
    }
    run = create_run(
        context, objective, rows=rows, model=model, dataset={"max_length": 32_768}, lora=peers.LORA,
        **recipe,
    )  # fmt: skip
    channel = train_in_worker(run) if in_worker else train_run(run)
    peers.release_gpu()
    return run, channel


def get_tokens_per_s(channel: Any) -> float:
    """Return the tokens per second after the first two steps, in which kernels are chosen."""
    from lora_studio.core.protocol import events

    steps = channel.of(events.StepDone)
    # The rate in an event is the mean of the steps up to it.
    seconds = [_count_seconds(steps[:count]) for count in (2, len(steps))]
    return float(sum(step.tokens for step in steps[2:]) / (seconds[1] - seconds[0]))


def _count_seconds(steps: list[Any]) -> float:
    return float(sum(step.tokens for step in steps) / steps[-1].tokens_per_s)


@check("T10", "16-bit: the share of the matrix rate, and the gain over padded rows", seconds=60)
def measure_speed(context: CheckContext) -> None:
    """Train models of four shapes on long rows, and two on mixed ones, beside padded PEFT."""
    shapes = ["tiny"] if context.is_cpu else list(_MICRO_BATCHES)
    rate = _measure_rate(context)
    for shape in shapes:
        if not peers.has_room(context, shape):
            context.figures[shape] = "too large for this GPU"
            continue
        words, steps = (20, 4) if context.is_cpu else (1000, 8)
        micro_batch = _MICRO_BATCHES.get(shape, 2)
        rows = peers.make_long_rows(micro_batch * steps, words)
        run, channel = train_shape(context, shape, rows, micro_batch=micro_batch, max_steps=steps)
        speed, trained = get_tokens_per_s(channel), peers.TrainedRows.read(run).trained_share
        share = peers.compute_share(peers.SHAPES[shape], speed, trained, rate)
        context.figures[f"{shape} long rows"] = f"{speed:.0f} tokens/s, {share:.1%} of the rate"
        if shape == "8B":
            context.expect(share >= _LEAST_SHARE, f"8B reaches {share:.1%} of the matrix rate")
        if shape in ("tiny", "1B", "8B"):
            _compare_mixed_rows(context, shape)


def _measure_rate(context: CheckContext) -> float:
    """Return the rate of matrix products, and report it."""
    rate = peers.measure_matrix_rate(context)
    # The clock under load: that of an idle GPU says nothing about speed.
    clock = peers.read_clock(context.device)
    context.figures |= {"matrix rate in TFLOP/s": round(rate / 1e12, 3), "clock in MHz": clock}
    return rate


def _compare_mixed_rows(context: CheckContext, shape: str) -> None:
    micro_batch, steps = (2, 4) if context.is_cpu else (8, 6)
    rows = peers.make_mixed_rows(4 * micro_batch * steps)
    run, channel = train_shape(
        context, shape, rows, micro_batch=micro_batch, gradient_accumulation=4, max_steps=steps
    )
    speed, trained = get_tokens_per_s(channel), peers.TrainedRows.read(run)
    model = peers.write_model(context, shape)
    (padded,) = peers.measure_padded_peft(context, model, [(trained, micro_batch)])
    ratio = speed / padded
    context.figures[f"{shape} mixed rows"] = (
        f"{speed:.0f} tokens/s, padded PEFT {padded:.0f}, ratio {ratio:.2f}"
    )
    if shape == "8B":
        # The ratio is NaN if padded rows don't fit in memory: there is nothing to compare with then.
        context.expect(not ratio < _LEAST_GAIN, f"mixed rows: {ratio:.2f} × padded PEFT")


@check("T11", "4-bit: at least three quarters of the speed of 16-bit", seconds=54)
def measure_4bit_speed(context: CheckContext) -> None:
    """Train 8B's shape with micro-batches of 1k, 4k, and 16k tokens, beside PEFT's 4-bit layers."""
    shape, words = ("tiny", 20) if context.is_cpu else ("8B", 1000)
    if not peers.has_room(context, shape):
        raise UnavailableCheckError("8B's shape is too large for this GPU")
    _measure_rate(context)
    model = peers.write_model(context, shape)
    speeds: list[float] = []
    cases: list[tuple[peers.TrainedRows, int]] = []
    for micro_batch in (1, 4) if context.is_cpu else (1, 4, 16):
        steps = 4 if micro_batch == 16 else 6  # each takes seconds on a small GPU
        rows = peers.make_long_rows(steps * micro_batch, words)
        recipe: dict[str, Any] = {"micro_batch": micro_batch, "max_steps": steps}
        run, channel = train_shape(context, shape, rows, "4bit", **recipe)
        speeds.append(get_tokens_per_s(channel))
        cases.append((peers.TrainedRows.read(run), micro_batch))
        if micro_batch == 4:
            half = get_tokens_per_s(train_shape(context, shape, rows, **recipe)[1])
            share = speeds[-1] / half
            context.figures["share of 16-bit with four rows"] = f"{share:.1%}"
            is_fast = context.is_cpu or share >= _LEAST_4BIT_SHARE
            context.expect(is_fast, f"4-bit reaches {share:.1%} of 16-bit")
    # All cases with one model: to load it takes as long as a case.
    plain = peers.measure_padded_peft(context, model, cases, is_4bit=True)
    for (trained, _), speed, other in zip(cases, speeds, plain, strict=True):
        name = f"{trained.tokens[0]} tokens at once"
        context.figures[name] = f"{speed:.0f} tokens/s, PEFT {other:.0f}"


@check("T12", "8-bit weights and optimizers: figures for the advice", seconds=28)
def measure_8bit(context: CheckContext) -> None:
    """Train 1B's shape in 8 bits, and in 16 bits with each of bitsandbytes' versions of AdamW."""
    shape, words = ("tiny", 20) if context.is_cpu else ("1B", 1000)
    rows, half = peers.make_long_rows(48, words), get_half_precision(context)
    cases = [("8bit", "adamw")] + [
        (half, name) for name in ("adamw", "adamw_8bit", "paged_adamw_8bit")
    ]
    for precision, optimizer in cases:
        _, channel = train_shape(
            context, shape, rows, precision, optimizer=optimizer, micro_batch=8, max_steps=6
        )
        speed = get_tokens_per_s(channel)
        context.figures[f"{precision}, {optimizer}"] = f"{speed:.0f} tokens/s"


@check("T14", "torch.compile pays or isn't used, and recompiles at most twice", seconds=30)
def compile_layers(context: CheckContext) -> None:
    """Train with automatic compilation on rows of many lengths."""
    from torch._dynamo.utils import counters

    from lora_studio.core.protocol import events

    shape, micro_batch = ("tiny", 2) if context.is_cpu else ("1B", 4)
    counters.clear()
    rows = peers.make_mixed_rows(8 * micro_batch)
    _, channel = train_shape(
        context, shape, rows, micro_batch=micro_batch, torch_compile="auto", liger="off"
    )
    graphs = counters["stats"]["unique_graphs"]
    logs = [str(event.text) for event in channel.of(events.LogLine)]
    warned = [str(event.problem.what) for event in channel.of(events.Warned)]
    said = [text for text in (*logs, *warned) if "torch.compile" in text]
    context.figures |= {"said": said, "graphs": graphs}
    context.expect(bool(said), "nothing says whether torch.compile is used")
    context.expect(graphs <= 3, f"{graphs} graphs were compiled")


@check(
    "T19",
    "Unsloth: the loss and gradients of PEFT; and the speed of Unsloth's and TRL's recipes",
    seconds=250,
    needs_gpu=True,
    on_request=True,
)
def compare_unsloth(context: CheckContext) -> None:
    """Train 1B's shape in 16 bits and 8B's in 4 bits: with both backends, and with the recipes of others.

    That takes eight processes, which import for up to 25 seconds each.
    """
    if importlib.util.find_spec("unsloth") is None:
        raise UnavailableCheckError("Unsloth isn't installed")
    for shape, precision in (("1B", get_half_precision(context)), ("8B", "4bit")):
        if not peers.has_room(context, shape):
            context.figures[shape] = "too large for this GPU"
            continue
        _compare_backends(context, shape, precision)


def _compare_backends(context: CheckContext, shape: str, precision: str) -> None:
    model = peers.write_model(context, shape)
    rows = peers.make_mixed_rows(4 * 8 * 6)
    recipe: dict[str, Any] = {
        "micro_batch": 8, "gradient_accumulation": 4, "max_steps": 6, "in_worker": True,
    }  # fmt: skip
    # Each in a process of its own: Unsloth has to be imported before transformers, which it patches.
    run, plain = train_shape(context, shape, rows, precision, **recipe, backend="peft")
    _, ours = train_shape(context, shape, rows, precision, **recipe, backend="unsloth")
    trained, name = peers.TrainedRows.read(run), f"{shape} {precision}"
    difference = abs(get_losses(ours)[1] - get_losses(plain)[1]) / get_losses(plain)[1]
    norms = [_get_first_norm(channel) for channel in (ours, plain)]
    context.figures |= {f"{name}: first loss": f"{difference:.3%}", f"{name}: norms": norms}
    context.expect(difference <= 0.01, f"{name}: the first losses differ by {difference:.1%}")
    is_close = math.isclose(*norms, rel_tol=0.05)
    context.expect(is_close, f"{name}: the first gradients differ: {norms}")
    best = 0.0
    for backend, channel in {"PEFT": plain, "Unsloth": ours}.items():
        speed, peak = get_tokens_per_s(channel), _get_peak(channel)
        context.figures[f"{name}: {backend} backend"] = _describe_speed(speed, peak)
        best = max(best, speed)
    for way in ("Unsloth", "TRL"):
        theirs = peers.measure_way(
            way, model, trained, 8, context.folder / f"{way}-{shape}", is_4bit=precision == "4bit"
        )
        if isinstance(theirs, str):
            context.figures[f"{name}: {way}'s recipe"] = theirs
            continue
        described = _describe_speed(theirs["tokens/s"], theirs["peak"])
        context.figures[f"{name}: {way}'s recipe"] = described
        context.expect(best >= theirs["tokens/s"], f"{name}: {way}'s recipe is faster")


def _describe_speed(tokens_per_s: float, peak: float) -> str:
    return f"{tokens_per_s:.0f} tokens/s, peak {peak / 1e9:.2f} GB"


def _get_peak(channel: Any) -> int:
    """Return the peak memory of a training in a process of its own, in bytes."""
    from lora_studio.core.protocol import events

    return int(channel.last(events.StepDone).memory_bytes)


def _get_first_norm(channel: Any) -> float:
    from lora_studio.core.protocol import events

    return float(channel.of(events.StepDone)[0].grad_norm)


@check(
    "T20",
    "two GPUs train at least 1.85 times as fast as one",
    seconds=29,
    needs_gpu=True,
    on_request=True,
)
def compare_two_gpus(context: CheckContext) -> None:
    """Train 1B's shape on one GPU, and with a rank on each of two GPUs of the same model."""
    import torch

    own = torch.device(context.device).index or 0
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    others = [index for index, name in enumerate(names) if name == names[own] and index != own]
    if not others:
        raise UnavailableCheckError("this check needs two GPUs of the same model")
    rows = peers.make_long_rows(32 * 6, 1000)
    speeds = []
    for device in (f"cuda:{own}", f"cuda:{own},cuda:{others[0]}"):
        _, channel = train_shape(
            CheckContext(device, context.folder), "1B", rows, micro_batch=8, gradient_accumulation=4,
            max_steps=6,
        )  # fmt: skip
        speeds.append(get_tokens_per_s(channel))
        context.figures[device] = f"{speeds[-1]:.0f} tokens/s"
    ratio = speeds[1] / speeds[0]
    context.figures["ratio"] = round(ratio, 2)
    context.expect(ratio >= _LEAST_OF_TWO, f"two GPUs are {ratio:.2f} times as fast as one")
