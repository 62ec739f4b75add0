"""Measure speed and memory of training: ours, TRL's SFTTrainer, and Unsloth's recipe.

    python -m tests.benchmarks.training [--data FILE] [--size 1B] [--rounds 2] [--quick] [--busy]

SmolLM2-135M-Instruct in bfloat16 on real rows, or random weights of Llama 3.2 1B's shape. Every way
takes the same optimizer steps on the same rows with the same adapter, each in its own process, in turns
(A-B-A-B). Ours runs in the worker like any training, with ample memory and once more with the settings of least memory. Counted are text
tokens without padding, from the end of the first step to the end of the last; memory is the peak of
the process, or of the GPU if there is one. All must start with the same loss.

Wall time is worthless on a CPU that other programs use; with `--busy`, every way gets one thread, and
its CPU seconds are counted.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

MODEL = "builtin:SmolLM2-135M-Instruct"

#: Shapes of models with random weights and SmolLM2's vocabulary, by size.
SHAPES = {
    "1B": {
        "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "head_dim": 64,
        "num_attention_heads": 32, "num_key_value_heads": 8,
    },
}  # fmt: skip
SEED = 42
LEARNING_RATE = 2e-4
RANK, ALPHA = 16, 32
LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

#: Ratio -> the least it should be.
GOALS = {
    "ours / TRL, tokens per second": 3.0,
    "ours / Unsloth, tokens per second": 2.0,
    "least memory / Unsloth, tokens per second": 1.3,
    "Unsloth / least memory, peak memory": 1.0,
}

#: Steps to announce, so that preparations such as compiling are chosen as for a long training. They take place
#: before the first step, and their time isn't measured.
_LONG_TRAINING = 1000

#: Largest relative difference of the first step's loss, in bfloat16.
SAME_LOSS = 0.01


@dataclass(frozen=True)
class Recipe:
    """The settings that all ways share."""

    data: str
    micro_batch: int
    accumulation: int
    steps: int
    size: str = ""
    is_4bit: bool = False

    @property
    def per_step(self) -> int:
        """Return the number of rows per optimizer step."""
        return self.micro_batch * self.accumulation


def prepare(work: Path) -> dict[str, Any]:
    """Writes the rows of each step as token ids and labels, in the order of our plan.

    Within a step they are shuffled: our loop sorts them by length itself, the others do not.
    """
    import random

    import numpy as np

    from lora_studio.core.dataset.spec import DatasetSpec
    from lora_studio.core.model.spec import ModelSpec
    from lora_studio.engine.dataset.prepare import prepare as read
    from lora_studio.engine.dataset.rows.sequences import EncodedRows
    from lora_studio.engine.model import sources
    from lora_studio.engine.model.tokenizer import load_tokenizer
    from lora_studio.engine.tokens.batches import BatchPlan
    from tests.helpers.runs.jobs import make_job

    recipe, job = load_recipe(work), make_job()
    folder = sources.resolve(ModelSpec(source=MODEL), job)
    if recipe.size:
        folder = _create_model(folder, SHAPES[recipe.size], work / "model")
    spec = DatasetSpec.model_validate(dataset_settings(recipe))
    rows = EncodedRows(read(spec, load_tokenizer(folder), SEED, job).training)
    plan = BatchPlan(rows.lengths, recipe.micro_batch, recipe.accumulation, SEED)
    assert plan.steps_per_epoch > recipe.steps, "too few rows for so many steps"
    steps = []
    for number in range(recipe.steps):
        chosen = [rows[index] for part in plan.get_step(number) for index in part]
        random.Random(number).shuffle(chosen)
        labels = [np.where(row.trained, row.ids, -100).tolist() for row in chosen]
        steps.append(
            [
                {"input_ids": row.ids.tolist(), "labels": ids}
                for row, ids in zip(chosen, labels, strict=True)
            ]
        )
    (work / "steps.json").write_text(json.dumps(steps))
    return {"model": str(folder), "tokens": [sum(len(r["input_ids"]) for r in s) for s in steps]}


def _create_model(base: Path, shape: dict[str, int], folder: Path) -> Path:
    """Write a model of a shape with random weights and the tokenizer of `base`, and return its folder."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(base)
    config.update(shape)
    torch.manual_seed(SEED)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    for file in [*base.glob("*token*"), *base.glob("*.jinja")]:
        shutil.copy(file, folder)
    return folder


def dataset_settings(recipe: Recipe) -> dict[str, Any]:
    """Return fields of our dataset step."""
    return {"sources": [recipe.data], "validation_share": 0.0, "max_length": 2048}


def load_recipe(work: Path) -> Recipe:
    """Return the recipe that the parent wrote."""
    return Recipe(**json.loads((work / "recipe.json").read_text()))


# --- the ways ---------------------------------------------------------------------------------


def by_us(work: Path, *, least_memory: bool = False) -> dict[str, Any]:
    """Run the first steps of a long training through the worker; its events are timed as they arrive."""
    from lora_studio.client import worker as client_worker
    from lora_studio.core.project.project import Project
    from lora_studio.core.protocol import commands, events
    from lora_studio.core.runs import folder as run_folder

    recipe = load_recipe(work)
    training = {
        "micro_batch": recipe.micro_batch,
        "gradient_accumulation": recipe.accumulation,
        "max_steps": _LONG_TRAINING,
        "epochs": 1000,
        "learning_rate": LEARNING_RATE,
        "schedule": "constant",
        "warmup_share": 0.0,
        "save_every": 0,
        "seed": SEED,
    }
    if least_memory:
        training |= {
            "micro_batch": 1,
            "gradient_accumulation": recipe.per_step,
            "gradient_checkpointing": "on",
        }
    project = Project.model_validate(
        {
            "name": "benchmark",
            "model": {"source": _prepared_facts(work)["model"]},
            "lora": {"rank": RANK, "alpha": ALPHA, "targets": "all_linear"},
            "dataset": dataset_settings(recipe),
            "training": training,
        }
    )
    run = run_folder.create_run(work / "runs", project, work)
    worker = client_worker.Worker.start(run)
    train = commands.Train(run=str(run.path))
    worker.send(train)
    process = psutil.Process(worker.pid)
    clock, losses, peak, logs = [], [], 0, []
    for event in worker.iter_events():
        match event:
            case events.StepDone() if len(losses) < recipe.steps:
                clock.append(_now(process))
                losses.append(event.loss)
                peak = event.memory_bytes
                if len(losses) == recipe.steps:
                    worker.send(commands.Stop(target=train.id))
            case events.LogLine():
                logs.append(str(event.text))
            case events.Failed():
                raise SystemExit(event.problem.model_dump_json())
            case events.Done():
                worker.close()
    return {"clock": clock, "losses": losses, "peak": peak, "said": logs}


def by_trl(work: Path) -> dict[str, Any]:
    """Run SFTTrainer with its defaults: the model by name, bfloat16, gradient checkpointing on."""
    import peft
    import torch
    import transformers
    from trl import SFTConfig, SFTTrainer

    quantization = None
    if load_recipe(work).is_4bit:
        quantization = transformers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
        )

    class OnProcessor(SFTTrainer):
        """The loss from all logits.

        WORKAROUND: the fused one of TRL 1.15 is a Triton kernel, which a processor has only as an
        interpreter that takes minutes for a step; this is what TRL computed before it had it.
        """

        compute_loss = transformers.Trainer.compute_loss

    config = SFTConfig(
        output_dir=str(work / "trl"), use_cpu=not torch.cuda.is_available(), **_common(work)
    )
    trainer = (SFTTrainer if torch.cuda.is_available() else OnProcessor)(
        model=_prepared_facts(work)["model"],
        args=config,
        train_dataset=_dataset(work),
        peft_config=peft.LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=LAYERS),
        quantization_config=quantization,
    )
    return _timed(trainer)


def by_unsloth(work: Path) -> dict[str, Any]:
    """Run the recipe of Unsloth's notebooks, in 16 or 4 bits: its loading, checkpointing and optimizer."""
    import unsloth  # isort: skip - has to come before trl
    from trl import SFTConfig, SFTTrainer

    model, tokenizer = unsloth.FastLanguageModel.from_pretrained(
        model_name=_prepared_facts(work)["model"],
        max_seq_length=2048,
        dtype=None,
        load_in_4bit=load_recipe(work).is_4bit,
    )
    model = unsloth.FastLanguageModel.get_peft_model(
        model,
        r=RANK,
        lora_alpha=ALPHA,
        lora_dropout=0,
        bias="none",
        target_modules=LAYERS,
        use_gradient_checkpointing="unsloth",
        random_state=SEED,
    )
    config = SFTConfig(
        output_dir=str(work / "unsloth"), optim="adamw_8bit", weight_decay=0.001, **_common(work)
    )
    trainer = SFTTrainer(
        model=model, processing_class=tokenizer, train_dataset=_dataset(work), args=config
    )
    return _timed(trainer)


def _common(work: Path) -> dict[str, Any]:
    """Return the settings of rows and steps, without those that trainers choose."""
    recipe = load_recipe(work)
    return {
        "per_device_train_batch_size": recipe.micro_batch,
        "gradient_accumulation_steps": recipe.accumulation,
        "max_steps": recipe.steps,
        "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": "constant",
        "train_sampling_strategy": "sequential",
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "save_strategy": "no",
        "report_to": "none",
        "logging_steps": 1,
        "disable_tqdm": True,
        "seed": SEED,
    }


def _prepared_facts(work: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((work / "found.json").read_text())
    return facts


def _dataset(work: Path) -> Any:
    from datasets import Dataset

    return Dataset.from_list([row for step in json.loads((work / "steps.json").read_text()) for row in step])  # fmt: skip


def _timed(trainer: Any) -> dict[str, Any]:
    """Train, and take the time after each optimizer step like our parent at each event."""
    from transformers import TrainerCallback

    clock = []

    class Clock(TrainerCallback):
        def on_step_end(self, *about: Any, **named: Any) -> None:
            clock.append(_now(psutil.Process()))

    trainer.add_callback(Clock())
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {"clock": clock, "losses": [float(loss) for loss in losses], "peak": _peak(), "said": []}


def _now(process: psutil.Process) -> tuple[float, float]:
    """Return wall time and CPU time of a process, in seconds since an arbitrary point."""
    used = process.cpu_times()
    return time.perf_counter(), used.user + used.system


def _peak() -> int:
    """Return the peak memory of the GPU, or of this process, in bytes."""
    import torch

    from lora_studio.engine.devices.devices import get_peak_memory_bytes

    return get_peak_memory_bytes(torch.device("cuda" if torch.cuda.is_available() else "cpu"))


# --- in turns ---------------------------------------------------------------------------------

WAYS = {
    "ours": by_us,
    "least memory": lambda work: by_us(work, least_memory=True),
    "TRL": by_trl,
    "Unsloth": by_unsloth,
}


def measure(way: str, work: Path) -> dict[str, Any]:
    """Run one way in a fresh process; its other output goes to a log."""
    command = [sys.executable, "-m", "tests.benchmarks.training", "--way", way, "--work", str(work)]
    root = Path(__file__).parents[2]
    python_path = os.environ.get("PYTHONPATH", "")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(root), python_path]))
    }
    with (work / "log.txt").open("ab") as log:
        done = subprocess.run(
            command, stdout=log, stderr=log, cwd=work, env=environment, check=False
        )
    if done.returncode:
        raise SystemExit(f"{way} failed:\n{(work / 'log.txt').read_text()[-3000:]}")
    result: dict[str, Any] = json.loads((work / f"{way}.json").read_text())
    return result


def compare(
    work: Path, recipe: Recipe, rounds: int, ways: list[str], *, busy: bool = False
) -> dict[str, Any]:
    """Run all ways in turns; return medians over rounds and ratios."""
    (work / "recipe.json").write_text(json.dumps(asdict(recipe)))
    prepared = measure("prepare", work)
    (work / "found.json").write_text(json.dumps(prepared))
    tokens = sum(prepared["tokens"][1:])
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            run = measure(way, work)
            first, last = run["clock"][0], run["clock"][-1]
            seconds = [end - begin for begin, end in zip(first, last, strict=True)]
            runs[way].append(run | {"tokens_per_s": tokens / seconds[busy]})
    speed = {way: statistics.median(r["tokens_per_s"] for r in runs[way]) for way in ways}
    peak = {way: max(r["peak"] for r in runs[way]) for way in ways}
    losses = {way: runs[way][0]["losses"] for way in peak}
    first = [values[0] for values in losses.values()]
    return {
        "recipe": asdict(recipe),
        "clock": "processor" if busy else "wall",
        "tokens": tokens,
        "tokens_per_s": speed,
        "peak_bytes": peak,
        "losses": losses,
        "same_loss": max(first) - min(first) < SAME_LOSS * min(first) if first else True,
        "ratios": _ratios(speed, peak),
        "said": {way: runs[way][0]["said"] for way in peak},
        "runs": {way: [r["tokens_per_s"] for r in way_runs] for way, way_runs in runs.items()},
    }


def _ratios(speed: dict[str, float], peak: dict[str, float]) -> dict[str, float]:
    """Return the ratios of the goals whose ways were measured."""
    parts = {
        "ours / TRL, tokens per second": (speed, "ours", "TRL"),
        "ours / Unsloth, tokens per second": (speed, "ours", "Unsloth"),
        "least memory / Unsloth, tokens per second": (speed, "least memory", "Unsloth"),
        "Unsloth / least memory, peak memory": (peak, "Unsloth", "least memory"),
    }
    return {
        name: values[one] / values[other]
        for name, (values, one, other) in parts.items()
        if one in values and other in values
    }


def main() -> int:
    """Measure and compare with the goals; return 1 if one is missed or losses differ."""
    sample = Path(__file__).parents[2] / "resources" / "sample" / "assistant.jsonl"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=sample)
    parser.add_argument("--size", choices=SHAPES, default="", help="of a model with random weights")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--micro-batch", type=int, default=4)
    parser.add_argument("--accumulation", type=int, default=4)
    parser.add_argument("--steps", type=int, default=4, help="the first is not counted")
    parser.add_argument("--quick", action="store_true", help="one round of two steps")
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY")
    parser.add_argument("--busy", action="store_true", help="count processor time, one thread")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        result = (
            prepare(arguments.work)
            if arguments.way == "prepare"
            else WAYS[arguments.way](arguments.work)
        )
        (arguments.work / f"{arguments.way}.json").write_text(json.dumps(result))
        return 0
    steps, rounds = (2, 1) if arguments.quick else (arguments.steps, arguments.rounds)
    recipe = Recipe(
        str(arguments.data.resolve()), arguments.micro_batch, arguments.accumulation, steps,
        arguments.size,
    )  # fmt: skip
    work = Path(tempfile.mkdtemp(prefix="training-"))
    try:
        if arguments.busy:
            os.environ["OMP_NUM_THREADS"] = "1"
        report = compare(work, recipe, rounds, arguments.only, busy=arguments.busy)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(json.dumps(report, indent=2))
    missed = [name for name, ratio in report["ratios"].items() if ratio < GOALS[name]]
    return 1 if missed or not report["same_loss"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
