"""The checks of the GPU tier: `python -m tests.gpu.checks NAME DEVICE FOLDER` runs one of them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Figures = dict[str, Any]


@dataclass(frozen=True)
class Check:
    """A check with its name, what it shows, and the longest time that it may take in seconds.

    `run` gets a device and an empty folder, raises AssertionError, and returns figures for the report.
    """

    name: str
    title: str
    run: Callable[[str, Path], Figures]
    needs_gpu: bool = False
    seconds: int = 300


CHECKS: dict[str, Check] = {}


def check(
    name: str, title: str, **others: Any
) -> Callable[[Callable[[str, Path], Figures]], Callable[[str, Path], Figures]]:
    """Register a function as a check."""

    def register(function: Callable[[str, Path], Figures]) -> Callable[[str, Path], Figures]:
        CHECKS[name] = Check(name, title, function, **others)
        return function

    return register


#: Rows of each kind of data, with answers of different lengths.
_ROWS: dict[str, list[dict[str, Any]]] = {
    "sft": [
        {"instruction": f"What is {n}?", "output": f"It is {n}, said Pim.{' Yes.' * (n % 5)}"}
        for n in range(12)
    ],
    "dpo": [
        {"prompt": f"What is {n}?", "chosen": f"It is {n}, said Pim.", "rejected": f"No idea: {n}!"}
        for n in range(12)
    ],
    "kto": [
        {"prompt": f"What is {n}?", "completion": f"It is {n}.", "label": n % 2 > 0}
        for n in range(12)
    ],
}
_ROWS["orpo"] = _ROWS["dpo"]


def train(
    folder: Path, device: str, objective: str = "sft", model: dict[str, Any] | None = None,
    family: str = "llama3", pause_after: int = 0, **training: Any,
) -> tuple[Any, Any]:  # fmt: skip
    """Train a tiny random model; return its run and the channel with all events.

    `pause_after` is the step after which training pauses, and then resumes.
    """
    from lora_studio.core.protocol import commands, events
    from tests.helpers.models.tiny_models import tiny_model
    from tests.helpers.runs import jobs

    source = folder / family
    if not source.exists():
        tiny_model(family, source)
    rows = jobs.write_rows(folder / f"{objective}.jsonl", _ROWS[objective])
    preference = {"preference": objective} if objective in ("dpo", "orpo") else {}
    run = jobs.new_run(
        folder,
        model={"source": str(source), "device": device, **(model or {})},
        dataset={"sources": [str(rows)], "validation_share": 0.0, "max_length": 256},
        lora={"rank": 8},
        training={"micro_batch": 2, "gradient_accumulation": 2, "keep_best": False, "backend": "peft",
                  **preference, **training},
    )  # fmt: skip

    def on_event(event: Any, flags: Any) -> None:
        if isinstance(event, events.StepDone) and event.step == pause_after:
            flags.pause.set()

    channel = jobs.handle(commands.Train(run=str(run.path)), on_event)
    if pause_after:
        assert channel.last(events.Done).paused, channel.events[-1]
        resumed = jobs.handle(commands.Train(run=str(run.path), resume=True))
        channel.events += resumed.events
    assert channel.of(events.Done), channel.events[-1]
    return run, channel


def get_losses(channel: Any) -> dict[int, float]:
    """Return the loss of each step."""
    from lora_studio.core.protocol import events

    return {event.step: event.loss for event in channel.of(events.StepDone)}


@check("T0", "devices are listed without using the GPU", needs_gpu=True, seconds=60)
def list_devices_unused(device: str, _: Path) -> Figures:
    """Compare the free memory with nvidia-smi's."""
    import torch

    from lora_studio.engine.devices import devices

    found = next(each for each in devices.list_devices().devices if each.name == device)
    assert not torch.cuda.is_initialized()
    program = shutil.which("nvidia-smi")
    assert program is not None
    query = [
        "--query-gpu=memory.free",
        "--format=csv,noheader,nounits",
        "-i",
        f"GPU-{found.identifier}",
    ]
    free = int(subprocess.run([program, *query], capture_output=True, check=True).stdout) << 20
    difference = abs(free - found.free_bytes) / found.total_bytes
    assert difference < 0.01, difference
    return {"card": str(found.title), "free bytes": found.free_bytes, "difference": difference}


@check("T1", "the first step of each recipe has the loss of 32-bit on the CPU", seconds=580)
def compare_first_losses(device: str, folder: Path) -> Figures:
    """Train a step of each objective, precision, and layout of rows."""
    precisions = {"bf16": 0.01, "fp32": 0.01}
    if device != "cpu":
        precisions |= {"fp16": 0.01, "4bit": 0.05, "8bit": 0.05}
    figures: Figures = {}
    for objective in ("sft", "dpo", "orpo", "kto"):
        settings: dict[str, Any] = {"max_steps": 1, "liger": "off"}
        exact = train(folder, "cpu", objective, {"precision": "fp32"}, **settings)[1]
        expected = get_losses(exact)[1]
        for precision, tolerance in precisions.items():
            for packing in (True, False):
                channel = train(
                    folder,
                    device,
                    objective,
                    {"precision": precision},
                    packing=packing,
                    max_steps=1,
                )[1]
                difference = abs(get_losses(channel)[1] - expected) / expected
                name = f"{objective} {precision} {'packed' if packing else 'padded'}"
                figures[name] = f"{difference:.3%}"
                assert difference <= tolerance, (name, difference)
    return figures


@check("T2", "packed rows, chunks of logits, and fused layers are used")
def check_kernels(device: str, folder: Path) -> Figures:
    """Read from the manifest what a training used."""
    figures: Figures = {}
    precisions = ("bf16",) if device == "cpu" else ("bf16", "4bit")
    for family in ("llama3", "qwen3_moe"):
        for precision in precisions:
            run, _ = train(folder, device, "sft", {"precision": precision}, family, max_steps=1)
            kernels = run.read_manifest()["kernels"]
            figures[f"{family} {precision}"] = kernels["said"]
            assert kernels["packed"], kernels
            assert kernels["chunked"], kernels
            assert kernels["fused"]["kinds"], kernels
            assert kernels["flash"] or device == "cpu", kernels
    return figures


@check("T6", "a training that pauses and resumes has the losses of one that doesn't", seconds=580)
def resume_like_uninterrupted(device: str, folder: Path) -> Figures:
    """Compare the steps after the pause for each kind of optimizer."""
    optimizers = ["adamw", "schedule_free_adamw"]
    if device != "cpu":
        optimizers += ["adamw_8bit", "paged_adamw_8bit"]
    figures: Figures = {}
    for optimizer in optimizers:
        settings = {"optimizer": optimizer, "max_steps": 6, "learning_rate": 1e-3}
        model = {"precision": "fp32" if device == "cpu" else "bf16"}
        whole = get_losses(train(folder, device, "sft", model, **settings)[1])
        parts = get_losses(train(folder, device, "sft", model, pause_after=3, **settings)[1])
        assert list(whole) == list(parts) == [1, 2, 3, 4, 5, 6]
        difference = max(abs(parts[step] - loss) / loss for step, loss in whole.items())
        figures[optimizer] = f"{difference:.4%}"
        assert difference <= 0.005, (optimizer, difference)
    return figures


@check("T10", "speed at 1B, and its share of the measured matrix rate", needs_gpu=True, seconds=580)
def measure_speed(device: str, folder: Path) -> Figures:
    """Train a random model of Llama 3.2 1B's shape; compare its peak memory with the estimate as well."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from lora_studio.core.protocol import events
    from tests.helpers.models.tiny_models import tiny_model

    source = tiny_model("llama3", folder / "llama3")
    config = AutoConfig.from_pretrained(source)
    for name, value in {
        "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128_256,
    }.items():  # fmt: skip
        setattr(config, name, value)
    with torch.device(device):
        network = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    parameters = sum(value.numel() for value in network.parameters())
    network.save_pretrained(source)
    del network
    torch.cuda.empty_cache()
    _ROWS["sft"] = [
        {"instruction": "Count.", "output": " ".join(map(str, range(n, n + 200)))}
        for n in range(64)
    ]
    rate = measure_matrix_rate(device)
    figures: Figures = {"matrix rate in TFLOP/s": round(rate / 1e12, 1)}
    for precision in ("bf16", "4bit"):
        recipe = {"micro_batch": 8, "gradient_accumulation": 1, "max_steps": 24}
        _, channel = train(folder, device, "sft", {"precision": precision}, **recipe)
        last = channel.last(events.StepDone)
        # Forward, and backward for activations only: two products with each frozen weight.
        share = 4 * parameters * last.tokens_per_s / rate
        estimated = channel.last(events.MemoryEstimated).estimate.reported
        figures[f"{precision} tokens/s"] = round(last.tokens_per_s)
        figures[f"{precision} share of the rate"] = f"{share:.1%}"
        figures[f"{precision} peak / estimate"] = round(last.memory_bytes / estimated, 3)
    return figures


def measure_matrix_rate(device: str) -> float:
    """Return the rate of a large product in bfloat16, in operations per second."""
    import torch

    size, count = 8192, 20
    one, other = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in "ab")
    for repeats in (3, count):
        torch.cuda.synchronize()
        started = time.monotonic()
        for _ in range(repeats):
            one @ other
        torch.cuda.synchronize()
    return 2.0 * count * size**3 / (time.monotonic() - started)


def main() -> None:
    """Run one check and write its figures, also where it failed."""
    name, device, folder = sys.argv[1:]
    work = Path(folder) / "work"
    work.mkdir()
    figures = CHECKS[name].run(device, work)
    (Path(folder) / "figures.json").write_text(json.dumps(figures), "utf-8")


if __name__ == "__main__":
    main()
