"""Schedules: the learning rate at each step, resuming from a saved state, and plateaus."""

from __future__ import annotations

import io
from typing import Any, get_args

import pytest
import torch

from lora_studio.core.training.spec import Schedule, TrainingSpec
from lora_studio.engine.training.recipe import schedules, torch_optimizers

STEPS = 100


def rates(
    spec: TrainingSpec, losses: dict[int, float] | None = None, steps: int = STEPS
) -> list[float]:
    """Return the learning rate of each step, as a share of the highest; `losses` are by step."""
    model = torch.nn.Linear(2, 2)
    optimizer = torch_optimizers.create_optimizer(spec, model)
    schedule = schedules.create_scheduler(spec, optimizer, STEPS)
    values = []
    for step in range(1, steps + 1):
        values.append(schedule.get_last_lr()[0] / spec.learning_rate)
        optimizer.step()
        schedule.step()
        if losses and step in losses:
            schedules.report_evaluation(schedule, losses[step])
    return values


def spec_of(schedule: Schedule, **others: Any) -> TrainingSpec:
    return TrainingSpec(schedule=schedule, **({"warmup_steps": 10} | others))


#: Shares of the highest rate at steps counted from 0.
EXPECTED: dict[Schedule, dict[int, float]] = {
    "linear": {10: 1.0, 55: 0.5, 99: 1 / 90},
    "cosine": {10: 1.0, 55: 0.5, 40: 0.75},
    "cosine_with_restarts": {10: 1.0, 25: 0.5, 40: 1.0, 70: 1.0},
    "cosine_with_min_lr": {10: 1.0, 55: 0.55, 99: 0.1},
    "polynomial": {10: 1.0, 55: 0.1 + 0.9 * 0.25},
    "constant": {10: 1.0, 99: 1.0},
    "inverse_sqrt": {10: 1.0, 40: 0.5},
    "warmup_stable_decay": {10: 1.0, 79: 1.0, 90: 0.55},
    "reduce_on_plateau": {10: 1.0, 99: 1.0},
}


def test_every_schedule_has_an_expected_curve() -> None:
    assert set(EXPECTED) == set(get_args(Schedule))


@pytest.mark.parametrize("schedule", get_args(Schedule))
def test_learning_rate_follows_the_schedule(schedule: Schedule) -> None:
    values = rates(spec_of(schedule))
    low = 0.1 if schedule == "warmup_stable_decay" else 0.0  # it starts at its final value
    assert values[:10] == pytest.approx([low + (1 - low) * n / 10 for n in range(10)])
    assert {step: values[step] for step in EXPECTED[schedule]} == pytest.approx(
        EXPECTED[schedule], abs=2e-3
    )


@pytest.mark.parametrize("schedule", get_args(Schedule))
def test_first_step_has_the_highest_rate_without_warmup(schedule: Schedule) -> None:
    assert rates(spec_of(schedule, warmup_steps=0, warmup_share=0.0))[0] == pytest.approx(1.0)


def test_warmup_steps_take_precedence_over_the_share() -> None:
    assert TrainingSpec(warmup_share=0.2).count_warmup_steps(50) == 10
    assert TrainingSpec(warmup_share=0.2, warmup_steps=3).count_warmup_steps(50) == 3
    assert TrainingSpec(warmup_steps=900).count_warmup_steps(50) == 50


def test_plateau_halves_the_rate_down_to_the_lowest() -> None:
    spec = spec_of("reduce_on_plateau", lowest_rate=0.25)
    flat = dict.fromkeys(range(5, 100, 10), 2.0)  # the first one comes during the warm-up
    values = rates(spec, flat)
    assert [values[step] for step in (11, 20, 34, 36, 54, 56, 99)] == [
        1,
        1,
        1,
        0.5,
        0.5,
        0.25,
        0.25,
    ]
    falling = {step: 3.0 - step / 100 for step in range(5, 100, 10)}
    assert rates(spec, falling)[99] == 1.0


@pytest.mark.parametrize("optimizer", ["schedule_free_adamw", "schedule_free_sgd"])
def test_schedule_free_optimizer_keeps_its_rate_after_warmup(optimizer: Any) -> None:
    values = rates(spec_of("cosine", optimizer=optimizer))
    assert values[5] == pytest.approx(0.5)
    assert set(values[10:]) == {1.0}


@pytest.mark.parametrize("schedule", get_args(Schedule))
def test_schedule_resumes_from_its_state(schedule: Schedule) -> None:
    spec = spec_of(schedule, lora_plus_ratio=4.0)
    losses = dict.fromkeys(range(0, 100, 4), 2.0)
    model = torch.nn.ModuleDict({"lora_A": torch.nn.Linear(2, 2), "lora_B": torch.nn.Linear(2, 2)})

    def run_steps(until: int, begin: int, optimizer: Any, schedule: Any) -> list[list[float]]:
        values = []
        for step in range(begin, until):
            optimizer.step()
            schedule.step()
            if step in losses:
                schedules.report_evaluation(schedule, losses[step])
            values.append([group["lr"] for group in optimizer.param_groups])
        return values

    first = torch_optimizers.create_optimizer(spec, model)
    schedule_of_first = schedules.create_scheduler(spec, first, STEPS)
    run_steps(33, 0, first, schedule_of_first)
    buffer = io.BytesIO()
    torch.save([first.state_dict(), schedule_of_first.state_dict()], buffer)
    buffer.seek(0)
    second = torch_optimizers.create_optimizer(spec, model)
    schedule_of_second = schedules.create_scheduler(spec, second, STEPS)
    of_optimizer, of_schedule = torch.load(buffer, weights_only=True)
    second.load_state_dict(of_optimizer)
    schedule_of_second.load_state_dict(of_schedule)
    rest = run_steps(80, 33, first, schedule_of_first)
    assert run_steps(80, 33, second, schedule_of_second) == rest
    assert all(fast == pytest.approx(4 * slow) for slow, fast in rest)
