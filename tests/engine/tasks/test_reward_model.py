"""Reward models: trained like other objectives, equal to TRL, saved as PEFT saves them, refused elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.memory import adapter_size
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.training import recipe_checks
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.kernels.logprobs import LogprobModel
from lora_studio.engine.lora import adapter_files, attach
from lora_studio.engine.model.loading import load_tokenizer
from lora_studio.engine.tasks.preference import RewardModeling, attach_reward_head
from lora_studio.engine.tasks.table import create_objective
from lora_studio.engine.tokens.encoder import EncodedPair
from tests.engine.conftest import TinyModel
from tests.engine.tasks.test_classification import FakeBase
from tests.engine.tasks.test_objectives import (
    PAIRS,
    answer,
    expect_gradients,
    pair_of,
)
from tests.engine.training.test_train_run import Start, start
from tests.helpers.models.trl_loss import trl_steps
from tests.helpers.runs.jobs import handle, make_job, train, write_rows
from tests.helpers.runs.resumed_runs import expect_same_adapter_after_pause

__all__ = ["start"]

REWARD = {"preference": "reward", "learning_rate": 5e-3}
ROWS = [
    {"prompt": f"What is {n}?", "chosen": f"It is {n}, said Pim.", "rejected": f"No idea: {n}!"}
    for n in range(24)
]


def make_reward_model(folder: Path, seed: int = 3) -> peft.PeftModel:
    """Return a tiny 32-bit model with a head, whose B matrices aren't zero."""
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    torch.manual_seed(seed)
    model = attach.attach_adapter(base, LoraSpec(rank=4), make_job())
    attach_reward_head(AdaptedModel(FakeBase(base, folder), model), seed)  # type: ignore[arg-type]
    for name, value in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.05)
    return model.eval()


def save_merged(model: peft.PeftModel, base: Path, folder: Path) -> Any:
    """Save the adapter, load it with PEFT as a classifier, and save that one merged; return it."""
    model.save_pretrained(str(folder / "adapter"))
    classifier = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, dtype=torch.float32)  # fmt: skip
    classifier.config.pad_token_id = load_tokenizer(base).pad_token_id or 0
    merged = peft.PeftModel.from_pretrained(classifier, folder / "adapter").merge_and_unload()
    merged.save_pretrained(folder / "merged")
    load_tokenizer(base).save_pretrained(folder / "merged")
    return merged


def test_peft_loads_the_adapter_as_a_classifier(tiny: TinyModel, tmp_path: Path) -> None:
    model, pair = make_reward_model(tiny("llama3")), pair_of(1)
    merged = save_merged(model, tiny("llama3"), tmp_path)
    ids = [torch.from_numpy(row.ids.astype(np.int64))[None] for row in (pair.chosen, pair.rejected)]
    chosen, rejected = (float(merged(input_ids=each).logits.detach()) for each in ids)
    for packing in (True, False):
        own = RewardModeling(LogprobModel.create(model, packing=packing)).compute_loss([pair])
        assert float(own.metrics["margin"]) == pytest.approx(chosen - rejected, rel=1e-4)
    assert abs(chosen - rejected) > 1e-3


def test_head_of_a_reward_model_is_counted_once(tiny: TinyModel, tmp_path: Path) -> None:
    base, spec = tiny("llama3"), LoraSpec(rank=4)
    counted = attach.count_parameters(make_reward_model(base))
    inspected = attach.inspect_model(ModelSpec(source=str(base)), spec, make_job())
    by_widths = adapter_size.with_head(inspected, 1).adapter
    assert by_widths is not None
    assert by_widths.model_dump(exclude={"targets", "time"}) == counted.model_dump(
        exclude={"targets", "time"}
    )
    assert counted.total - counted.trainable == inspected.parameters


@pytest.mark.thorough
def test_reward_loss_and_gradients_equal_trl(tiny: TinyModel, tmp_path: Path) -> None:
    model = make_reward_model(tiny("llama3"))
    save_merged(model, tiny("llama3"), tmp_path)
    (actual,) = trl_steps([{"method": "reward"}], tmp_path / "merged", PAIRS, tmp_path)
    rows = [EncodedPair(*(answer([], row[f"{side}_ids"]) for side in ("chosen", "rejected"))) for row in actual["rows"]]  # fmt: skip
    own = RewardModeling(LogprobModel.create(model)).compute_loss(rows)
    assert float(own.total.detach()) / 3 == pytest.approx(actual["log"]["loss"], rel=1e-4)
    assert float(own.metrics["margin"]) / 3 == pytest.approx(actual["log"]["margin"], rel=1e-3)
    assert float(own.metrics["accuracy"]) / 3 == pytest.approx(actual["log"]["accuracy"])
    (own.total / 3).backward()
    file = tmp_path / "out" / "0.safetensors"
    expected = expect_gradients(model, file)
    expected["base_model.model.score.modules_to_save.default.weight"] = load_file(file)["score.weight"]  # fmt: skip
    values = dict(model.named_parameters())
    for name, gradient in expected.items():
        assert values[name].grad is not None
        torch.testing.assert_close(values[name].grad, gradient, rtol=1e-4, atol=1e-5)


def start_reward(start: Start, folder: Path, **training: Any) -> RunFolder:
    rows = write_rows(folder / "pairs.jsonl", ROWS)
    settings = {"epochs": 2, "micro_batch": 4, "sample_rows": 2, **REWARD, **training}
    return start(rows=rows, dataset={"validation_share": 0.2}, training=settings)


@pytest.mark.slow
def test_reward_model_learns_resumes_and_is_refused_elsewhere(start: Start, tmp_path: Path) -> None:
    unbroken, paused = start_reward(start, tmp_path), start_reward(start, tmp_path)
    channel = train(unbroken)
    said, *_ = recipe_checks.check_for("preference", unbroken.load_project().training)
    assert "can't be merged, exported as GGUF" in str(said.what)
    assert not channel.of(events.Warned), "terminal and window say it before"
    assert channel.last(events.Evaluated).metrics["accuracy"] > 0.9
    assert not channel.of(events.Sampled)
    weights = load_file(unbroken.adapter / "adapter_model.safetensors")
    assert weights["base_model.model.score.weight"].shape[0] == 1
    expect_same_adapter_after_pause(paused, unbroken)
    with pytest.raises(ProblemError, match="can't write them"):
        adapter_files.read(unbroken.adapter)
    failed = handle(commands.Merge(run=str(unbroken.path))).last(events.Failed)
    assert failed.problem.code == "lora.only_scores"


def test_reward_model_cannot_be_kept_by_its_answers(tiny: TinyModel) -> None:
    logprob_model = LogprobModel.create(make_reward_model(tiny("llama3")))
    spec = TrainingSpec.model_validate({"preference": "reward", "best_by": "exact"})
    with pytest.raises(ProblemError, match="doesn't write answers"):
        create_objective(spec, "preference", logprob_model)
