"""The SFT objective: equal to transformers' own loss and to TRL's, whatever is left out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from lora_studio.engine.objectives import sft_nll, takes_positions
from tests.engine.conftest import TinyModel
from tests.helpers.tiny_models import FAMILIES


def batch_of(rows: int = 3, length: int = 12) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random ids, right padding in the last row, and labels in two stretches."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 400, (rows, length), generator=generator)
    mask = torch.ones_like(ids)
    mask[-1, 7:] = 0
    labels = ids.clone()
    labels[:, :4] = -100
    labels[0, 6:9] = -100
    labels[-1, 7:] = -100
    return ids, mask, labels


@pytest.fixture
def model(request: pytest.FixtureRequest, tiny: TinyModel) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(tiny(request.param), dtype=torch.float32)


@pytest.mark.parametrize("model", FAMILIES, indirect=True)
def test_the_sum_is_that_of_transformers_over_all_trained_tokens(model: torch.nn.Module) -> None:
    ids, mask, labels = batch_of()
    targets = (labels[:, 1:] != -100).sum()
    assert takes_positions(model)
    ours = sft_nll(model, ids, mask, labels).detach()
    theirs = model(input_ids=ids, attention_mask=mask, labels=labels, num_items_in_batch=targets).loss.detach()  # fmt: skip
    assert float(ours / targets) == pytest.approx(float(theirs), rel=1e-5)


@pytest.mark.parametrize("model", ["llama3"], indirect=True)
def test_a_model_that_gives_all_logits_gives_the_same_sum(model: torch.nn.Module) -> None:
    class Whole(torch.nn.Module):
        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> object:
            return model(input_ids=input_ids, attention_mask=attention_mask)

    assert not takes_positions(Whole())
    ours = sft_nll(model, *batch_of()).detach()
    assert float(sft_nll(Whole(), *batch_of()).detach()) == pytest.approx(float(ours), rel=1e-6)


@pytest.mark.parametrize("model", ["qwen3"], indirect=True)
def test_micro_batches_add_up_to_the_gradient_of_the_whole(model: torch.nn.Module) -> None:
    ids, mask, labels = batch_of()
    targets = int((labels[:, 1:] != -100).sum())
    (sft_nll(model, ids, mask, labels) / targets).backward()
    whole = model.model.layers[0].mlp.up_proj.weight.grad.clone()
    model.zero_grad()
    for row in range(len(ids)):
        part = slice(row, row + 1)
        (sft_nll(model, ids[part], mask[part], labels[part]) / targets).backward()
    parts = model.model.layers[0].mlp.up_proj.weight.grad
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("model", ["mistral"], indirect=True)
def test_what_does_not_train_has_no_influence(model: torch.nn.Module) -> None:
    ids, mask, labels = batch_of()
    before = sft_nll(model, ids, mask, labels)
    ids[-1, 7:] = 3  # padding
    torch.testing.assert_close(sft_nll(model, ids, mask, labels), before)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["llama3"], indirect=True)
def test_the_loss_of_an_accumulated_step_is_that_of_trls_trainer(
    model: torch.nn.Module, tiny: TinyModel, tmp_path: Path
) -> None:
    ids, mask, labels = batch_of()
    rows = [
        {"input_ids": ids[row][mask[row] == 1].tolist(), "labels": labels[row][mask[row] == 1].tolist()}
        for row in range(len(ids))
    ]  # fmt: skip
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(rows), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.trl_loss", tiny("llama3"), file, tmp_path / "out"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    targets = int((labels[:, 1:] != -100).sum())
    ours = float(sft_nll(model, ids, mask, labels).detach()) / targets
    assert float(done.stdout.split()[-1]) == pytest.approx(ours, rel=1e-3)
