"""Scores of trained tokens: equal to transformers' own loss and to TRL's, whatever is left out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from lora_studio.core.lora import LoraSpec
from lora_studio.engine import logprobs, lora
from lora_studio.engine.batches import collate
from lora_studio.engine.logprobs import Scorer
from lora_studio.engine.objectives import sft
from lora_studio.engine.tokens import Encoded
from tests.engine.conftest import TinyModel
from tests.helpers.jobs import make_job
from tests.helpers.tiny_models import FAMILIES

Wrapped = Callable[[str], peft.PeftModel]


def rows_of() -> list[Encoded]:
    """Random ids of several lengths; training in two stretches, in one and from the start."""
    generator = np.random.default_rng(1)
    rows = []
    for length, trained in ((12, (*range(4, 6), *range(9, 12))), (12, range(4, 12)), (7, range(7))):
        mask = np.isin(np.arange(length), list(trained))
        rows.append(Encoded(generator.integers(5, 400, length).astype(np.int32), mask, length))
    return rows


@pytest.fixture
def wrapped(tiny: TinyModel) -> Wrapped:
    """A tiny model with an adapter that has learned something, in 32-bit."""

    def make(family: str) -> peft.PeftModel:
        base = AutoModelForCausalLM.from_pretrained(tiny(family), dtype=torch.float32)
        torch.manual_seed(3)
        model = lora.attach(base, LoraSpec(rank=4), make_job())
        for name, value in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(value, std=0.05)
        return model.eval()

    return make


def own_sum(model: peft.PeftModel, rows: list[Encoded]) -> float:
    """The sum as transformers' own loss gives it, row by row."""
    total = 0.0
    for row in rows:
        ids, labels = torch.from_numpy(row.ids.astype(np.int64))[None], torch.tensor([row.labels])
        count = int((labels[:, 1:] != -100).sum())
        total += float(model(input_ids=ids, labels=labels).loss.detach()) * count
    return total


@pytest.mark.parametrize("family", FAMILIES)
def test_the_sum_is_that_of_transformers_over_all_trained_tokens(
    wrapped: Wrapped, family: str
) -> None:
    model, rows = wrapped(family), rows_of()
    scorer = Scorer(model)
    assert (scorer.packed, scorer.chunked) == (True, True)
    assert float(sft(scorer(collate(rows))).detach()) == pytest.approx(
        own_sum(model, rows), rel=1e-5
    )


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("chunked", [True, False])
def test_every_way_gives_the_same_scores_and_gradients(
    wrapped: Wrapped, monkeypatch: pytest.MonkeyPatch, packed: bool, chunked: bool
) -> None:
    monkeypatch.setattr(logprobs, "_LOGITS_AT_ONCE", 5 * 512)  # several pieces
    model, rows = wrapped("qwen3"), rows_of()
    weights = torch.linspace(-1, 2, len(collate(rows).targets))
    scorer = Scorer(model)
    (scorer(collate(rows)) * weights).sum().backward()
    expected = [value.grad.clone() for value in model.parameters() if value.grad is not None]
    model.zero_grad()
    scorer.packed, scorer.chunked = packed, chunked
    (scorer(collate(rows)) * weights).sum().backward()
    found = [value.grad for value in model.parameters() if value.grad is not None]
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_rows_in_one_batch_have_no_influence_on_each_other(wrapped: Wrapped) -> None:
    scorer = Scorer(wrapped("mistral"))
    rows = rows_of()
    together = scorer(collate(rows)).detach()
    alone = torch.cat([scorer(collate([row])).detach() for row in rows])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_rows_longer_than_a_sliding_window_are_cut_off_from_what_lies_behind_it(
    tiny: TinyModel,
) -> None:
    base = AutoModelForCausalLM.from_pretrained(tiny("mistral"), dtype=torch.float32)
    base.config.sliding_window = 6
    model = lora.attach(base, LoraSpec(rank=4), make_job()).eval()
    scorer = Scorer(model)
    assert scorer.packed
    assert float(sft(scorer(collate(rows_of()))).detach()) == pytest.approx(
        own_sum(model, rows_of()), rel=1e-5
    )


def test_a_model_that_carries_a_state_along_the_sequence_is_trained_on_padded_rows() -> None:
    from transformers import MambaConfig, MambaForCausalLM

    torch.manual_seed(0)
    config = MambaConfig(vocab_size=512, hidden_size=32, state_size=4, num_hidden_layers=2)
    model = peft.get_peft_model(
        MambaForCausalLM(config), peft.LoraConfig(target_modules=["x_proj"], r=4)
    ).eval()
    scorer = Scorer(model)
    assert not scorer.packed
    rows = rows_of()
    assert float(sft(scorer(collate(rows))).detach()) == pytest.approx(
        own_sum(model, rows), rel=1e-4
    )


def test_an_output_layer_that_trains_gets_its_gradient(tiny: TinyModel) -> None:
    base = AutoModelForCausalLM.from_pretrained(tiny("phi3"), dtype=torch.float32)
    assert not base.config.tie_word_embeddings
    model = peft.get_peft_model(
        base, peft.LoraConfig(target_modules=["o_proj"], modules_to_save=["lm_head"], r=4)
    )
    scorer = Scorer(model)
    assert not scorer.chunked
    sft(scorer(collate(rows_of()))).backward()
    assert any(
        value.grad is not None for name, value in model.named_parameters() if "lm_head" in name
    )


@pytest.mark.parametrize("size", [1, 2])
def test_micro_batches_add_up_to_the_gradient_of_the_whole(wrapped: Wrapped, size: int) -> None:
    model, rows = wrapped("qwen3"), rows_of()
    scorer = Scorer(model)

    def gradients(batches: list[list[Encoded]]) -> list[torch.Tensor]:
        model.zero_grad()
        for part in batches:
            sft(scorer(collate(part))).backward()
        return [value.grad.clone() for value in model.parameters() if value.grad is not None]

    parts = [rows[begin : begin + size] for begin in range(0, len(rows), size)]
    for one, other in zip(gradients(parts), gradients([rows]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_loss_of_an_accumulated_step_is_that_of_trls_trainer(
    tiny: TinyModel, tmp_path: Path
) -> None:
    rows = rows_of()
    plain = [{"input_ids": row.ids.tolist(), "labels": row.labels} for row in rows]
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(plain), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.trl_loss", tiny("llama3"), file, tmp_path / "out"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    base = AutoModelForCausalLM.from_pretrained(tiny("llama3"), dtype=torch.float32)
    scores = Scorer(lora.attach(base, LoraSpec(), make_job()).eval())(collate(rows))
    assert float(done.stdout.split()[-1]) == pytest.approx(-float(scores.mean()), rel=1e-3)
