"""The running step is shown before it ends."""

from __future__ import annotations

import time

import pytest

from lora_studio.core.protocol import events
from lora_studio.core.training.evaluation_schedule import EvaluationSchedule
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.training.step_metrics import StepMetrics
from tests.helpers.runs.jobs import RecordingChannel, make_job


@pytest.fixture
def channel() -> RecordingChannel:
    return RecordingChannel()


@pytest.fixture
def job(channel: RecordingChannel) -> JobContext:
    return make_job(channel)


class Clock:
    """A clock that tests set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.seconds)


def run_step(metrics: StepMetrics, clock: Clock, step: int, seconds: float) -> None:
    """Run a step of four micro-batches."""
    metrics.start_step(step, 4)
    for number in range(4):
        metrics.show_micro_batch(number)
        clock.seconds += seconds / 4
    metrics.emit_step(
        seconds=seconds, step=step, tokens=8, epoch=0.1, loss=1.0, learning_rate=0.0,
        grad_norm=0.0, memory_bytes=0, metrics={},
    )  # fmt: skip


def list_shown(channel: RecordingChannel) -> list[tuple[str, float]]:
    return [(str(event.stage), event.done) for event in channel.of(events.Progress)]


def test_first_step_is_shown_when_it_begins(
    channel: RecordingChannel, job: JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, metrics = Clock(monkeypatch), StepMetrics(job, 10)
    for step in (1, 2, 3):
        run_step(metrics, clock, step, 0.1)
    assert list_shown(channel) == [("step 1 of 10", 0)], "quick steps have their own events"


def test_step_after_other_work_is_shown(
    channel: RecordingChannel, job: JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, metrics = Clock(monkeypatch), StepMetrics(job, 10)
    run_step(metrics, clock, 1, 0.1)
    job.report_progress("evaluating", 1, 1, "rows")
    run_step(metrics, clock, 2, 0.1)
    assert [stage for stage, _ in list_shown(channel)] == [
        "step 1 of 10", "evaluating", "step 2 of 10",
    ]  # fmt: skip


def test_slow_step_shows_its_micro_batches_and_the_time_left(
    channel: RecordingChannel, job: JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, metrics = Clock(monkeypatch), StepMetrics(job, 10)
    run_step(metrics, clock, 1, 8.0)
    assert list_shown(channel) == [("step 1 of 10", number / 4) for number in range(4)]
    run_step(metrics, clock, 2, 8.0)
    assert list_shown(channel)[4:] == [("step 2 of 10", 1 + number / 4) for number in range(4)]
    assert channel.of(events.Progress)[4].eta_s == pytest.approx(8.0 * 9)


def test_micro_batches_outside_a_step_are_not_shown(
    channel: RecordingChannel, job: JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, metrics = Clock(monkeypatch), StepMetrics(job, 10)
    clock.seconds += 60
    metrics.show_micro_batch(0)  # the probe of memory before the first step
    assert list_shown(channel) == []


def test_time_left_includes_the_evaluations_to_come(
    channel: RecordingChannel, job: JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    metrics = StepMetrics(job, 10, EvaluationSchedule(10, 4))
    for step in range(1, 11):
        run_step(metrics, clock, step, 3.0)
        if step == 4:
            metrics.record_evaluation(60.0)
    left = {event.step: event.eta_s for event in channel.of(events.StepDone)}
    assert left[4] == pytest.approx(6 * 3), "no evaluation has been measured yet"
    assert left[5] == pytest.approx(5 * 3 + 2 * 60), "after steps 8 and 10"
    assert left[8] == pytest.approx(2 * 3 + 2 * 60), "the evaluation after step 8 comes next"
    assert left[9] == pytest.approx(3 + 60)
    assert left[10] == pytest.approx(60)


@pytest.mark.parametrize(
    ("total", "every", "due"), [(10, 4, [4, 8, 10]), (8, 4, [4, 8]), (5, 0, []), (5, 2.5, [5])]
)
def test_evaluations_come_every_so_many_steps_and_last(
    total: int, every: float, due: list[int]
) -> None:
    schedule = EvaluationSchedule(total, every)
    assert [step for step in range(1, total + 1) if schedule.is_due(step)] == due
    assert [schedule.count_from(step) for step in (1, total + 1)] == [len(due), 0]
