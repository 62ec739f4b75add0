"""The reference model's log-probabilities of answers: computed once per row, and kept in the cache.

The reference of DPO and KTO never changes, so a pass over each row is enough for all epochs, evaluations
and later runs on the same rows. The key of the cache covers the base weights and how they are computed,
the adapter that training starts from, and the tokens of all rows. Only rows that the training will read
are computed; what an interrupted training has computed is kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lora_studio.core.messages import Text, text
from lora_studio.core.system import paths
from lora_studio.core.system.files import create_folder, write_atomic
from lora_studio.core.system.foreign_files import open_regular, read_bytes
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.devices.oom_capture import fail_together
from lora_studio.engine.devices.ranks import DuplicateBatch, ProcessGroup
from lora_studio.engine.kernels import numerical_equivalence
from lora_studio.engine.kernels.logprobs import LogprobModel
from lora_studio.engine.model.folder import get_identity
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.disk import get_source_digest
from lora_studio.engine.tasks.preference import swap_answer
from lora_studio.engine.tasks.table import TRAINED_TASKS
from lora_studio.engine.tasks.task import ReferenceObjective
from lora_studio.engine.tokens.batches import batch_by_length
from lora_studio.engine.tokens.encoder import EncodedLabeled, EncodedPair, TrainingRow
from lora_studio.engine.training.step_batches import TrainingData, TrainingRows

#: Answers of a row: chosen and rejected, or its own and the mismatched one.
_SIDES = 2

_DIGEST_BYTES = hashlib.sha256().digest_size


class ReferencedRows:
    """Training rows that carry the reference's log-probabilities once they are known.

    Labeled answers also carry their prompt with the answer of the row before, which KTO compares with.
    """

    def __init__(self, rows: TrainingRows) -> None:
        self._rows = rows
        self.selection, self.lengths = rows.selection, rows.lengths
        #: [rows, 2] float32, of both answers; NaN where unknown.
        self.values: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> TrainingRow:
        item = self._rows[row]
        if isinstance(item, EncodedLabeled):
            before = self._rows[(row - 1) % len(self)]
            assert isinstance(before, EncodedLabeled)
            item = replace(item, mismatched=swap_answer(item.answer, before.answer))
        if self.values is None or not isinstance(item, EncodedPair | EncodedLabeled):
            return item
        known = self.values[row]
        return item if np.isnan(known).any() else replace(item, reference=tuple(known.tolist()))


class ReferenceLogprobs:
    """Computes, caches and hands out the reference's log-probabilities of a training's rows."""

    def __init__(self, data: TrainingData) -> None:
        """Wrap the rows; `data` is the same with the wrapped ones."""
        self._training, self._validation = map(ReferencedRows, (data.training, data.validation))
        self.data = replace(data, training=self._training, validation=self._validation)

    def compute(
        self,
        steps: Sequence[Sequence[Sequence[int]]],
        tuned: AdaptedModel,
        logprob_model: LogprobModel,
        objective: ReferenceObjective,
        micro_batch: int,
        context: Callable[[], AbstractContextManager[object]],
        job: JobContext,
        ranks: ProcessGroup,
    ) -> None:
        """Read values from the cache, and compute those that are missing. Every rank has to call it.

        `steps` are the micro-batches of every step; `context` sets autocast. Raises CancelledError,
        MemoryPressureError, and PausedError while the job is pausable.
        """
        needed = [row for parts in steps for part in parts for row in part]
        table = UniqueRows(self._training, self._validation, needed)
        file = _get_file(table, tuned, logprob_model) if ranks.is_first else Path()
        cached = _read(file, table.count) if ranks.is_first else np.zeros(0)
        values = ranks.broadcast(cached)
        computation = _Computation(logprob_model, objective, context, job, ranks, table)
        values = computation.verify(values, micro_batch)
        unknown = np.isnan(values).sum()
        try:
            computation.fill(values, micro_batch, lambda: _write(file, values))
        finally:
            if ranks.is_first and np.isnan(values).sum() < unknown:
                _write(file, values)
            self._training.values = values[table.training]
            self._validation.values = values[table.validation]


class _Computation:
    """Passes of the reference model over rows, shared by all ranks."""

    def __init__(
        self,
        logprob_model: LogprobModel,
        objective: ReferenceObjective,
        context: Callable[[], AbstractContextManager[object]],
        job: JobContext,
        ranks: ProcessGroup,
        rows: UniqueRows,
    ) -> None:
        self._logprob_model, self._objective, self._context = logprob_model, objective, context
        self._job, self._ranks, self._rows = job, ranks, rows

    def verify(self, values: np.ndarray, micro_batch: int) -> np.ndarray:
        """Return the values, or none of them if those of the longest rows aren't the model's."""
        known = [int(row) for row in self._rows.needed if not np.isnan(values[row]).any()]
        if not known:
            return values
        sample = batch_by_length(known, self._rows.lengths, micro_batch)[0]
        actual = torch.from_numpy(self._compute_block([sample])[0])
        expected = torch.from_numpy(values[sample])
        tolerance = numerical_equivalence.TOLERANCE[self._logprob_model.dtype.itemsize]
        if numerical_equivalence.is_close(actual, expected, tolerance):
            return values
        return np.full_like(values, np.nan)

    def fill(self, values: np.ndarray, micro_batch: int, save: Callable[[], None]) -> None:
        """Compute the needed values that are NaN, in place, and save them now and then."""
        needed = self._rows.needed
        fill_missing(
            needed[np.isnan(values[needed]).any(1)],
            self._rows.lengths,
            micro_batch,
            self._compute_block,
            values.__setitem__,
            save,
            text("computing reference log-probabilities"),
            self._job,
            self._ranks,
        )

    def _compute_block(self, parts: list[list[int]]) -> list[np.ndarray]:
        """Return the values of micro-batches of unique rows, each [rows, 2]."""
        local: list[Sequence[int]] = self._ranks.get_local_batches(parts)
        with fail_together(self._ranks):
            computed = self._compute_local(local)
        gathered = self._ranks.all_gather(computed)
        count = self._ranks.world_size
        return [gathered[number % count][number // count] for number in range(len(parts))]

    @torch.no_grad()
    def _compute_local(self, parts: Sequence[Sequence[int]]) -> list[np.ndarray]:
        self._logprob_model.model.eval()
        results = []
        with self._context():
            for part in parts:
                self._job.check()
                rows: list[Any] = [self._rows.read(row) for row in part]
                value = self._objective.compute_reference(rows)
                if not isinstance(part, DuplicateBatch):
                    results.append(value.float())
        if not results:
            return []
        # Read once: each value would wait for the device.
        flat = torch.cat(results).reshape(-1, _SIDES).cpu().numpy()
        return np.split(flat, np.cumsum([len(part) for part in results])[:-1])


# --- the cache --------------------------------------------------------------------------------


def _get_file(rows: UniqueRows, tuned: AdaptedModel, logprob_model: LogprobModel) -> Path:
    """Return the file of these rows under this reference model."""
    base, config = tuned.base, tuned.base.model.config
    start = tuned.start or tuned.initial_adapter
    facts = [
        get_source_digest(), rows.digest, get_identity(base.folder)["hash"], base.precision,
        str(base.dtype), str(getattr(config, "quantization_config", None)), base.device.type,
        torch.__version__, str(logprob_model.describe()), logprob_model.uses_liger,
        torch.get_float32_matmul_precision(),
        _hash_file(start / "adapter_model.safetensors") if start else "",
    ]  # fmt: skip
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return paths.get_cache_folder() / "reference" / f"{key[:32]}.bin"


def _hash_file(file: Path) -> str:
    with open_regular(file) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read(file: Path, rows: int) -> np.ndarray:
    """Return the cached values, [rows, 2] float32; NaN where there are none, or if they are damaged."""
    sweep_unused(file.parent, file.name)
    with contextlib.suppress(OSError):
        content = read_bytes(file, _DIGEST_BYTES + 4 * rows * _SIDES)
        digest, data = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if len(data) == 4 * rows * _SIDES and hashlib.sha256(data).digest() == digest:
            os.utime(file)
            return np.frombuffer(data, np.float32).reshape(rows, _SIDES).copy()
    return np.full((rows, _SIDES), np.nan, np.float32)


def _write(file: Path, values: np.ndarray) -> None:
    """Write the values; without room on the disk, those in memory serve the training."""
    data = np.ascontiguousarray(values, np.float32).tobytes()
    with contextlib.suppress(OSError):
        create_folder(file.parent)
        write_atomic(file, hashlib.sha256(data).digest() + data)


#: Micro-batches between two exchanges of ranks, and seconds between two writes of the cache.
BLOCK = 8
_SAVE_INTERVAL = 60.0

#: Days after which unused values are deleted.
_MOST_DAYS = 30


class UniqueRows:
    """The different rows of training and validation, whatever their order and the seed that split them.

    A row that is compared with the one before it is different if that is. `training` and `validation` map rows to
    unique ones; `needed` are the unique rows to compute, `targets` the trained tokens of each.
    """

    def __init__(
        self, training: TrainingRows, validation: TrainingRows, needed: Sequence[int] | np.ndarray
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


def _stack_columns(rows: TrainingRows) -> np.ndarray:
    """Return what identifies each row: its part of a table, and that of the row that it is paired with."""
    selection = rows.selection
    parts = selection.table, selection.index, selection.begin, selection.end
    columns = np.column_stack([np.asarray(part, np.int64) for part in parts])
    if TRAINED_TASKS[selection.tables[0].task].compares_neighbors:
        return np.hstack([columns, np.roll(columns, 1, axis=0)])
    return columns


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
