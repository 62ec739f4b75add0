"""The different rows that a frozen model reads, and the loop that computes what isn't cached."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from lora_studio.core.messages import Text
from lora_studio.engine.dataset.batches import batch_by_length
from lora_studio.engine.dataset.rows.sequences import Selection
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.training.distributed.ranks import ProcessGroup
from lora_studio.engine.training.training_data import TrainingRow

#: Micro-batches between two exchanges of ranks, and seconds between two writes of the cache.
BLOCK = 8
_SAVE_INTERVAL = 60.0

#: Days after which unused values are deleted.
_MOST_DAYS = 30


class FrozenRows(Protocol):
    """Training or validation rows; with `are_labeled`, each belongs to the one before it."""

    selection: Selection
    lengths: np.ndarray
    are_labeled: bool

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def __getitem__(self, row: int, /) -> TrainingRow:
        """Read one row."""
        ...


class UniqueRows:
    """The different rows of training and validation, whatever their order and the seed that split them.

    Of labeled answers, a row is different if the one before it is. `training` and `validation` map rows to
    unique ones; `needed` are the unique rows to compute, `targets` the trained tokens of each.
    """

    def __init__(
        self, training: FrozenRows, validation: FrozenRows, needed: Sequence[int] | np.ndarray
    ) -> None:
        """Take the rows, and which training rows are needed; all validation rows are."""
        self._rows = training, validation
        columns = np.concatenate([_stack_columns(rows) for rows in self._rows])
        unique, first, inverse = np.unique(columns, axis=0, return_index=True, return_inverse=True)
        self.count, self._first, inverse = len(unique), first, inverse.reshape(-1)
        self.training, self.validation = np.split(inverse, [len(training)])
        self.needed = np.union1d(self.training[np.asarray(needed, np.int64)], self.validation)
        tables = training.selection.tables
        digest = hashlib.sha256("".join(each.digest for each in tables).encode())
        digest.update(np.ascontiguousarray(unique).tobytes())
        self.digest = digest.hexdigest()
        self.lengths = np.concatenate([training.lengths, validation.lengths])[first]

    def count_targets(self) -> np.ndarray:
        """Return the trained tokens of each unique row, without its first token."""
        return np.concatenate([rows.selection.count_predicted() for rows in self._rows])[
            self._first
        ]

    def read(self, unique: int) -> TrainingRow:
        """Return one of the unique rows."""
        training, validation = self._rows
        position = int(self._first[unique])
        if position < len(training):
            return training[position]
        return validation[position - len(training)]


def _stack_columns(rows: FrozenRows) -> np.ndarray:
    """Return what identifies each row: its part of a table, and that of the row that it is paired with."""
    selection = rows.selection
    parts = selection.table, selection.index, selection.begin, selection.end
    columns = np.column_stack([np.asarray(part, np.int64) for part in parts])
    return np.hstack([columns, np.roll(columns, 1, axis=0)]) if rows.are_labeled else columns


def fill_missing(
    missing: np.ndarray,
    lengths: np.ndarray,
    micro_batch: int,
    compute: Callable[[list[list[int]]], Sequence[np.ndarray]],
    keep: Callable[[list[int], np.ndarray], None],
    save: Callable[[], None],
    stage: Text,
    job: JobContext,
    ranks: ProcessGroup,
) -> None:
    """Compute the values of missing unique rows, the longest first, and save them now and then.

    `compute` gets a few micro-batches and returns the values of each, `keep` gets each with its rows, and
    `save` is called on rank 0. A pause or a cancellation takes effect between two calls of `compute`.
    """
    parts = batch_by_length(missing, lengths, micro_batch)
    size, done, saved = BLOCK * ranks.world_size, 0, time.monotonic()
    for begin in range(0, len(parts), size):
        ranks.synchronize_requests()
        job.report_progress(stage, done, len(missing), "rows")
        block = parts[begin : begin + size]
        for part, values in zip(block, compute(block), strict=True):
            keep(part, values)
        done += sum(map(len, block))
        if ranks.is_first and time.monotonic() - saved > _SAVE_INTERVAL:
            save()
            saved = time.monotonic()


def sweep_unused(folder: Path, used: str) -> None:
    """Delete files that were not used for a month, except those whose name begins with `used`."""
    oldest = time.time() - _MOST_DAYS * 86_400
    for file in folder.glob("*"):
        # Another process may have deleted it since it was listed.
        with contextlib.suppress(OSError):
            if not file.name.startswith(used) and file.stat().st_mtime < oldest:
                file.unlink()
