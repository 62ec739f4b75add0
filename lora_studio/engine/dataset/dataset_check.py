"""Check a dataset for problems, also for those that only its tokens or its split show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lora_studio.core.protocol import commands
from lora_studio.engine.dataset import splitting
from lora_studio.engine.dataset.quality import lint
from lora_studio.engine.dataset.rows.mixture import MixedRows
from lora_studio.engine.dataset.rows.token_table import TokenTable
from lora_studio.engine.runtime.channel import JobContext


def check(command: commands.LintDataset, job: JobContext) -> None:
    """Emit all findings; raises ProblemError."""
    tables: Sequence[TokenTable] = ()
    if command.model is not None:
        from lora_studio.engine.dataset import lengths  # transformers takes seconds

        tables = lengths.tokenize_dataset(command.dataset, command.model, job, command.new_tokens)

    def split_rows(rows: MixedRows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return _split_rows(rows, tables, command.seed, job)

    job.emit(lint.lint(command.dataset, job, tables, split_rows))


def _split_rows(
    rows: MixedRows, tables: Sequence[TokenTable], seed: int, job: JobContext
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows for training and those for validation, as (source, position) pairs, [rows, 2].

    With tokens, rows that the length limit skips are in neither.
    """
    usable = None
    if tables:
        from lora_studio.engine.dataset import prepare
        from lora_studio.engine.dataset.rows.sequences import fit_to_limit

        fits = fit_to_limit(tables, rows.task, rows.spec)
        usable = prepare.list_tokenized_rows(tables, fits)
    divided = splitting.split(rows, seed, job, usable)
    return divided.training.to_array(), divided.validation.to_array()
