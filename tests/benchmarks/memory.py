"""Compare the predicted with the measured memory of trainings.

    python -m tests.benchmarks.memory [--only NAME...] [--keep FILE [--kept]]
    python -m tests.benchmarks.memory --fit [--keep FILE [--kept]]

Every configuration is trained for two optimizer steps in its own worker process, on the GPU if there
is one. The prediction uses what the window knows before a training: the model's outline and the
measured lengths of the rows. `--fit` runs a different set of configurations and prints the constants
of `core/memory/estimate.py` that fit it best. `--keep` saves measured peaks in a file and reuses
them; with `--kept` only saved ones are reported.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lora_studio.client import worker
from lora_studio.core.dataset.spec import DatasetSpec, DataSource
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.memory.estimate import estimate
from lora_studio.core.memory.plan import CONSTANTS, Constants, MemoryPlan
from lora_studio.core.memory.rows import build_row_statistics
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.training.spec import TrainingSpec

GOAL_EACH, GOAL_MEDIAN = 0.15, 0.07

BUILTIN = "builtin:SmolLM2-135M-Instruct"


@dataclass(frozen=True)
class Random:
    """A model of random weights with the sizes of its configuration and a family's tokenizer."""

    family: str
    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    others: dict[str, Any] = field(default_factory=dict)


MODELS = {
    "llama-60M": Random("llama3", 512, 1408, 12, 8, 8, 32_000),
    "llama-110M": Random("llama3", 768, 2048, 12, 12, 4, 32_000),
    "llama-250M": Random("llama3", 1024, 2816, 16, 16, 4, 32_000),
    "wide-vocabulary": Random("llama3", 512, 1536, 8, 8, 2, 128_256),
    "qwen3-90M": Random("qwen3", 640, 1920, 10, 10, 2, 50_000),
    "qwen3-200M": Random("qwen3", 896, 2432, 14, 14, 2, 64_000),
    "gemma3-100M": Random("gemma3", 640, 2048, 14, 4, 1, 65_536),
    "phi3-130M": Random("phi3", 768, 2048, 14, 12, 12, 32_064),
    "moe-150M": Random(
        "qwen3_moe", 512, 1024, 8, 8, 2, 32_000,
        {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 768},
    ),
    "moe-250M": Random(
        "qwen3_moe", 640, 1280, 8, 10, 2, 32_000,
        {"num_experts": 16, "num_experts_per_tok": 4, "moe_intermediate_size": 768},
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One training. `recipe`, `lora` and `placed` (of the model) are fields of their specs, `length` is
    the limit in tokens."""

    model: str
    length: int
    recipe: dict[str, Any]
    precision: str = "bf16"
    lora: dict[str, Any] = field(default_factory=dict)
    rows: str = "conversations"  # or text, pairs, labeled
    placed: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return a short name of the case."""
        batch = f"{self.recipe.get('micro_batch', 1)}x{self.recipe.get('gradient_accumulation', 1)}"
        others = [
            f"{key}={value}"
            for key, value in {**self.recipe, **self.lora, **self.placed}.items()
            if key not in ("micro_batch", "gradient_accumulation")
        ]
        kind = [] if self.rows == "conversations" else [self.rows]
        return " ".join([self.model, self.precision, f"{batch}x{self.length}", *kind, *others])


def batch(micro_batch: int, accumulation: int = 1, **others: Any) -> dict[str, Any]:
    """Return a recipe."""
    return {"micro_batch": micro_batch, "gradient_accumulation": accumulation, **others}


SAVING = {"gradient_checkpointing": "on"}

#: What is printed.
REPORTED = (
    Case("smollm2", 512, batch(2, 2)),
    Case("smollm2", 256, batch(2, 2), "fp32"),
    Case("smollm2", 1024, batch(4, 1, **SAVING)),
    Case("smollm2", 384, batch(2, 1), lora={"rank": 64, "dropout": 0.05}),
    Case("llama-110M", 384, batch(2, 1, optimizer="adamw_8bit"), "fp32", {"rank": 32}),
    Case("llama-250M", 256, batch(2, 1)),
    Case("wide-vocabulary", 512, batch(2, 2)),
    Case("qwen3-90M", 512, batch(3, 1)),
    Case("gemma3-100M", 512, batch(2, 1)),
    Case("moe-150M", 512, batch(2, 1)),
    Case("llama-110M", 512, batch(2, 1), "4bit"),
    Case("llama-60M", 256, batch(2, 1), rows="pairs"),
    Case("llama-60M", 512, batch(4, 1, preference="orpo"), rows="pairs"),
    Case("llama-110M", 512, batch(2, 1), rows="text", lora={"targets": "attention_qv"}),
    Case("llama-250M", 128, batch(2, 2), placed={"device": "cpu:2", "sharding": "replicate"}),
    Case("llama-250M", 128, batch(2, 2), placed={"device": "cpu:2", "sharding": "shard"}),
)

#: What the constants are fitted to.
FITTING = (
    Case("smollm2", 384, batch(2, 1), "fp32"),
    Case("smollm2", 512, batch(4, 1, **SAVING)),
    Case("smollm2", 256, batch(2, 1), lora={"rank": 8, "targets": "attention"}),
    Case("llama-60M", 1024, batch(2, 1)),
    Case("llama-60M", 512, batch(2, 1), "fp32"),
    Case("llama-60M", 512, batch(2, 2), lora={"dropout": 0.1}),
    Case("qwen3-200M", 384, batch(2, 1)),
    Case("phi3-130M", 512, batch(2, 1)),
    Case("moe-250M", 384, batch(2, 1)),
    Case("qwen3-90M", 256, batch(2, 1), "4bit"),
    Case("llama-60M", 384, batch(1, 1), rows="pairs"),
)


# --- models and rows --------------------------------------------------------------------------


def model_source(name: str, folder: Path) -> str:
    """Return the project's model source; random models are written into the folder once."""
    if name == "smollm2":
        return BUILTIN
    target = folder / name
    if not (target / "config.json").is_file() or not list(target.glob("*.safetensors")):
        write_model(MODELS[name], target)
    return str(target)


def write_model(about: Random, folder: Path) -> None:
    """Write a model of random weights in bfloat16."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from tests.helpers.models.tiny_models import tiny_model

    tiny_model(about.family, folder)
    config = AutoConfig.from_pretrained(folder)
    sizes = {
        "hidden_size": about.hidden,
        "intermediate_size": about.inner,
        "num_hidden_layers": about.layers,
        "num_attention_heads": about.heads,
        "num_key_value_heads": about.kv_heads,
        "head_dim": about.hidden // about.heads,
        "vocab_size": about.vocabulary,
        "max_position_embeddings": 4096,
        "initializer_range": 0.02,
    }
    settings = config.to_dict() | sizes | about.others
    if "layer_types" in settings:
        kinds = settings["layer_types"] or ["full_attention"]
        settings["layer_types"] = [kinds[n % len(kinds)] for n in range(about.layers)]
    model_config = AutoConfig.for_model(**settings)
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(model_config, dtype=torch.bfloat16).save_pretrained(folder)


def write_rows(kind: str, length: int, file: Path) -> Path:
    """Write 64 rows of real words; half are longer than the limit, the others of any length."""
    words = random.Random(3)
    vocabulary = [
        "the",
        "harbour",
        "master",
        "writes",
        "every",
        "ship",
        "into",
        "blue",
        "book",
        "before",
        "tide",
        "turns",
    ]

    def text() -> str:
        # A word is one to three tokens with the tokenizers in question.
        return " ".join(words.choices(vocabulary, k=max(4, int(words.uniform(0.1, 1.4) * length))))

    rows: list[dict[str, Any]] = []
    for number in range(64):
        prompt = {"role": "user", "content": f"Tell story {number}."}
        if kind == "text":
            rows.append({"text": text()})
        elif kind == "pairs":
            sides = {side: [{"role": "assistant", "content": text()}] for side in ("chosen", "rejected")}  # fmt: skip
            rows.append({"prompt": [prompt], **sides})
        elif kind == "labeled":
            rows.append(
                {"prompt": prompt["content"], "completion": text(), "label": number % 2 == 0}
            )
        else:
            rows.append({"messages": [prompt, {"role": "assistant", "content": text()}]})
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return file


# --- predicted and measured -------------------------------------------------------------------


def project_of(case: Case, folder: Path, device: str) -> Project:
    """Return the project of a case, with its rows beside it."""
    rows = write_rows(case.rows, case.length, folder / f"{case.rows}-{case.length}.jsonl")
    return Project(
        name="Memory",
        model=ModelSpec(
            source=model_source(case.model, folder.parent),
            precision=case.precision,
            **({"device": device} | case.placed),
        ),
        lora=LoraSpec(**case.lora),
        dataset=DatasetSpec(
            sources=(DataSource(path=str(rows)),), max_length=case.length, validation_share=0.0
        ),
        training=TrainingSpec(**case.recipe, max_steps=2, save_every=0),
    )


def plan_of(project: Project, devices: events.DevicesFound) -> MemoryPlan:
    """Return the plan before the training, from the same questions that the window asks."""
    from lora_studio.engine import jobs
    from lora_studio.engine.runtime.channel import Flags, JobContext
    from tests.helpers.runs.jobs import RecordingChannel

    channel = RecordingChannel()
    job = JobContext("plan", channel, Flags())
    jobs.run_command(commands.InspectModel(model=project.model, lora=project.lora), job)
    jobs.run_command(commands.PlanDataset(dataset=project.dataset, model=project.model), job)
    limit = project.dataset.max_length
    kind = project.model.device.partition(":")[0]
    device = next(each for each in devices.devices if each.name.startswith(kind))
    return MemoryPlan(
        inspected=channel.last(events.ModelInspected),
        model=project.model,
        lora=project.lora,
        training=project.training,
        rows=build_row_statistics(channel.last(events.DatasetPlanned)),
        limit=limit,
        device=device,
    )


def measured(project: Project, folder: Path) -> tuple[int, int]:
    """Return peak bytes and the tokens of the largest of two steps in a fresh worker."""
    run = run_folder.create_run(folder / "runs", project, folder)
    peak, largest = 0, 0
    for event in worker.perform(commands.Train(run=str(run.path))):
        if isinstance(event, events.StepDone):
            peak, largest = max(peak, event.memory_bytes), max(largest, event.tokens)
        elif isinstance(event, events.Failed):
            raise SystemExit(f"{event.problem}")
    return peak, largest


@dataclass
class Result:
    """The predicted and the measured memory of a case, in bytes."""

    case: Case
    plan: MemoryPlan
    measured: int

    def predicted(self, constants: Constants = CONSTANTS) -> int:
        """Return the predicted bytes as the device reports them."""
        return estimate(replace(self.plan, constants=constants)).reported

    def error(self, constants: Constants = CONSTANTS) -> float:
        """Return the error relative to the measurement."""
        return self.predicted(constants) / self.measured - 1


def results(
    cases: tuple[Case, ...], keep: Path | None, only: list[str] | None, *, saved_only: bool = False
) -> list[Result]:
    """Return measured results, or with `saved_only` only those saved earlier."""
    from lora_studio.engine.devices import devices as engine_devices

    devices = engine_devices.list_devices()
    name = devices.devices[0].name.partition(":")[0]
    known: dict[str, int] = json.loads(keep.read_text("utf-8")) if keep and keep.is_file() else {}
    measurements: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="memory-") as models:
        # Keep these runs out of the calibration of this machine's user.
        os.environ["LORA_STUDIO_DATA"] = str(Path(models) / "data")
        for number, case in enumerate(cases):
            if only and not any(part in case.name for part in only):
                continue
            key = f"{name} {case.name}"
            if saved_only and key not in known:
                continue
            folder = Path(models) / f"case-{number}"
            folder.mkdir()
            project = project_of(case, folder, name)
            if key not in known:
                print(f"{case.name} …", file=sys.stderr, flush=True)
                known[key] = measured(project, folder)[0]
                if keep:
                    keep.write_text(json.dumps(known, indent=1), "utf-8")
            measurements.append(Result(case, plan_of(project, devices), known[key]))
    return measurements


# --- the fit ----------------------------------------------------------------------------------


#: What is fitted, and what it cannot be less than: logits are in memory once at least.
FITTED = {"process": 400 << 20, "logit": 1.0, "held": 0.0}


def fit(measurements: list[Result]) -> Constants:
    """Return the constants with the least mean squared relative error, by coordinate descent."""
    best = CONSTANTS
    step = dict.fromkeys(FITTED, 0.2)

    def badness(constants: Constants) -> float:
        return sum(result.error(constants) ** 2 for result in measurements)

    least = badness(best)
    while max(step.values()) > 0.002:
        for name, lowest in FITTED.items():
            now = getattr(best, name)
            for value in (now * (1 + step[name]), now / (1 + step[name])):
                tried = replace(best, **{name: type(now)(max(lowest, value))})
                if (error := badness(tried)) < least:
                    best, least = tried, error
                    break
            else:
                step[name] /= 2
    return best


def table(measurements: list[Result], constants: Constants = CONSTANTS) -> str:
    """Return one line per case, and whether the goals are met."""
    width = max(len(result.case.name) for result in measurements)
    lines = [f"{'configuration':{width}}  predicted   measured   error"]
    for result in measurements:
        predicted, took = result.predicted(constants) / 2**20, result.measured / 2**20
        error = result.error(constants)
        mark = "" if abs(error) <= GOAL_EACH else "  misses"
        lines.append(
            f"{result.case.name:{width}}  {predicted:5.0f} MiB  {took:5.0f} MiB  {error:+6.1%}{mark}"
        )
    errors = [abs(result.error(constants)) for result in measurements]
    lines.append(
        f"{len(measurements)} configurations: median error {statistics.median(errors):.1%} "
        f"(goal {GOAL_MEDIAN:.0%}), largest {max(errors):.1%} (goal {GOAL_EACH:.0%})"
    )
    return "\n".join(lines)


def main() -> None:
    """Print the table, or the constants that fit the fitting set best."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fit", action="store_true", help="fit the constants")
    parser.add_argument("--only", nargs="*", help="only configurations whose name contains this")
    parser.add_argument("--keep", type=Path, help="file of measured peaks")
    parser.add_argument("--kept", action="store_true", help="report saved measurements only")
    arguments = parser.parse_args()
    cases = FITTING if arguments.fit else REPORTED
    measurements = results(cases, arguments.keep, arguments.only, saved_only=arguments.kept)
    if arguments.fit:
        constants = fit(measurements)
        print(table(measurements, constants))
        print(constants)
    else:
        print(table(measurements))


if __name__ == "__main__":
    main()
