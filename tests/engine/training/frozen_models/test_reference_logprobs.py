"""The reference of DPO and KTO: computed once per row, cached with the data, and the same as before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import paths
from lora_studio.engine.kernels.logprobs import LogprobModel
from lora_studio.engine.tasks import preference
from lora_studio.engine.tasks.preference import Dpo, Kto
from lora_studio.engine.tokens.encoder import EncodedLabeled, EncodedPair
from lora_studio.engine.training.frozen_models import reference_logprobs
from tests.engine.conftest import TinyModel
from tests.engine.kernels.test_fused import wrap
from tests.engine.tasks.test_objectives import pair_up, rows_of
from tests.engine.training.test_train_run import Start, adapter_of, losses, start
from tests.helpers.runs.jobs import train, write_rows

__all__ = ["start"]

PAIRS = [
    {"prompt": f"What is {n}?", "chosen": f"It is {n}, said Pim.", "rejected": f"No idea: {n}!"}
    for n in range(12)
]
LABELS = [
    {"prompt": f"What is {n}?", "completion": f"It is {n}, said Pim.", "label": n % 3 > 0}
    for n in range(12)
]


@pytest.mark.parametrize("kind", [Dpo, Kto])
def test_known_reference_gives_the_same_loss(tiny: TinyModel, kind: Any) -> None:
    logprob_model = LogprobModel.create(
        wrap(tiny("llama3"), LoraSpec(rank=4), torch.float32).train()
    )
    logprob_model.load_reference()
    one, two, three = rows_of()
    rows: list[Any] = (
        [EncodedPair(one, two), EncodedPair(three, one)]
        if kind is Dpo
        else pair_up([EncodedLabeled(one, True), EncodedLabeled(two, False)])
    )
    objective = kind(logprob_model, 0.1)

    def compute(rows: list[Any]) -> list[torch.Tensor]:
        logprob_model.model.zero_grad()
        objective.prepare_step([rows])
        loss = objective.compute_loss(rows)
        loss.total.backward()
        grads = (value.grad for value in logprob_model.model.parameters())
        return [loss.total.detach(), *(grad.clone() for grad in grads if grad is not None)]

    known = objective.compute_reference(rows).tolist()
    referenced = [
        replace(row, reference=tuple(value)) for row, value in zip(rows, known, strict=True)
    ]
    for actual, expected in zip(compute(referenced), compute(rows), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


class Passes:
    """Counts rows whose reference is computed, and calls `on_pass` after each micro-batch."""

    def __init__(self) -> None:
        self.rows = 0
        self.on_pass: Callable[[], None] = lambda: None


@pytest.fixture
def passes(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Passes:
    """Count passes of the reference, with a cache that no other test process uses."""
    assert not own_cache.exists()
    counted = Passes()
    original = preference._score_reference

    def score(logprob_model: LogprobModel, batch: Any) -> torch.Tensor:
        result = original(logprob_model, batch)
        counted.rows += len(batch.lengths)
        counted.on_pass()
        return result

    monkeypatch.setattr(preference, "_score_reference", score)
    return counted


def start_dpo(start: Start, folder: Path, **training: Any) -> RunFolder:
    return start(
        rows=write_rows(folder / "pairs.jsonl", PAIRS),
        dataset={"validation_share": 0.25},
        training={
            "epochs": 2,
            "preference": "dpo",
            "eval_every": 3,
            "keep_best": False,
            **training,
        },
    )


def cached_files() -> list[Path]:
    return list((paths.get_cache_folder() / "reference").glob("*.bin"))


def empty_cache() -> None:
    for file in cached_files():
        file.unlink()


@pytest.mark.slow
def test_each_row_is_computed_once_for_all_runs(
    start: Start, tmp_path: Path, passes: Passes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(preference, "_get_known_reference", lambda rows: None)
        plain = losses(train(start_dpo(start, tmp_path)))
    empty_cache()
    passes.rows = 0
    assert losses(train(start_dpo(start, tmp_path))) == pytest.approx(plain, rel=1e-5)
    assert passes.rows == 2 * len(PAIRS)  # both answers of each pair, in two epochs and evaluations
    other = start_dpo(start, tmp_path, beta=0.3, seed=7, dpo_loss="ipo")
    train(other)
    assert passes.rows == 2 * (len(PAIRS) + 2)  # one micro-batch to verify the cache
    (file,) = cached_files()
    file.write_bytes(file.read_bytes()[:-3] + b"abc")
    train(start_dpo(start, tmp_path))
    assert passes.rows == 2 * (2 * len(PAIRS) + 2)


@pytest.mark.slow
def test_only_rows_of_the_training_are_computed(
    start: Start, tmp_path: Path, passes: Passes
) -> None:
    train(start_dpo(start, tmp_path, max_steps=1))
    assert passes.rows == 2 * (4 + len(PAIRS) // 4)


@pytest.mark.slow
def test_pause_in_the_reference_keeps_what_is_done(
    start: Start, tmp_path: Path, passes: Passes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference_logprobs, "BLOCK", 1)
    unbroken = start_dpo(start, tmp_path)
    train(unbroken)
    empty_cache()
    passes.rows = 0
    run, flags = start_dpo(start, tmp_path), []
    passes.on_pass = lambda: flags[0].pause.set() if passes.rows == 3 * 4 else None
    stages = []

    def listen(event: Any, own: Any) -> None:
        flags.append(own)
        if isinstance(event, events.Progress):
            stages.append(str(event.stage))

    assert train(run, on_event=listen).last(events.Done).paused
    assert "computing reference log-probabilities" in stages
    assert passes.rows == 12
    passes.on_pass = lambda: None
    train(run, resume=True)
    assert passes.rows == 2 * (len(PAIRS) + 2)
    for name, value in adapter_of(run).items():
        torch.testing.assert_close(value, adapter_of(unbroken)[name], rtol=0, atol=0)


@pytest.mark.slow
def test_kto_caches_the_reference_of_mismatched_answers_too(
    start: Start, tmp_path: Path, passes: Passes, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_rows(tmp_path / "labels.jsonl", LABELS)
    recipe = {"training": {"epochs": 2, "eval_every": 3, "keep_best": False}}
    settings = recipe | {"dataset": {"validation_share": 0.25}}
    with monkeypatch.context() as patch:
        patch.setattr(preference, "_get_known_reference", lambda rows: None)
        plain = losses(train(start(rows=file, **settings)))
    empty_cache()
    passes.rows = 0
    assert losses(train(start(rows=file, **settings))) == pytest.approx(plain, rel=1e-5)
    assert passes.rows == 2 * len(LABELS)  # its own answer and another one, in two epochs
