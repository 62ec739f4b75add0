"""Checks of speed, against other ways to train and the measured rate of matrix products."""

from __future__ import annotations

import math
from typing import Any

from tests.gpu import peers
from tests.gpu.registry import CheckContext, UnavailableCheckError, check
from tests.gpu.trainings import create_run, get_losses, train_in_worker, train_run

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
    precision: str = "bf16",
    *,
    in_worker: bool = False,
    **recipe: Any,
) -> tuple[Any, Any]:
    """Train a model of a real shape on rows of up to 32,768 tokens, in this process or in one of its own."""
    model = {"source": str(peers.write_model(context, shape)), "precision": precision}
    recipe = {
        "gradient_accumulation": 1,
        "max_steps": 8,
        "sample_rows": 0,
        "save_every": 0,
        **recipe,
    }
    run = create_run(
        context, rows=rows, model=model, dataset={"max_length": 32_768}, lora=peers.LORA, **recipe
    )
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


@check("T10", "bf16: the share of the matrix rate, and the gain over padded rows", seconds=60)
def measure_speed(context: CheckContext) -> None:
    """Train models of four shapes on long rows, and two on mixed ones, beside padded PEFT and TRL."""
    shapes = ["tiny"] if context.is_cpu else list(_MICRO_BATCHES)
    rate = peers.measure_matrix_rate(context.device, *((256, 0.01) if context.is_cpu else ()))
    # The clock under load: that of an idle GPU says nothing about speed.
    clock = peers.read_clock(context.device)
    context.figures |= {"matrix rate in TFLOP/s": round(rate / 1e12, 3), "clock in MHz": clock}
    for shape in shapes:
        words, steps = (20, 4) if context.is_cpu else (1000, 8)
        micro_batch = _MICRO_BATCHES.get(shape, 2)
        rows = peers.make_long_rows(micro_batch * steps, words)
        run, channel = train_shape(context, shape, rows, micro_batch=micro_batch, max_steps=steps)
        speed, trained = get_tokens_per_s(channel), peers.TrainedRows.read(run).trained_share
        share = peers.compute_share(peers.SHAPES[shape], speed, trained, rate)
        context.figures[f"{shape} long rows"] = f"{speed:.0f} tokens/s, {share:.1%} of the rate"
        if shape == "8B":
            context.expect(share >= _LEAST_SHARE, f"8B reaches {share:.1%} of the matrix rate")
    for shape in ["tiny"] if context.is_cpu else ["1B", "8B"]:
        _compare_mixed_rows(context, shape)


def _compare_mixed_rows(context: CheckContext, shape: str) -> None:
    micro_batch, steps = (2, 4) if context.is_cpu else (8, 6)
    rows = peers.make_mixed_rows(4 * micro_batch * steps)
    run, channel = train_shape(
        context, shape, rows, micro_batch=micro_batch, gradient_accumulation=4, max_steps=steps
    )
    speed, trained = get_tokens_per_s(channel), peers.TrainedRows.read(run)
    model = peers.write_model(context, shape)
    (padded,) = peers.measure_padded_peft(model, [(trained, micro_batch)], context.device)
    ratio = speed / padded
    context.figures[f"{shape} mixed rows"] = (
        f"{speed:.0f} tokens/s, padded PEFT {padded:.0f}, ratio {ratio:.2f}"
    )
    if shape == "8B":
        # The ratio is NaN if padded rows don't fit in memory: there is nothing to compare with then.
        context.expect(not ratio < _LEAST_GAIN, f"mixed rows: {ratio:.2f} × padded PEFT")
    if shape == "1B":
        trl = peers.measure_way("TRL", model, trained, micro_batch, context.folder / "trl")
        said = trl if isinstance(trl, str) else f"{trl['tokens/s']:.0f} tokens/s"
        context.figures["1B mixed rows, TRL"] = said


@check("T11", "4-bit: at least three quarters of the speed of bf16", seconds=45, needs_gpu=True)
def measure_4bit_speed(context: CheckContext) -> None:
    """Train 8B's shape with micro-batches of 1k, 4k, and 16k tokens, beside PEFT's 4-bit layers."""
    rate = peers.measure_matrix_rate(context.device)
    clock = peers.read_clock(context.device)
    context.figures |= {"matrix rate in TFLOP/s": round(rate / 1e12, 1), "clock in MHz": clock}
    model = peers.write_model(context, "8B")
    speeds: dict[int, float] = {}
    cases = []
    for tokens in (1024, 4096, 16_384):
        micro_batch = max(1, tokens // 1024)
        rows = peers.make_long_rows(6 * micro_batch, 1000)
        recipe: dict[str, Any] = {"micro_batch": micro_batch, "max_steps": 6}
        run, channel = train_shape(context, "8B", rows, "4bit", **recipe)
        speeds[tokens] = get_tokens_per_s(channel)
        cases.append((peers.TrainedRows.read(run), micro_batch))
        if tokens == 4096:
            bf16 = get_tokens_per_s(train_shape(context, "8B", rows, **recipe)[1])
            share = speeds[tokens] / bf16
            context.figures["share of bf16 at 4096"] = f"{share:.1%}"
            context.expect(share >= _LEAST_4BIT_SHARE, f"4-bit reaches {share:.1%} of bf16")
    # All cases with one model: to load it takes as long as a case.
    plain = peers.measure_padded_peft(model, cases, context.device, is_4bit=True)
    for (tokens, speed), other in zip(speeds.items(), plain, strict=True):
        context.figures[f"{tokens} tokens"] = f"{speed:.0f} tokens/s, PEFT {other:.0f}"


@check("T12", "8-bit weights and optimizers: figures for the advice", seconds=25, needs_gpu=True)
def measure_8bit(context: CheckContext) -> None:
    """Train 1B's shape in 8 bits, and in bf16 with each of bitsandbytes' optimizers."""
    rows = peers.make_long_rows(48, 1000)
    cases = [("8bit", "adamw")] + [
        ("bf16", name) for name in ("adamw", "adamw_8bit", "paged_adamw_8bit")
    ]
    for precision, optimizer in cases:
        _, channel = train_shape(
            context, "1B", rows, precision, optimizer=optimizer, micro_batch=8, max_steps=6
        )
        speed = get_tokens_per_s(channel)
        context.figures[f"{precision}, {optimizer}"] = f"{speed:.0f} tokens/s"


@check("T14", "torch.compile pays or isn't used, and recompiles at most twice", seconds=35)
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
    logs = [str(event.text) for event in channel.of(events.Log)]
    warned = [str(event.problem.what) for event in channel.of(events.Warned)]
    said = [text for text in (*logs, *warned) if "torch.compile" in text]
    context.figures |= {"said": said, "graphs": graphs}
    context.expect(bool(said), "nothing says whether torch.compile is used")
    context.expect(graphs <= 3, f"{graphs} graphs were compiled")


@check(
    "T19",
    "Unsloth: the loss and gradients of PEFT, and its own recipe's speed",
    seconds=45,
    needs_gpu=True,
)
def compare_unsloth(context: CheckContext) -> None:
    """Train 1B's shape with the Unsloth backend, with PEFT, and with the recipe of Unsloth's notebooks."""
    import importlib.util

    if importlib.util.find_spec("unsloth") is None:
        raise UnavailableCheckError("Unsloth isn't installed")
    model = peers.write_model(context, "1B")
    rows = peers.make_mixed_rows(4 * 8 * 6)
    recipe: dict[str, Any] = {"micro_batch": 8, "gradient_accumulation": 4, "max_steps": 6}
    # Each in a process of its own: Unsloth has to be imported before transformers, which it patches.
    run, plain = train_shape(context, "1B", rows, **recipe, backend="peft", in_worker=True)
    _, ours = train_shape(context, "1B", rows, **recipe, backend="unsloth", in_worker=True)
    trained = peers.TrainedRows.read(run)
    theirs = peers.measure_way("Unsloth", model, trained, 8, context.folder / "unsloth")
    difference = abs(get_losses(ours)[1] - get_losses(plain)[1]) / get_losses(plain)[1]
    norms = [_get_first_norm(channel) for channel in (ours, plain)]
    context.figures |= {"first loss": f"{difference:.3%}", "gradient norms": norms}
    context.expect(difference <= 0.01, f"the first losses differ by {difference:.1%}")
    is_close = math.isclose(*norms, rel_tol=0.05)
    context.expect(is_close, f"the first gradients differ: {norms}")
    best = 0.0
    for backend, channel in {"PEFT": plain, "Unsloth": ours}.items():
        speed, peak = get_tokens_per_s(channel), _get_peak(channel)
        context.figures[f"{backend} backend"] = _describe_speed(speed, peak)
        best = max(best, speed)
    if isinstance(theirs, str):
        context.figures["Unsloth's recipe"] = theirs
        return
    context.figures["Unsloth's recipe"] = _describe_speed(theirs["tokens/s"], theirs["peak"])
    context.expect(best >= theirs["tokens/s"], "Unsloth's recipe is faster")


def _describe_speed(tokens_per_s: float, peak: float) -> str:
    return f"{tokens_per_s:.0f} tokens/s, peak {peak / 1e9:.2f} GB"


def _get_peak(channel: Any) -> int:
    """Return the peak memory of a training in a process of its own, in bytes."""
    from lora_studio.core.protocol import events

    return int(channel.last(events.StepDone).memory_bytes)


def _get_first_norm(channel: Any) -> float:
    from lora_studio.core.protocol import events

    return float(channel.of(events.StepDone)[0].grad_norm)


@check("T20", "two GPUs train at least 1.85 times as fast as one", seconds=20, needs_gpu=True)
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
