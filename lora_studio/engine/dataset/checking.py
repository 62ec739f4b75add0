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

    def find_held_out(rows: MixedRows) -> NDArray[np.int64]:
        return _find_held_out(rows, tables, command.seed, job)

    job.emit(lint.lint(command.dataset, job, tables, find_held_out))


def _find_held_out(
    rows: MixedRows, tables: Sequence[TokenTable], seed: int, job: JobContext
) -> NDArray[np.int64]:
    """Return the rows that a training holds out, as (source, position) pairs; all of them without tokens."""
    usable = None
    if tables:
        from lora_studio.engine.dataset import prepare
        from lora_studio.engine.dataset.rows.sequences import fit_to_limit

        fits = fit_to_limit(tables, rows.task, rows.spec)
        usable = prepare.list_tokenized_rows(tables, fits)
    return splitting.split(rows, seed, job, usable).validation.to_array()
