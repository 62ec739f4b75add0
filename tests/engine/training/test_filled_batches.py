"""Micro-batches filled up to more tokens than the longest has: fewer passes, the same losses, also resumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lora_studio.core.messages import NO_TEXT
from lora_studio.core.protocol import events
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.training import trainer
from lora_studio.engine.training.distributed.ranks import ProcessGroup
from lora_studio.engine.training.memory import forecast
from lora_studio.engine.training.memory.capture import PartialUpdateError
from lora_studio.engine.training.memory.ladder import MemoryLevel
from lora_studio.engine.training.memory.oom_recovery import OomRecovery, RolledBack
from lora_studio.engine.training.memory.watch import MemoryWatch
from lora_studio.engine.training.step_batches import StepBatches
from lora_studio.engine.training.trainer_state import TrainerState
from tests.engine.training.test_train_run import Start, adapter_of, losses, start
from tests.helpers.runs.jobs import RecordingChannel, make_job, new_run, train

__all__ = ["start"]


def test_checkpoints_keep_how_far_micro_batches_are_filled() -> None:
    state = TrainerState(MemoryLevel(2, False), least_tokens=4096)
    entries = state.to_checkpoint()
    spec = TrainingSpec(micro_batch=2)
    assert TrainerState.from_checkpoint(entries, spec).least_tokens == 4096
    del entries["memory"]["least_tokens"]  # as in earlier versions
    assert TrainerState.from_checkpoint(entries, spec).least_tokens == 0


class EqualRows(list[int]):
    """16 rows of 100 tokens each."""

    lengths = np.full(16, 100)


class FilledTrainer:
    """A trainer whose micro-batches of two rows are filled with all eight rows of a step."""

    step = 0

    def __init__(self) -> None:
        self.memory_level = MemoryLevel(2, False)
        rows: Any = EqualRows(range(16))
        spec = TrainingSpec(micro_batch=2, gradient_accumulation=4, max_steps=2)
        self.batches = StepBatches(rows, spec, padded=False, fill=True)
        self.batches.fill_up_to(800)

    def stop_filling(self) -> bool:
        return self.batches.stop_filling()

    def apply_memory_level(self, level: MemoryLevel) -> None:
        self.memory_level = level
        self.batches.set_micro_batch(level.micro_batch)

    def load_checkpoint(self) -> None:
        self.batches.fill_up_to(800)  # as it was saved

    @property
    def micro_batches(self) -> int:
        return len(self.batches.plan.get_step(0))


@pytest.mark.parametrize("error", [MemoryError(), PartialUpdateError(NO_TEXT)])
def test_oom_stops_the_filling_before_it_halves_micro_batches(
    tmp_path: Path, error: MemoryError
) -> None:
    trained = FilledTrainer()
    tuned: Any = SimpleNamespace(
        model=SimpleNamespace(
            get_base_model=lambda: SimpleNamespace(supports_gradient_checkpointing=True)
        ),
        base=SimpleNamespace(precision="4bit"),
    )
    run, channel, watch = (
        new_run(tmp_path),
        RecordingChannel(),
        MemoryWatch(torch.device("cpu"), []),
    )
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)])
    recovery = OomRecovery(
        trained, run, make_job(channel), ProcessGroup(), watch, tuned, trained.batches,
        optimizer=optimizer, scaler=None,
    )  # fmt: skip
    counts: list[int] = []

    def fail_twice() -> None:
        counts.append(trained.micro_batches)
        if len(counts) < 3:
            raise error

    while isinstance(recovery.run(fail_twice), RolledBack):
        pass
    assert counts == [1, 4, 8]
    levels = [(event.micro_batch, event.gradient_checkpointing) for event in channel.of(events.Recovered)]  # fmt: skip
    assert levels == [(2, False), (1, False)]


def test_training_stops_the_filling_for_later_checkpoints_too() -> None:
    trained: Any = SimpleNamespace(
        state=TrainerState(MemoryLevel(2, False), least_tokens=800), batches=FilledTrainer().batches
    )
    assert trainer.Trainer.stop_filling(trained)
    assert trained.state.least_tokens == 0
    assert not trainer.Trainer.stop_filling(trained)


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
