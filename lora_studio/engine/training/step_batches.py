"""The rows of each optimizer step, read from disk and split into micro-batches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lora_studio.core.protocol import events
from lora_studio.core.tasks.samples import TaskName
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.dataset.rows.sequences import Selection
from lora_studio.engine.rewards.registry import WeightedRewards
from lora_studio.engine.tokens.batches import BatchPlan
from lora_studio.engine.tokens.encoder import TrainingRow


class StepBatches:
    """Micro-batches by step number; which rows a step has doesn't depend on the micro-batch."""

    def __init__(self, rows: TrainingRows, spec: TrainingSpec, *, padded: bool, fill: bool) -> None:
        """Plan the steps of a training.

        `padded` rows count as much as the longest in their micro-batch. With `fill`, short rows fill a
        micro-batch up to as many tokens as the longest one has: that takes no more memory and fewer
        passes over the weights. Where more memory is free, `fill_up_to` allows more tokens.
        """
        self._rows = rows
        self._padded, self.can_fill = padded, fill
        self._least_tokens = 0
        self.plan = BatchPlan(
            rows.lengths,
            spec.micro_batch,
            spec.gradient_accumulation,
            spec.seed,
            grouped=spec.group_by_length,
        )
        self.total_steps = spec.count_steps(len(rows))
        self.set_micro_batch(spec.micro_batch)

    @property
    def lengths(self) -> np.ndarray:
        """Return the lengths of all rows in tokens."""
        return self._rows.lengths

    @property
    def steps_per_epoch(self) -> int:
        """Return the number of optimizer steps in an epoch."""
        return self.plan.steps_per_epoch

    @property
    def rows_per_step(self) -> int:
        """Return the number of rows in an optimizer step; an epoch's last may have fewer."""
        return self.plan.per_step

    def set_micro_batch(self, micro_batch: int, world_size: int = 1) -> None:
        """Split steps into micro-batches of up to `micro_batch` rows, so that every rank gets one."""
        share = math.ceil(self.plan.per_step / world_size)
        self.plan.micro_batch, self.plan.room = min(micro_batch, share), 0
        self.plan.ranks = world_size
        self._longest = self.plan.find_longest(self.total_steps, padded=self._padded)
        if not self.can_fill:
            return
        self.plan.room = sum(int(self._rows.lengths[row]) for row in self._longest)
        if self._least_tokens > self.plan.room:
            self.plan.room = self._least_tokens
            self._longest = self.plan.find_fullest(self.total_steps)

    @property
    def most_step_tokens(self) -> int:
        """Return the tokens of the step that has the most."""
        return self.plan.find_heaviest_step(self.total_steps)[1]

    def fill_up_to(self, tokens: int) -> None:
        """Let short rows fill micro-batches up to more tokens than the longest has; 0: no more than that."""
        self._least_tokens = tokens
        self.set_micro_batch(self.plan.micro_batch, self.plan.ranks)

    def stop_filling(self) -> bool:
        """Fill micro-batches no further than the longest has tokens; return whether they had more."""
        room = self.plan.room
        self.fill_up_to(0)
        return self.plan.room < room

    def read_step(self, step: int) -> list[list[TrainingRow]]:
        """Return the micro-batches of a step, counted from 0, the longest first."""
        return [[self._rows[row] for row in rows] for rows in self.plan.get_step(step)]

    def read_longest(self) -> list[TrainingRow]:
        """Return the micro-batch of the whole training that takes the most memory."""
        return [self._rows[row] for row in self._longest]


class TrainingRows(Protocol):
    """Rows that are read from disk one at a time; their lengths in tokens are in memory."""

    selection: Selection
    lengths: np.ndarray

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def __getitem__(self, row: int, /) -> TrainingRow:
        """Read one row."""
        ...


@dataclass(frozen=True)
class TrainingData:
    """The training and validation rows of a run, in the form that the task's objective takes.

    `fingerprint` identifies the training rows, token by token and in their order; `ready` counts
    the rows and tokens. `rewards` rate the answers to prompts.
    """

    task: TaskName
    training: TrainingRows
    validation: TrainingRows
    fingerprint: str
    ready: events.DatasetReady
    rewards: WeightedRewards | None = None
