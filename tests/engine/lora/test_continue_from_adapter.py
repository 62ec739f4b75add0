"""Starting from an adapter: its shape and weights are used, and the run keeps a copy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from lora_studio.core.lora import adapters
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.kernels.logprobs import LogprobModel
from lora_studio.engine.lora import attach
from lora_studio.engine.tokens.batches import collate
from lora_studio.engine.tokens.encoder import Encoded
from tests.engine.conftest import TinyModel
from tests.helpers.models.tiny_models import random_adapter
from tests.helpers.runs.jobs import handle, make_job, new_run, train, write_rows

Start = Callable[..., RunFolder]

ROWS = [
    {"instruction": f"What is {n} and {n}?", "output": f"It is {n + n}, said Pim."}
    for n in range(8)
]
PAIRS = [
    {"prompt": f"What is {n}?", "chosen": f"It is {n}, said Pim.", "rejected": f"No idea: {n}!"}
    for n in range(8)
]


@pytest.fixture
def start(tiny: TinyModel, tmp_path: Path) -> Start:
    def make(adapter: Path, rows: list[Any] = ROWS, **recipe: Any) -> RunFolder:
        training = {"epochs": 1, "micro_batch": 4, "gradient_accumulation": 1, "max_steps": 2}
        file = write_rows(tmp_path / "rows.jsonl", rows)
        return new_run(
            tmp_path,
            model={"source": str(tiny("llama3")), "precision": "fp32", "device": "cpu"},
            dataset={"sources": [str(file)], "validation_share": 0.0},
            training=training | recipe,
            lora={"start_from": str(adapter)},
        )

    return make


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


@pytest.mark.parametrize(
    "shape",
    [
        {"r": 3, "lora_alpha": 5, "target_modules": ["q_proj", "down_proj"]},
        {"use_dora": True, "use_rslora": True, "rank_pattern": {"q_proj": 2}},
        {"modules_to_save": ["norm"], "target_modules": ".*self_attn.(q|v)_proj"},
    ],
    ids=["named", "dora", "whole"],
)
def test_training_starts_with_shape_and_weights_of_the_adapter(
    start: Start, tiny: TinyModel, tmp_path: Path, shape: dict[str, Any]
) -> None:
    adapter = random_adapter(tiny("llama3"), tmp_path / "made", **shape)
    run = start(adapter, learning_rate=1e-12)
    channel = train(run)
    assert channel.of(events.Done), channel.of(events.Failed)
    before, after = weights(adapter), weights(run.adapter)
    assert before.keys() == after.keys()
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=1e-5, atol=1e-7)
    settings = [json.loads((f / "adapter_config.json").read_text()) for f in (adapter, run.adapter)]
    for key in ("r", "lora_alpha", "use_dora", "use_rslora", "rank_pattern", "modules_to_save"):
        assert settings[0][key] == settings[1][key]
    assert run.read_manifest()["started_from"] == str(adapter)


@pytest.mark.slow
def test_training_resumes_after_its_starting_adapter_is_deleted(
    start: Start, tiny: TinyModel, tmp_path: Path
) -> None:
    adapter = random_adapter(tiny("llama3"), tmp_path / "made")
    whole, halved = (start(adapter, PAIRS, epochs=2, max_steps=4) for _ in range(2))
    train(whole)
    train(halved, on_event=lambda event, flags: flags.stop.set() if isinstance(event, events.StepDone) else None)  # fmt: skip
    shutil.rmtree(adapter)
    assert train(halved, resume=True).of(events.Done)
    name = "adapter_model.safetensors"
    assert (halved.adapter / name).read_bytes() == (whole.adapter / name).read_bytes()


@pytest.mark.slow
def test_preference_reference_is_the_starting_adapter(
    start: Start, tiny: TinyModel, tmp_path: Path
) -> None:
    adapter = random_adapter(tiny("llama3"), tmp_path / "made", use_dora=True)
    channel = train(start(adapter, PAIRS, epochs=4, max_steps=6, learning_rate=5e-3))
    steps = channel.of(events.StepDone)
    # At first the policy equals the reference: −log σ(0).
    assert steps[0].loss == pytest.approx(0.693147, rel=1e-4)
    assert steps[-1].loss < 0.69
    saved = weights(Path(channel.last(events.AdapterSaved).folder))
    assert not any("reference" in name for name in saved)
    assert any(not torch.equal(value, weights(adapter)[name]) for name, value in saved.items())


def test_reference_is_computed_without_dropout(tiny: TinyModel, tmp_path: Path) -> None:
    adapter = random_adapter(tiny("llama3"), tmp_path / "made", lora_dropout=0.5)
    base = AutoModelForCausalLM.from_pretrained(tiny("llama3"), dtype=torch.float32)
    spec = LoraSpec(start_from=str(adapter), dropout=0.5)
    logprob_model = LogprobModel.create(attach.attach_adapter(base, spec, make_job()), adapter)
    logprob_model.load_reference()
    logprob_model.model.train()
    batch = collate([Encoded(np.arange(5, 15, dtype=np.int32), np.ones(10, dtype=bool), 10)])
    with torch.no_grad():
        with logprob_model.switch_to_reference():
            first, second = logprob_model(batch), logprob_model(batch)
        dropped = logprob_model(batch)
    assert torch.equal(first, second)
    assert not torch.equal(first, dropped)


def test_adapter_of_other_model_is_reported_at_its_field(
    start: Start, tiny: TinyModel, tmp_path: Path
) -> None:
    adapter = random_adapter(tiny("phi3"), tmp_path / "made", target_modules=["qkv_proj"])
    problem = train(start(adapter)).last(events.Failed).problem
    assert (problem.code, problem.where.field) == ("lora.start_is_foreign", "start_from")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"peft_type": "IA3"}, "type IA3"),
        ({"peft_type": "LORA", "r": 4, "init_lora_weights": "pissa"}, "initialized with pissa"),
    ],
    ids=["IA3", "PiSSA"],
)
def test_unsuitable_starting_adapter_is_refused_with_a_reason(
    tmp_path: Path, settings: dict[str, Any], expected: str
) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    (tmp_path / "adapter_model.safetensors").touch()
    (problem,) = adapters.check(LoraSpec(start_from=str(tmp_path)))
    assert expected in str(problem.what)
    assert (problem.severity, problem.where.field) == ("error", "start_from")


def test_settings_overridden_by_the_adapter_give_a_warning(tiny: TinyModel, tmp_path: Path) -> None:
    adapter = random_adapter(tiny("llama3"), tmp_path / "made", target_modules=["q_proj"])
    spec = LoraSpec(start_from=str(adapter), alpha=8, rank=32, init="pissa")
    (problem,) = adapters.check(spec)
    assert problem.severity == "warning"
    assert "rank 4, alpha 8, and q_proj" in str(problem.what)
    assert "Rank 32 and Initialization PiSSA" in str(problem.remedy)
    assert "Alpha" not in str(problem.remedy)
    assert not adapters.check(LoraSpec(start_from=str(adapter)))


def test_parameter_count_is_that_of_the_adapter(tiny: TinyModel, tmp_path: Path) -> None:
    adapter = random_adapter(tiny("llama3"), tmp_path / "made", r=4, target_modules=["q_proj"])
    command = commands.InspectModel(
        model={"source": str(tiny("llama3"))}, lora=LoraSpec(start_from=str(adapter))
    )
    counted = handle(command).last(events.ModelInspected).adapter
    assert counted is not None
    assert counted.trainable == 2 * 4 * (64 + 64)
    assert counted.targets == ("q_proj",)
