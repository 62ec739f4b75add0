"""Micro-batches filled up to more tokens than the longest has: fewer passes, the same losses, also resumed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lora_studio.core.messages import NO_TEXT
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.devices.oom_capture import PartialUpdateError
from lora_studio.engine.devices.ranks import ProcessGroup
from lora_studio.engine.training import trainer
from lora_studio.engine.training.memory import forecast
from lora_studio.engine.training.memory.watch import MemoryWatch
from lora_studio.engine.training.step_batches import StepBatches
from lora_studio.engine.training.trainer_state import MemoryLevel, TrainerState
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

    def __init__(self) -> None:
        self.state = TrainerState(MemoryLevel(2, False))
        base = SimpleNamespace(supports_gradient_checkpointing=True)
        model = SimpleNamespace(get_base_model=lambda: base)
        self.tuned = SimpleNamespace(model=model, base=SimpleNamespace(precision="4bit"))
        self.watch = MemoryWatch(torch.device("cpu"), [])
        self.ranks, self.scaler = ProcessGroup(), torch.amp.GradScaler("cpu", enabled=False)
        self.optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)])
        rows: Any = EqualRows(range(16))
        spec = TrainingSpec(micro_batch=2, gradient_accumulation=4, max_steps=2)
        self.batches = StepBatches(rows, spec, padded=False, fill=True)
        self.batches.fill_up_to(800)

    def stop_filling(self) -> bool:
        return self.batches.stop_filling()

    def apply_memory_level(self, level: MemoryLevel) -> None:
        self.state.memory_level = level
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
    trained: Any = FilledTrainer()
    channel = RecordingChannel()
    trained.run, trained.job = new_run(tmp_path), make_job(channel)
    recovery = trainer.OomRecovery(trained)
    counts: list[int] = []

    def fail_twice() -> None:
        counts.append(trained.micro_batches)
        if len(counts) < 3:
            raise error

    while not recovery.run(fail_twice):
        pass
    assert counts == [1, 4, 8]
    recovered = channel.of(events.Recovered)
    assert [(event.micro_batch, event.stopped_filling) for event in recovered] == [(2, True), (1, False)]  # fmt: skip
    assert "Short rows no longer share larger micro-batches" in str(recovered[0].text)
    assert "micro-batches of 1;" in str(recovered[1].text)


def test_training_stops_the_filling_for_later_checkpoints_too() -> None:
    trained: Any = SimpleNamespace(
        state=TrainerState(MemoryLevel(2, False), least_tokens=800), batches=FilledTrainer().batches
    )
    assert trainer.Trainer.stop_filling(trained)
    assert trained.state.least_tokens == 0
    assert not trainer.Trainer.stop_filling(trained)


def test_ranks_share_the_rows_of_a_filled_step() -> None:
    level = MemoryLevel(2, False)
    trained: Any = SimpleNamespace(
        state=TrainerState(level, least_tokens=800),
        batches=FilledTrainer().batches,
        ranks=ProcessGroup(0, 2),
    )
    assert [len(rows) for rows in trained.batches.plan.get_step(0)] == [8]
    trainer.Trainer.apply_memory_level(trained, level)
    assert [len(rows) for rows in trained.batches.plan.get_step(0)] == [4, 4]


@pytest.fixture
def filled(start: Start, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """Return a run whose micro-batches of two rows are filled with all four rows of a step."""
    monkeypatch.setattr(
        forecast, "fill_micro_batches", lambda plan: replace(plan, least_tokens=400)
    )
    return start(training={"max_steps": 2, "save_every": 1})


def read_least_tokens(run: RunFolder) -> int:
    entries = json.loads((run.checkpoint(run.list_checkpoint_steps()[-1]) / "checkpoint.json").read_text())  # fmt: skip
    return int(entries["memory"]["least_tokens"])


def test_state_of_a_filled_checkpoint_is_unfilled_after_oom(
    filled: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = torch.optim.AdamW.step
    saved: list[int] = []

    def fail_second_time(optimizer: Any, *about: Any) -> Any:
        saved.append(read_least_tokens(filled) if filled.list_checkpoint_steps() else 0)
        result = own(optimizer, *about)
        if len(saved) == 2:
            raise MemoryError  # after the weights have changed
        return result

    monkeypatch.setattr(torch.optim.AdamW, "step", fail_second_time)
    (recovered,) = train(filled).of(events.Recovered)
    assert saved[1] > 0
    assert (recovered.step, recovered.micro_batch, recovered.stopped_filling) == (1, 2, True)
    assert read_least_tokens(filled) == 0


@pytest.mark.parametrize("checkpoints", [0, 1])
def test_restarts_stop_the_filling_before_they_halve(filled: RunFolder, checkpoints: int) -> None:
    def end_early(event: Any, flags: Any) -> None:
        if isinstance(event, events.CheckpointSaved if checkpoints else events.MemoryEstimated):
            flags.cancel.set()

    def end_at_once(event: Any, flags: Any) -> None:
        if isinstance(event, events.Recovered):
            flags.cancel.set()

    train(filled, end_early)
    assert len(filled.list_checkpoint_steps()) == checkpoints
    levels = []
    for _ in range(2):
        channel = train(filled, end_at_once, resume=True, lower=True)
        recovered = channel.last(events.Recovered)
        levels.append((recovered.micro_batch, recovered.stopped_filling))
    assert levels == [(2, True), (1, False)]


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
