"""Which rows make up which optimizer step, and tensors of them: a pure function of the seed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lora_studio.engine.tokens import Encoded

_IGNORED = -100


@dataclass(frozen=True)
class Batch:
    """Conversations padded on the right to one length; all tensors are [rows, length] int64.

    `labels` hold the id at each trained position and -100 elsewhere. `tokens` counts what is not
    padding, `targets` the positions that the loss is taken at.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    labels: torch.Tensor
    tokens: int
    targets: int


class Plan:
    """The order of training: step number -> micro-batches of row indices.

    Every epoch goes through all rows once, in an order drawn from (seed, epoch). A step takes the
    next `micro_batch * accumulation` of them and sorts them by length before they are split, so
    that rows of like length share a micro-batch; which rows a step has does not depend on it.
    There is no state: any step can be asked for at any time.
    """

    def __init__(
        self, lengths: Sequence[int], micro_batch: int, accumulation: int, seed: int
    ) -> None:
        """`lengths` in tokens, one per training row."""
        self._lengths = np.asarray(lengths)
        self._micro_batch = micro_batch
        self._per_step = micro_batch * accumulation
        self._seed = seed
        self.steps_per_epoch = math.ceil(len(lengths) / self._per_step)
        self._order: tuple[int, np.ndarray] = (-1, self._lengths)

    def total_steps(self, epochs: float, max_steps: int) -> int:
        """Optimizer steps of a whole training, at least one."""
        steps = max(1, round(epochs * self.steps_per_epoch))
        return min(steps, max_steps) if max_steps else steps

    def step(self, index: int) -> list[list[int]]:
        """The micro-batches of one step, counted from 0; the longest rows come first.

        So memory is at its highest in the first micro-batch, and a lack of it shows at once.
        """
        epoch, position = divmod(index, self.steps_per_epoch)
        rows = self._epoch(epoch)[position * self._per_step : (position + 1) * self._per_step]
        return by_length(rows, self._lengths, self._micro_batch)

    def _epoch(self, epoch: int) -> np.ndarray:
        if self._order[0] != epoch:
            generator = np.random.default_rng((self._seed, epoch))
            self._order = epoch, generator.permutation(len(self._lengths))
        return self._order[1]


def by_length(
    rows: Iterable[int], lengths: Sequence[int] | np.ndarray, size: int
) -> list[list[int]]:
    """Rows in batches of `size`, the longest first; equal lengths keep their order."""
    ordered = sorted((int(row) for row in rows), key=lambda row: -int(lengths[row]))
    return [ordered[begin : begin + size] for begin in range(0, len(ordered), size)]


def collate(rows: Sequence[Encoded], pad_id: int) -> Batch:
    """Rows as tensors. Padding is masked by its position: its id may well occur in the text."""
    shape = len(rows), max(len(row.ids) for row in rows)
    input_ids = np.full(shape, pad_id, np.int64)
    attention_mask = np.zeros(shape, np.int64)
    labels = np.full(shape, _IGNORED, np.int64)
    for index, row in enumerate(rows):
        length = len(row.ids)
        input_ids[index, :length] = row.ids
        attention_mask[index, :length] = 1
        labels[index, :length] = np.where(row.trained, row.ids, _IGNORED)
    return Batch(
        torch.from_numpy(input_ids),
        torch.from_numpy(attention_mask),
        torch.from_numpy(labels),
        tokens=int(attention_mask.sum()),
        targets=int((labels[:, 1:] != _IGNORED).sum()),
    )
