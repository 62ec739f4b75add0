"""Micro-batches filled up to more tokens than the longest has: fewer passes, the same losses, also resumed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lora_studio.core.protocol import events
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.training import trainer
from lora_studio.engine.training.memory import forecast
from lora_studio.engine.training.memory.ladder import MemoryLevel
from lora_studio.engine.training.trainer_state import TrainerState
from tests.engine.training.test_train_run import Start, adapter_of, losses, start
from tests.helpers.runs.jobs import train

__all__ = ["start"]


def test_checkpoints_keep_how_far_micro_batches_are_filled() -> None:
    state = TrainerState(MemoryLevel(2, False), least_tokens=4096)
    entries = state.to_checkpoint()
    spec = TrainingSpec(micro_batch=2)
    assert TrainerState.from_checkpoint(entries, spec).least_tokens == 4096
    del entries["memory"]["least_tokens"]  # as in earlier versions
    assert TrainerState.from_checkpoint(entries, spec).least_tokens == 0


@pytest.mark.slow
def test_filled_micro_batches_change_no_loss(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"micro_batch": 1, "gradient_accumulation": 4}
    plain = losses(train(start(training=settings)))
    monkeypatch.setattr(
        forecast, "fill_micro_batches", lambda plan: replace(plan, least_tokens=400)
    )
    counts: list[int] = []
    accumulate = trainer.Trainer.accumulate_gradients

    def count(self: Any, batches: Any, weight: int) -> Any:
        counts.append(len(batches))
        return accumulate(self, batches, weight)

    monkeypatch.setattr(trainer.Trainer, "accumulate_gradients", count)
    whole = start(training=settings)
    channel = train(whole)
    assert losses(channel) == pytest.approx(plain, rel=1e-5)
    assert max(counts) < 4
    # Its script trains the same micro-batches; the probe of memory is a single one.
    order = np.load(whole.data / "order.npy")
    assert [int((step[:, 0] >= 0).sum()) for step in order] == counts[1:]
    # No step has 400 tokens: the heaviest one is a single micro-batch.
    heaviest = max(step.tokens for step in channel.of(events.StepDone))
    assert channel.last(events.MemoryEstimated).estimate.tokens == heaviest
    run = start(training=settings)
    train(
        run, lambda event, flags: flags.pause.set() if isinstance(event, events.StepDone) else None
    )
    monkeypatch.setattr(forecast, "fill_micro_batches", lambda plan: plan)
    train(run, resume=True)
    expected = adapter_of(whole)
    assert all((value == expected[name]).all() for name, value in adapter_of(run).items())
