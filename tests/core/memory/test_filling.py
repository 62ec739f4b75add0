"""Larger micro-batches where memory is to spare: as many tokens as the estimate allows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lora_studio.core.memory.advice import fill_micro_batches
from lora_studio.core.memory.estimate import estimate
from tests.core.memory.test_estimate import plan, with_lora, with_model


@pytest.mark.parametrize("name", ["cuda:0", "cpu"])
def test_memory_to_spare_takes_more_tokens_at_once(name: str) -> None:
    before = plan(name=name, micro_batch=1, gradient_accumulation=16)
    after = fill_micro_batches(before)
    assert before.tokens < after.tokens <= before.step_tokens + 256
    needed = estimate(after)
    assert needed.total <= 0.8 * needed.available
    assert needed.tokens == after.tokens


def test_less_memory_gives_fewer_tokens() -> None:
    tokens = [
        fill_micro_batches(plan(free=free, micro_batch=1, gradient_accumulation=16)).tokens
        for free in (3.0, 6.0, 12.0)
    ]
    assert tokens == sorted(tokens)
    assert tokens[0] < tokens[-1]


@pytest.mark.parametrize(
    "other",
    [
        plan(name="mps", micro_batch=1),
        plan(packing=False, micro_batch=1),
        with_lora(plan(micro_batch=1), modules_to_save=("lm_head",)),
        replace(plan(micro_batch=1), rows=replace(plan().rows, task="preference")),
        plan(free=2.4, micro_batch=1),
    ],
    ids=["Apple GPU", "padded", "trained head", "pairs", "no room"],
)
def test_other_trainings_stay_as_they_are(other: object) -> None:
    assert fill_micro_batches(other) == other  # type: ignore[arg-type]  # a MemoryPlan


def test_4_bit_weights_leave_room_for_more_tokens() -> None:
    full = plan(free=5.0, micro_batch=1, gradient_accumulation=16)
    packed = with_model(full, precision="4bit")
    assert fill_micro_batches(packed).tokens >= fill_micro_batches(full).tokens
