"""Micro-batches that all ranks divide, also where one of them can't pack rows."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.devices.ranks import ProcessGroup
from lora_studio.engine.training.step_batches import StepBatches
from lora_studio.engine.training.trainer import plan_batches
from tests.helpers.runs.rows_in_memory import make_rows


class ThreadGroup(ProcessGroup):
    """Ranks that are threads of this process."""

    def __init__(self, size: int) -> None:
        super().__init__(world_size=size)
        self._barrier = threading.Barrier(size, timeout=10)
        self._values: list[Any] = []

    def all_gather(self, value: Any) -> list[Any]:
        self._values.append(value)
        self._barrier.wait()
        gathered = [*self._values]
        if self._barrier.wait() == 0:
            self._values.clear()
        self._barrier.wait()
        return gathered


def plan_on_each(logprob_models: Sequence[Any]) -> list[StepBatches]:
    """Return the micro-batches that each rank plans."""
    spec = TrainingSpec(micro_batch=2, gradient_accumulation=2)
    rows, ranks = make_rows("sft", packed=False), ThreadGroup(len(logprob_models))

    def plan(logprob_model: Any) -> StepBatches:
        return plan_batches(rows, spec, logprob_model, ranks, divisible=True)

    with ThreadPoolExecutor(len(logprob_models)) as threads:
        return list(threads.map(plan, logprob_models))


def test_ranks_that_can_pack_rows_fill_micro_batches() -> None:
    able = SimpleNamespace(packed=True, chunked=True)
    assert [batches.can_fill for batches in plan_on_each([able, able])] == [True, True]


@pytest.mark.parametrize("lacking", ["packed", "chunked"])
def test_all_ranks_divide_the_same_micro_batches(lacking: str) -> None:
    able = {"packed": True, "chunked": True}
    logprob_models = [SimpleNamespace(**able), SimpleNamespace(**able | {lacking: False})]
    one, other = plan_on_each(logprob_models)
    for batches in (one, other):
        batches.set_micro_batch(2)
        batches.fill_up_to(100)
    assert one.plan.get_step(0) == other.plan.get_step(0)
    assert one.read_longest() == other.read_longest()
    assert (one.can_fill, other.can_fill) == (False, False)
