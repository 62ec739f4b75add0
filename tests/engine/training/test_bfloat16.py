"""Each choice of an adapter and each objective trains with 16-bit weights, as most people train."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from safetensors.torch import load_file

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.protocol import events
from lora_studio.core.spec import get_facts
from lora_studio.core.tasks.grpo import GrpoVariant
from lora_studio.core.training import combinations
from lora_studio.core.training.spec import TrainingSpec
from tests.engine.conftest import TinyModel
from tests.gpu.trainings import PREFERENCES, ROWS
from tests.helpers.models.tiny_models import make_teacher
from tests.helpers.runs.jobs import new_run, train, write_rows

pytestmark = pytest.mark.slow

#: Values of the fields of an adapter that aren't choices of a few.
VALUES: dict[str, tuple[Any, ...]] = {
    "dropout": (0.1,),
    "use_rslora": (True,),
    "use_dora": (True,),
    "blocks": ("1",),
    "own_ranks": (("q_proj=2:8",),),
    "modules_to_save": (("lm_head",), ("embed_tokens",), ("norm",)),
    "new_tokens": (("<lamp>", "</lamp>"),),
}

#: Numbers of no other kind, names that "targets" needs, and a folder, whose weights replace the initial ones.
WITHOUT = {"adapter_type", "rank", "alpha", "target_names", "start_from"}

#: A reward that differs between answers of as many tokens.
_SHORTER = {"kind": "length", "length_unit": "characters", "max_length": 0, "length_margin": 100}

OBJECTIVES: dict[str, dict[str, Any]] = {
    **{task: {} for task in ("sft", "kto", "classification", "embedding")},
    **PREFERENCES,
    **{
        f"grpo-{variant}": {
            "grpo_variant": variant, "group_size": 2, "rollout_tokens": 4, "rollout_passes": 2, "kl_beta": 0.1,
            "rewards": (_SHORTER,), "micro_batch": 2, "gradient_accumulation": 1,
        }
        for variant in get_args(GrpoVariant)
    },
    "distillation": {"distillation_top_k": 4},
}  # fmt: skip


def _iter_choices() -> Iterator[dict[str, Any]]:
    """Yield each setting of an adapter that differs from the default, for each kind that has it."""
    for kind in get_facts(LoraSpec, "adapter_type").choices:
        yield {"adapter_type": kind}
        for name in LoraSpec.model_fields.keys() - WITHOUT:
            default = LoraSpec.model_fields[name].default
            for value in VALUES.get(name) or get_facts(LoraSpec, name).choices.keys() - {default}:
                names = {"target_names": ("q_proj",)} if value == "names" else {}
                yield {"adapter_type": kind, name: value, **names}


def _is_allowed(lora: dict[str, Any]) -> bool:
    return not combinations.check(ModelSpec(precision="bf16"), LoraSpec(**lora), TrainingSpec())


CHOICES = [
    pytest.param(each, id=" ".join(f"{name}={value}" for name, value in each.items()))
    for each in sorted(_iter_choices(), key=str)
    if _is_allowed(each)
]


def _expect_training(
    folder: Path, model: Path, objective: str, lora: dict[str, Any], training: dict[str, Any]
) -> None:
    """Train two steps in bfloat16, and check their metrics and what is saved."""
    task = objective.partition("-")[0]
    rows = write_rows(folder / "rows.jsonl", ROWS["sft" if task == "distillation" else task])
    source = {"path": str(rows), "format": "prompts"} if task == "grpo" else str(rows)
    run = new_run(
        folder,
        model={"source": str(model), "precision": "bf16", "device": "cpu"},
        dataset={"sources": [source], "validation_share": 0.0, "max_length": 256},
        lora={"rank": 4, **lora},
        training={"max_steps": 2, "micro_batch": 2, "gradient_accumulation": 2, **training},
    )
    channel = train(run)
    assert channel.of(events.Done), channel.events[-1]
    steps = channel.of(events.StepDone)
    assert len(steps) == 2
    assert all(math.isfinite(step.loss) and math.isfinite(step.grad_norm) for step in steps)
    # DAPO ignores answers that were cut: all of a random model's.
    assert objective == "grpo-dapo" or all(step.grad_norm > 0 for step in steps)
    saved = load_file(run.adapter / "adapter_model.safetensors")
    assert saved
    assert all(value.isfinite().all() for value in saved.values())


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
@pytest.mark.parametrize("lora", CHOICES)
def test_adapter_trains(tiny: TinyModel, tmp_path: Path, lora: dict[str, Any]) -> None:
    _expect_training(tmp_path, tiny("llama3"), "sft", lora, {})


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_objective_trains(tiny: TinyModel, tmp_path: Path, objective: str) -> None:
    training = dict(OBJECTIVES[objective])
    if objective == "distillation":
        training["teacher"] = str(make_teacher(tiny("llama3"), tmp_path / "teacher"))
    _expect_training(tmp_path, tiny("llama3"), objective, {}, training)
