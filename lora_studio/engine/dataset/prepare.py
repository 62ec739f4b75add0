"""Prepare a dataset for training: tokenize, apply the length limit, split; rows stay on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from lora_studio.core import limits
from lora_studio.core.dataset.repairs import REASONS
from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.messages import Template, counted, text
from lora_studio.core.problems import Fix, Problem, ProblemError, Where, fail, warning
from lora_studio.core.protocol import events
from lora_studio.core.protocol.events import Skipped
from lora_studio.core.tasks.samples import UnusableKind
from lora_studio.core.tasks.table import TASKS
from lora_studio.engine.dataset import splitting
from lora_studio.engine.dataset.files.blocks import SkipReason
from lora_studio.engine.dataset.rows import mixture, token_cache
from lora_studio.engine.dataset.rows.mixture import MixedRows
from lora_studio.engine.dataset.rows.sequences import (
    NAMED,
    Fitting,
    Selection,
    SkippedRow,
    TokenTable,
    count_labels,
    fit_to_limit,
    list_class_names,
    select,
)
from lora_studio.engine.dataset.rows.token_cache import TokenPart
from lora_studio.engine.dataset.splitting import DatasetSplit
from lora_studio.engine.runtime.channel import JobContext


@dataclass(frozen=True)
class PreparedDataset:
    """Rows for training and validation; `split` has their positions in the sources.

    `training` is one epoch: a row with weight 2 is in it twice. `fingerprint` is a hash of its
    tokens in their order.
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
    """Read, tokenize and split a dataset; raises ProblemError when no row can be trained on."""
    rows = mixture.open_dataset(spec, job)
    tables = tokenize(rows, tokenizer, job)
    fits = fit_to_limit(tables, spec)
    divided = splitting.split(rows, seed, job, list_tokenized_rows(tables, fits))
    skipped = collect_skipped(tables, fits, divided)
    read = sum(table.rows_read for table in tables)
    if not len(divided.training):
        raise _no_usable_rows_error(spec, read, skipped)
    epoch = mixture.repeat_by_weight(divided.training, get_source_weights(rows), seed)
    training = select(tables, epoch, spec.max_length)
    if TASKS[rows.task].has_classes:
        _check_labels(tables, spec)
    validation = select(tables, divided.validation, spec.max_length)
    ready = events.DatasetReady(
        task=rows.task,
        rows_read=read,
        rows_train=len(divided.training),
        rows_validation=len(divided.validation),
        rows_per_epoch=len(training),
        skipped=to_skipped_events(skipped),
        rows_cut=_count_truncated_rows(tables, divided, rows),
        tokens=int(training.count_computed().sum()),
        trained_tokens=training.count_targets(),
        longest_row=int(training.lengths.max(initial=0)),
        labels=count_labels(training),
    )
    warnings = tuple(_get_warnings(training, validation))
    return PreparedDataset(
        rows, divided, training, validation, ready, warnings, _compute_fingerprint(training)
    )


def tokenize(
    rows: MixedRows, tokenizer: PreTrainedTokenizerBase, job: JobContext
) -> list[TokenTable]:
    """Return all sources tokenized, one table each."""
    return token_cache.tokenize(list_token_parts(rows), tokenizer, rows.spec, rows.task, job)


def list_token_parts(rows: MixedRows) -> list[TokenPart]:
    """Return the sources as they are tokenized."""
    return [
        TokenPart(store, source.format, source.mapping)
        for store, source in zip(rows.stores, rows.sources, strict=True)
        if source.format is not None  # `open_dataset` refuses others
    ]


def get_source_weights(rows: MixedRows) -> list[float]:
    """Return how often a row of each source occurs in an epoch; 1 for the validation file."""
    weights = [source.weight for source in rows.spec.sources]
    return weights + [1.0] * (len(rows.stores) - len(weights))


def collect_skipped(
    tables: Sequence[TokenTable], fits: Fitting, divided: DatasetSplit | None = None
) -> dict[SkipReason, SkippedRow]:
    """Return skipped rows by reason, over all sources, the most frequent first."""
    total: dict[SkipReason, SkippedRow] = {}
    for skipped in (*(table.skipped for table in tables), fits.skipped):
        for reason, entry in skipped.items():
            total.setdefault(reason, SkippedRow()).add(entry.rows, entry.count)
    for fix, ids in (divided.dropped if divided else {}).items():
        rows = (ids[:NAMED, 1] + 1).tolist()
        total.setdefault(SkipReason(REASONS[fix]), SkippedRow()).add(rows, len(ids))
    return dict(sorted(total.items(), key=lambda item: -item[1].count))


def to_skipped_events(skipped: dict[SkipReason, SkippedRow]) -> tuple[Skipped, ...]:
    """Return skipped rows in the form of the protocol."""
    return tuple(
        Skipped(reason=reason.text, count=entry.count, rows=tuple(entry.rows))
        for reason, entry in skipped.items()
    )


def _count_truncated_rows(
    tables: Sequence[TokenTable], divided: DatasetSplit, rows: MixedRows
) -> int:
    if TASKS[rows.task].is_document:  # documents are split instead
        return 0
    used = np.concatenate([divided.training, divided.validation])
    return int(select(tables, used, rows.spec.max_length).cut.sum())


def _check_labels(tables: Sequence[TokenTable], spec: DatasetSpec) -> None:
    """Raise ProblemError unless there are at least two labels, and not too many for a classifier."""
    names = list_class_names(tables)
    where = Where(step="dataset", field="sources", file=spec.sources[0].path)
    if len(names) < 2:
        raise fail(
            "dataset.one_label",
            "Every row has the label “{label}”, so there is nothing to tell apart.",
            "Add rows with other labels, or map another column to “label”.",
            where=where,
            label=names[0],
        )
    if len(names) > limits.LABELS:
        raise fail(
            "dataset.too_many_labels",
            "The rows have {labels} different labels. A classifier can have up to {most}.",
            "Map a column with fewer different values to “label”, or choose another format.",
            where=where,
            labels=len(names),
            most=limits.LABELS,
        )


_REMEDIES: dict[UnusableKind, Template] = {
    UnusableKind.LENGTH: "Increase “Max. sequence length”, or shorten the rows.",
    UnusableKind.TEMPLATE: "Change the rows so that the chat template accepts them, or choose another template.",
}


def _no_usable_rows_error(
    spec: DatasetSpec, read: int, skipped: dict[SkipReason, SkippedRow]
) -> ProblemError:
    """Return the error of a dataset without a row to train on."""
    shown = list(skipped.items())[:3]
    kinds = {reason.kind for reason, _ in shown}
    remedy = next(
        (remedy for kind, remedy in _REMEDIES.items() if kind in kinds),
        "Check the rows on the Dataset page, and choose another format or other columns there.",
    )
    what = text("There are no rows to train on.")
    if shown:
        what = counted(
            read,
            "The only row can't be trained on: {reasons}.",
            "None of the {n} rows can be trained on: {reasons}.",
            reasons=tuple(
                counted(
                    entry.count,
                    "{reason} (row {row:d})",
                    "{reason} ({n} rows, starting with row {row:d})",
                    reason=reason.text,
                    row=entry.rows[0],
                )
                for reason, entry in shown
            ),
        )
    where = Where(step="dataset", field="sources", file=spec.sources[0].path)
    fix = None
    if remedy == _REMEDIES[UnusableKind.TEMPLATE] and spec.chat_template != "chatml":
        # It renders every role, and tools.
        label = text("Chat template ChatML")
        fix = Fix(label=label, step="dataset", field="chat_template", value="chatml")
    return fail("dataset.no_usable_rows", what, remedy, where=where, fix=fix)


def list_tokenized_rows(tables: Sequence[TokenTable], fits: Fitting | None = None) -> np.ndarray:
    """Return the rows of the tables, or those that fit, as (source, position) pairs, [rows, 2]."""
    pairs = []
    for number, table in enumerate(tables):
        rows = table.row[fits.usable[number]] if fits else table.row
        pairs.append(np.column_stack([np.full(len(rows), number), rows]))
    return np.concatenate(pairs)


def _compute_fingerprint(training: Selection) -> str:
    digest = hashlib.sha256("".join(table.digest for table in training.tables).encode())
    for column in (training.table, training.index, training.begin, training.end):
        digest.update(np.ascontiguousarray(column, np.int64).tobytes())
    return digest.hexdigest()


def _get_warnings(training: Selection, validation: Selection) -> list[Problem]:
    where = Where(step="dataset", field="chat_template")
    problems: list[Problem] = []
    if partial := training.count_left_out() + validation.count_left_out():
        what = counted(
            partial,
            "In {n} row, only the last answer is trained: this chat template renders earlier turns "
            "differently later on, for example without the system message.",
            "In {n} rows, only the last answer is trained: this chat template renders earlier turns "
            "differently later on, for example without the system message.",
        )
        remedy = "To train every answer, make each a row of its own, or remove the system message."
        problems.append(warning("dataset.answers_left_out", what, remedy, where=where))
    if hidden := training.count_unshown() + validation.count_unshown():
        what = counted(
            hidden,
            "In {n} row, the reasoning of earlier answers is left out: this chat template shows only "
            "the reasoning of the last answer.",
            "In {n} rows, the reasoning of earlier answers is left out: this chat template shows only "
            "the reasoning of the last answer.",
        )
        remedy = "To train on all reasoning, make each answer a row of its own."
        problems.append(warning("dataset.thinking_left_out", what, remedy, where=where))
    return problems
