"""Models of real shapes, the rate of matrix products, and other ways to train the same rows."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.gpu.registry import CheckContext
from tests.gpu.trainings import get_half_precision

#: Rank and alpha of all trainings that are compared: those of `tests.benchmarks.training`.
LORA = {"rank": 16, "alpha": 32, "targets": "all_linear"}


@dataclass(frozen=True)
class Shape:
    """The sizes of a Llama model; 8B has 8 of its 32 blocks, whose work per block is the same."""

    hidden: int
    inner: int
    layers: int
    heads: int
    key_heads: int
    head_size: int
    vocabulary: int
    is_tied: bool = True

    @property
    def block_weights(self) -> int:
        """Return the number of weights that every token is multiplied with, in all blocks."""
        attention = 2 * self.hidden * self.head_size * (self.heads + self.key_heads)
        return self.layers * (attention + 3 * self.hidden * self.inner)

    @property
    def head_weights(self) -> int:
        """Return the number of weights of the output layer."""
        return self.hidden * self.vocabulary


SHAPES = {
    "tiny": Shape(64, 128, 2, 4, 2, 16, 512),
    "135M": Shape(576, 1536, 30, 9, 3, 64, 49_152),
    "0.5B": Shape(896, 4864, 24, 14, 2, 64, 151_936),
    "1B": Shape(2048, 8192, 16, 32, 8, 64, 128_256),
    "8B": Shape(4096, 14_336, 8, 32, 8, 128, 128_256, is_tied=False),
}


def write_model(context: CheckContext, name: str) -> Path:
    """Return the folder of a model of random weights with the sizes of a real one, written on first use."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from tests.helpers.models.tiny_models import tiny_model

    folder = context.folder / f"model-{name}"
    if folder.exists():
        return folder
    tiny_model("llama3", folder)
    shape, config = SHAPES[name], AutoConfig.from_pretrained(folder)
    for field, value in {
        "hidden_size": shape.hidden, "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_heads, "head_dim": shape.head_size,
        "vocab_size": shape.vocabulary, "tie_word_embeddings": shape.is_tied,
        "max_position_embeddings": 32_768, "initializer_range": 0.02,
    }.items():  # fmt: skip
        setattr(config, field, value)
    with torch.device(context.device):
        network = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    # Large weights may be written as several files, and the tiny ones would be read instead.
    (folder / "model.safetensors").unlink()
    network.save_pretrained(folder)
    del network
    release_gpu()
    return folder


def release_gpu() -> None:
    """Free the memory of models that are gone."""
    from lora_studio.engine.model.loading import release_gpu as release

    release()


def make_long_rows(count: int, words: int) -> list[dict[str, Any]]:
    """Return rows of the same length."""
    return [{"instruction": "Count.", "output": " ".join(["one"] * words)} for _ in range(count)]


def make_mixed_rows(count: int) -> list[dict[str, Any]]:
    """Return rows of very different lengths, most of them short, as in chats."""
    draw = random.Random(1)
    lengths = [min(800, int(draw.lognormvariate(4.0, 1.0)) + 4) for _ in range(count)]
    return [{"instruction": "Count.", "output": " ".join(["one"] * length)} for length in lengths]


def has_room(context: CheckContext, name: str) -> bool:
    """Return whether a GPU has twice the memory that a shape's 16-bit weights take: enough to train it."""
    import torch

    if context.is_cpu:
        return True
    shape = SHAPES[name]
    weights = shape.block_weights + (1 if shape.is_tied else 2) * shape.head_weights
    total: int = torch.cuda.get_device_properties(context.device).total_memory
    return total >= 2 * 2 * weights


def measure_matrix_rate(context: CheckContext) -> float:
    """Return the rate of large products in the GPU's 16-bit format, in operations per second.

    For as long as a training step: a GPU's clock falls within the first tenth of a second.
    """
    import torch

    size, seconds, device = (256, 0.01, "cpu") if context.is_cpu else (8192, 1.0, context.device)
    dtype = get_half_dtype(context)
    one, other = (torch.randn(size, size, device=device, dtype=dtype) for _ in "ab")
    result, count, elapsed = torch.empty_like(one), 3, 0.0
    while elapsed < seconds:
        if elapsed:
            count = math.ceil(1.1 * count * max(1.0, seconds / elapsed))
        synchronize(device)
        started = time.monotonic()
        for _ in range(count):
            torch.mm(one, other, out=result)
        synchronize(device)
        elapsed = max(1e-6, time.monotonic() - started)
    return 2.0 * count * size**3 / elapsed


def get_half_dtype(context: CheckContext) -> Any:
    """Return the dtype of `get_half_precision`."""
    import torch

    return torch.bfloat16 if get_half_precision(context) == "bf16" else torch.float16


def synchronize(device: str) -> None:
    """Wait until the device has computed everything."""
    import torch

    if device != "cpu":
        torch.cuda.synchronize()


def read_clock(device: str) -> int | None:
    """Return the clock of a GPU's multiprocessors in MHz; None on the CPU, or if the driver doesn't tell."""
    import torch

    if device == "cpu":
        return None
    try:
        return int(torch.cuda.clock_rate(torch.device(device)))
    except Exception:  # libraries of two vendors with errors of their own
        return None


def compute_share(shape: Shape, tokens_per_s: float, trained_share: float, rate: float) -> float:
    """Return the share of the matrix rate that a training reaches.

    Forward, and backward for activations only: two products of two operations with each frozen weight, for
    the output layer at trained positions only. Attention and the adapter aren't counted.
    """
    weights = shape.block_weights + trained_share * shape.head_weights
    return 4 * weights * tokens_per_s / rate


@dataclass(frozen=True)
class TrainedRows:
    """The rows of each step of a run, as token ids and labels, in random order within a step."""

    steps: list[list[dict[str, list[int]]]]

    @classmethod
    def read(cls, run: Any) -> TrainedRows:
        """Read them from what the run wrote for train.py."""
        import numpy as np

        ids, trained, lengths, order = (
            np.load(run.data / f"{name}.npy") for name in ("ids", "trained", "lengths", "order")
        )
        ends = [0, *itertools.accumulate(map(int, lengths))]
        rows = [
            {
                "input_ids": ids[begin:end].tolist(),
                "labels": np.where(trained[begin:end], ids[begin:end], -100).tolist(),
            }
            for begin, end in itertools.pairwise(ends)
        ]
        steps = []
        for number, step in enumerate(order):
            chosen = [rows[row] for row in step.flatten() if row >= 0]
            random.Random(number).shuffle(chosen)
            steps.append(chosen)
        return cls(steps)

    @property
    def tokens(self) -> list[int]:
        """Return the tokens of each step, without padding."""
        return [sum(len(row["input_ids"]) for row in step) for step in self.steps]

    @property
    def trained_share(self) -> float:
        """Return the share of tokens that train."""
        labels = [label for step in self.steps for row in step for label in row["labels"]]
        return sum(label != -100 for label in labels) / len(labels)


def measure_padded_peft(
    context: CheckContext,
    model: Path,
    cases: list[tuple[TrainedRows, int]],
    *,
    is_4bit: bool = False,
) -> list[float]:
    """Return the tokens per second of a plain loop in each case: PEFT, padded micro-batches, all logits.

    A case has rows and a number of rows in a micro-batch. The first step of each isn't counted. NaN if it runs
    out of memory.
    """
    import torch

    dtype = get_half_dtype(context)
    network = _load_plain_peft(model, context.device, dtype, is_4bit)
    speeds = []
    for rows, micro_batch in cases:
        try:
            speeds.append(_train_padded(network, rows, context.device, dtype, micro_batch))
        except torch.OutOfMemoryError:
            speeds.append(math.nan)
        network.zero_grad()
        release_gpu()
    del network
    release_gpu()
    return speeds


def _load_plain_peft(model: Path, device: str, dtype: Any, is_4bit: bool) -> Any:
    import peft
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    quantized: dict[str, Any] = {}
    if is_4bit:
        quantized["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
        )
    base = AutoModelForCausalLM.from_pretrained(
        model, dtype=dtype, device_map={"": device}, **quantized
    )
    config = peft.LoraConfig(
        r=LORA["rank"], lora_alpha=LORA["alpha"], target_modules="all-linear",
        task_type="CAUSAL_LM",
    )  # fmt: skip
    return peft.get_peft_model(base, config).train()


def _train_padded(
    network: Any, rows: TrainedRows, device: str, dtype: Any, micro_batch: int
) -> float:
    import torch
    from torch.nn.utils.rnn import pad_sequence

    parameters = [value for value in network.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=2e-4)
    started = 0.0
    for number, step in enumerate(rows.steps):
        if number == 1:
            synchronize(device)
            started = time.monotonic()
        for begin in range(0, len(step), micro_batch):
            part = step[begin : begin + micro_batch]
            ids = pad_sequence([torch.tensor(row["input_ids"]) for row in part], True)
            labels = pad_sequence([torch.tensor(row["labels"]) for row in part], True, -100)
            mask = pad_sequence([torch.ones(len(row["input_ids"])) for row in part], True).long()
            named = {"input_ids": ids, "labels": labels, "attention_mask": mask}
            with torch.autocast(torch.device(device).type, dtype):
                loss = network(**{name: value.to(device) for name, value in named.items()}).loss
            loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    synchronize(device)
    seconds = time.monotonic() - started
    return sum(rows.tokens[1:]) / seconds


def measure_way(
    way: str, model: Path, rows: TrainedRows, micro_batch: int, work: Path, *, is_4bit: bool = False
) -> dict[str, float] | str:
    """Return tokens per second, first loss, and peak memory of TRL or Unsloth's recipe in its own process.

    If it isn't installed, or fails, returns why instead.
    """
    from tests.benchmarks import training

    for package in (way.lower(), "trl"):
        if importlib.util.find_spec(package) is None:
            return f"{package} isn't installed"
    per_step = len(rows.steps[0])
    recipe = training.Recipe(
        "", micro_batch, per_step // micro_batch, len(rows.steps), is_4bit=is_4bit
    )
    work.mkdir(exist_ok=True)
    (work / "recipe.json").write_text(json.dumps(asdict(recipe)))
    (work / "found.json").write_text(json.dumps({"model": str(model)}))
    (work / "steps.json").write_text(json.dumps(rows.steps))
    try:
        result = training.measure(way, work)
    except SystemExit as failure:  # another program's failure isn't one of this check
        return f"failed: {str(failure).strip().splitlines()[-1]}"
    seconds = result["clock"][-1][0] - result["clock"][0][0]
    return {
        "tokens/s": sum(rows.tokens[1:]) / seconds,
        "loss": result["losses"][0],
        "peak": result["peak"],
    }
