"""A dataset made ready for training: tokenised, fitted to the limit, split; nothing of it in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.problems import Problem, ProblemError, Where, fail
from lora_studio.core.protocol import events
from lora_studio.core.protocol.events import Skipped
from lora_studio.engine.dataset import splitting
from lora_studio.engine.dataset.rows import mixture, token_cache
from lora_studio.engine.dataset.rows.mixture import MixedRows
from lora_studio.engine.dataset.rows.sequences import Fitting, Selection, fitting, select
from lora_studio.engine.dataset.rows.token_cache import TokenPart
from lora_studio.engine.dataset.rows.token_table import NAMED, SkippedRow, TokenTable
from lora_studio.engine.dataset.splitting import DatasetSplit
from lora_studio.engine.runtime.channel import JobContext


@dataclass(frozen=True)
class PreparedDataset:
    """Rows for training and validation; `split` says where in the sources they are.

    `training` is one epoch: a row of weight 2 is in it twice. `fingerprint` stands for it, token by
    token and in its order.
    """

    rows: MixedRows
    split: DatasetSplit
    training: Selection
    validation: Selection
    ready: events.DatasetReady
    warnings: tuple[Problem, ...]
    fingerprint: str


def prepare(
    spec: DatasetSpec, tokenizer: PreTrainedTokenizerBase, seed: int, job: JobContext
) -> PreparedDataset:
    """Reads, tokenises and splits a dataset; raises ProblemError when nothing is left to train on."""
    rows = mixture.open(spec, job)
    tables = tokenise(rows, tokenizer, job)
    fits = fitting(tables, rows.task, spec)
    divided = splitting.split(rows, seed, job, _places(tables, fits))
    skipped = left_out(tables, fits, divided)
    read = sum(table.rows_read for table in tables)
    if not len(divided.training):
        raise no_usable_rows(spec, read, skipped)
    epoch = mixture.weighted(divided.training.array(), weights(rows), seed)
    training = select(tables, epoch, rows.task, spec.max_length)
    validation = select(tables, divided.validation.array(), rows.task, spec.max_length)
    ready = events.DatasetReady(
        task=rows.task,
        rows_read=read,
        rows_train=len(divided.training),
        rows_validation=len(divided.validation),
        skipped=skipped,
        rows_cut=_rows_cut(tables, fits, spec) if rows.task != "text" else 0,
        tokens=int(training.lengths.sum()),
        trained_tokens=training.targets(),
    )
    warnings = tuple(_warnings(training, validation))
    return PreparedDataset(
        rows, divided, training, validation, ready, warnings, _fingerprint(training)
    )


def tokenise(
    rows: MixedRows, tokenizer: PreTrainedTokenizerBase, job: JobContext
) -> list[TokenTable]:
    """All sources in tokens, one table each."""
    return token_cache.tokenise(parts(rows), tokenizer, rows.spec, rows.task, job)


def parts(rows: MixedRows) -> list[TokenPart]:
    """The sources as they are tokenised."""
    return [
        TokenPart(store, found.format, found.mapping)
        for store, found in zip(rows.stores, rows.found, strict=True)
        if found.format is not None  # `dataset.open` refuses others
    ]


def weights(rows: MixedRows) -> list[float]:
    """How often a row of each source is seen in an epoch; once where it is not trained on."""
    given = [source.weight for source in rows.spec.sources]
    return given + [1.0] * (len(rows.stores) - len(given))


def left_out(
    tables: Sequence[TokenTable], fits: Fitting, divided: DatasetSplit | None = None
) -> tuple[Skipped, ...]:
    """Rows left out by reason, over all sources, the most frequent first."""
    total: dict[str, SkippedRow] = {}
    for left in (*(table.skipped for table in tables), fits.left):
        for reason, entry in left.items():
            total.setdefault(reason, SkippedRow()).add(entry.rows, entry.count)
    for reason, places in (divided.dropped if divided else {}).items():
        rows = [row + 1 for _, row in places[:NAMED]]
        total.setdefault(reason, SkippedRow()).add(rows, len(places))
    ordered = sorted(total.items(), key=lambda item: -item[1].count)
    return tuple(Skipped(reason=r, count=e.count, rows=tuple(e.rows)) for r, e in ordered)


def _rows_cut(tables: Sequence[TokenTable], fits: Fitting, spec: DatasetSpec) -> int:
    return sum(
        int((table.length[usable] > spec.max_length).sum())
        for table, usable in zip(tables, fits.usable, strict=True)
    )


def no_usable_rows(spec: DatasetSpec, read: int, skipped: Sequence[Skipped]) -> ProblemError:
    """The problem of a dataset from which nothing is left."""
    reasons = "; ".join(
        f"{entry.reason} ({entry.count} rows, the first is row {entry.rows[0]})"
        for entry in skipped[:3]
    )
    remedy = (
        "Look at the rows in the dataset step, and choose another format or other columns there."
    )
    if "tokens" in reasons:
        remedy = "Allow more tokens with “Longest row”, or shorten the rows."
    elif "template" in reasons:
        remedy = "Change the rows to what the model's chat template allows, or choose ChatML."
    return fail(
        "dataset.no_usable_rows",
        f"None of the {read} rows can be trained on{': ' + reasons if reasons else ''}.",
        remedy,
        where=Where(step="dataset", field="sources", file=spec.sources[0].path),
    )


def _places(tables: Sequence[TokenTable], fits: Fitting) -> np.ndarray:
    """The usable rows as (source, position) pairs, [rows, 2]."""
    found = [
        np.column_stack([np.full(int(usable.sum()), number), table.row[usable]])
        for number, (table, usable) in enumerate(zip(tables, fits.usable, strict=True))
    ]
    return np.concatenate(found)


def _fingerprint(training: Selection) -> str:
    digest = hashlib.sha256("".join(table.digest for table in training.tables).encode())
    for column in (training.table, training.place, training.begin, training.end):
        digest.update(np.ascontiguousarray(column, np.int64).tobytes())
    return digest.hexdigest()


def _warnings(training: Selection, validation: Selection) -> list[Problem]:
    where = Where(step="dataset", field="chat_template")
    found: list[Problem] = []
    if partial := training.left_out() + validation.left_out():
        found.append(
            Problem(
                code="dataset.answers_left_out",
                what=f"In {partial} rows only the last answer trains: this chat template writes "
                "earlier turns otherwise than it asked for them, for example without the system "
                "message.",
                remedy="To train every answer, make a row of each, or leave the system message out.",
                where=where,
                severity="warning",
            )
        )
    if hidden := training.unshown() + validation.unshown():
        found.append(
            Problem(
                code="dataset.thinking_left_out",
                what=f"In {hidden} rows the reasoning before earlier answers is left out: this chat "
                "template shows that before the last answer alone.",
                remedy="To train on all of it, make a row of each answer.",
                where=where,
                severity="warning",
            )
        )
    return found
