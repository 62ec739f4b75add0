"""Several steps compared with transformers' Trainer: losses, learning rates and gradient norms."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.dataset.prepare import prepare
from lora_studio.engine.dataset.rows.sequences import EncodedRows
from lora_studio.engine.tokens.batches import BatchPlan
from tests.engine.conftest import TinyModel
from tests.helpers.models.tiny_models import random_adapter
from tests.helpers.runs.jobs import handle, make_job, new_run, write_rows

STEPS = 6
ROWS: list[Any] = [
    {"instruction": f"What is {n} and {n}?", "output": f"It is {n + n}" + ", said Pim" * (n % 7)}
    for n in range(6 * STEPS)
]


@dataclass(frozen=True)
class Case:
    """The same recipe for both; `theirs` holds the Trainer's names for changed settings."""

    recipe: dict[str, Any] = field(default_factory=dict)
    theirs: dict[str, Any] = field(default_factory=dict)
    adapter: dict[str, Any] = field(default_factory=dict)


CASES = {
    "adamw": Case(),
    "adamw without clipping": Case({"max_grad_norm": 0.0}),
    "adamw in 8 bits": Case({"optimizer": "adamw_8bit"}, {"optim": "adamw_bnb_8bit"}),
    "adafactor": Case({"optimizer": "adafactor"}, {"optim": "adafactor"}),
    "ademamix": Case({"optimizer": "ademamix"}, {"optim": "ademamix"}),
    "schedule-free": Case(
        {"optimizer": "schedule_free_adamw"},
        {"optim": "schedule_free_adamw", "lr_scheduler_type": "constant_with_warmup"},
    ),
    "cosine to a lowest rate": Case(
        {"schedule": "cosine_with_min_lr", "lowest_rate": 0.2},
        {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": 0.2}},
    ),
    "polynomial": Case(
        {"schedule": "polynomial", "schedule_power": 3.0, "lowest_rate": 0.0},
        {
            "lr_scheduler_type": "polynomial",
            "lr_scheduler_kwargs": {"power": 3.0, "lr_end": 0.0},
        },
    ),
    "biases and norms": Case(adapter={"bias": "all", "modules_to_save": ["norm"]}),
    "DoRA": Case(adapter={"use_dora": True}),
}


@pytest.fixture
def biased(tiny: TinyModel, tmp_path: Path) -> Path:
    """A tiny model with biases."""
    config = AutoConfig.from_pretrained(tiny("llama3"))
    config.attention_bias = config.mlp_bias = True
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    for name, value in model.named_parameters():
        if "bias" in name:
            value.data.normal_()
    folder = tmp_path / "biased"
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny("llama3")).save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_step_equals_the_transformers_trainer(
    biased: Path, tmp_path: Path, name: str
) -> None:
    case = CASES[name]
    start_adapter = random_adapter(biased, tmp_path / "begun", **case.adapter)
    recipe = {
        "epochs": 1, "micro_batch": 2, "gradient_accumulation": 3, "learning_rate": 5e-3,
        "warmup_share": 0.2, "schedule": "linear", "max_grad_norm": 0.5, "weight_decay": 0.3,
    } | case.recipe  # fmt: skip
    run = new_run(
        tmp_path,
        model={"source": str(biased), "precision": "fp32", "device": "cpu"},
        dataset={
            "sources": [str(write_rows(tmp_path / "rows.jsonl", ROWS))],
            "validation_share": 0.0,
            "max_length": 256,
        },
        training=recipe,
        lora={"start_from": str(start_adapter)},
    )
    done = handle(commands.Train(run=str(run.path))).of(events.StepDone)
    ours = [(step.loss, step.learning_rate, step.grad_norm) for step in done]
    base = AutoModelForCausalLM.from_pretrained(biased, dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(base, str(start_adapter), is_trainable=True)
    theirs = _of_trainer(run, model, recipe, case, tmp_path / "out")
    assert len(ours) == len(theirs) == STEPS
    for own, other in zip(ours, theirs, strict=True):
        assert own == pytest.approx(other, rel=1e-5)


def _of_trainer(
    run: RunFolder, model: Any, recipe: dict[str, Any], case: Case, folder: Path
) -> list[tuple[float, float, float]]:
    """Train with the Trainer on the same rows in the same order; return loss, rate, norm by step."""
    project = run.load_project()
    spec = project.training
    tokenizer = AutoTokenizer.from_pretrained(project.model.source)
    rows = EncodedRows(prepare(project.dataset, tokenizer, spec.seed, make_job()).training)
    plan = BatchPlan(rows.lengths, spec.micro_batch, spec.gradient_accumulation, spec.seed)
    order = [row for step in range(STEPS) for batch in plan.get_step(step) for row in batch]
    known: dict[str, Any] = {
        "optim": "adamw_torch_fused", "lr_scheduler_type": "linear",
        "per_device_train_batch_size": 2, "gradient_accumulation_steps": 3, "max_steps": STEPS,
        "warmup_steps": spec.count_warmup_steps(STEPS), "train_sampling_strategy": "sequential",
        "logging_steps": 1, "report_to": "none", "use_cpu": True, "save_strategy": "no",
        "disable_tqdm": True,
    }  # fmt: skip
    known |= {name: recipe[name] for name in ("learning_rate", "max_grad_norm", "weight_decay")}
    trainer = Trainer(
        model,
        TrainingArguments(str(folder), **known | case.theirs),
        train_dataset=[_item(rows[row]) for row in order],
        data_collator=_together,
    )
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    return [(log["loss"], log["learning_rate"], log["grad_norm"]) for log in logs]


def _item(row: Any) -> dict[str, torch.Tensor]:
    ids = torch.tensor(row.ids.astype("int64"))
    mask = torch.tensor(row.trained.copy())
    return {"input_ids": ids, "labels": ids.where(mask, -100), "attention_mask": ids * 0 + 1}


def _together(items: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    pad = torch.nn.utils.rnn.pad_sequence
    empty = {"input_ids": 0, "labels": -100, "attention_mask": 0}
    return {
        name: pad([item[name] for item in items], batch_first=True, padding_value=value)
        for name, value in empty.items()
    }
