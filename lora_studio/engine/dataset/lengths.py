"""Measure the rows of a dataset in tokens: their lengths, what any length limit would cut, what a training has.

Rows longer than x and trained tokens after x are sums over all rows; both are computed exactly at
a few hundred edges: Σ max(0, e − x) − max(0, b − x) over all trained ranges b to e, by sorting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.protocol import commands
from lora_studio.core.protocol.events import DatasetPlanned, DatasetReady, LengthsMeasured, Skipped
from lora_studio.core.tasks.samples import UnusableRow
from lora_studio.engine.dataset import prepare, splitting
from lora_studio.engine.dataset.rows import mixture, token_cache
from lora_studio.engine.dataset.rows.mixture import MixedRows
from lora_studio.engine.dataset.rows.sequences import Fitting, Selection, TokenTable
from lora_studio.engine.dataset.rows.token_cache import MANY
from lora_studio.engine.model import sources
from lora_studio.engine.model.tokenizer import load_tokenizer
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.tokens.encoder import Encoder

#: Rows of a first estimate, spread over each source.
SAMPLE = 2_000

#: Number of edges at which counts are exact, and the step between limits, in tokens.
_EDGES, _GRAIN = 400, 8
_PERCENTILES = (50, 90, 95, 99, 100)

#: Search for the heaviest step: number of rows, number of random orders, maximum rows in a step.
SAMPLED_ROWS, _ORDERS, _PER_STEP = 50_000, 3, 1024


def measure(command: commands.MeasureDataset, job: JobContext) -> None:
    """Emit an estimate where all rows take long, then the lengths of all; raises ProblemError.

    Rows that recorded repairs of the whole dataset leave out aren't counted.
    """
    spec = command.dataset
    rows = mixture.open_dataset(spec, job)
    folder = sources.resolve_tokenizer(command.model, job)
    trust, tokens = command.model.trust_remote_code, command.new_tokens
    tokenizer = load_tokenizer(folder, spec, trust=trust, new_tokens=tokens)
    parts = prepare.list_token_parts(rows)
    has_many = sum(len(part) for part in parts) >= MANY
    if has_many and not token_cache.is_cached(parts, tokenizer, spec, rows.task):
        job.emit(_estimate(rows, tokenizer, job))
    tables = prepare.tokenize(rows, tokenizer, job)
    weights = prepare.get_source_weights(rows)[: len(rows.spec.sources)]
    dropped = splitting.find_dropped_rows(rows, prepare.list_tokenized_rows(tables), job)
    columns = [
        _build_table(table, ~np.isin(table.row, dropped.get(source, [])), weight)
        for source, (table, weight) in enumerate(zip(tables, weights, strict=False))
    ]
    skipped = prepare.to_skipped_events(prepare.collect_skipped(tables, Fitting([])))
    job.emit(count_lengths(columns, spec, skipped, complete=True))


def tokenize_dataset(
    spec: DatasetSpec, model: ModelSpec, job: JobContext, new_tokens: Sequence[str] = ()
) -> list[TokenTable]:
    """Return all rows of a dataset in a model's tokens, a table per source; raises ProblemError."""
    rows = mixture.open_dataset(spec, job)
    folder = sources.resolve_tokenizer(model, job)
    trust = model.trust_remote_code
    tokenizer = load_tokenizer(folder, spec, trust=trust, new_tokens=new_tokens)
    return prepare.tokenize(rows, tokenizer, job)


def plan(command: commands.PlanDataset, job: JobContext) -> None:
    """Prepare the dataset as a training does and emit its counts; raises ProblemError."""
    folder = sources.resolve_tokenizer(command.model, job)
    trust, tokens = command.model.trust_remote_code, command.new_tokens
    tokenizer = load_tokenizer(folder, command.dataset, trust=trust, new_tokens=tokens)
    prepared = prepare.prepare(command.dataset, tokenizer, command.seed, job)
    job.emit(describe_epoch(prepared.ready, prepared.training))


def describe_epoch(ready: DatasetReady, training: Selection) -> DatasetPlanned:
    """Return the counts of a prepared dataset with the lengths that memory and time depend on."""
    counts = {name: getattr(ready, name) for name in type(ready).model_fields if name != "kind"}
    heaviest = find_heaviest_steps(sample_rows(training.count_computed()))
    return DatasetPlanned(**counts, heaviest=heaviest)


@dataclass(frozen=True)
class LengthTable:
    """Lengths [rows] and trained ranges [ranges, 2] of rows that count `weight` times each.

    `computed` [rows] are the tokens that a row costs: for pairs, those of both sides.
    """

    length: NDArray[np.int64]
    computed: NDArray[np.int64]
    ranges: NDArray[np.int64]
    tokens: int  # of all rows, both sides of pairs
    weight: float


def count_lengths(
    columns: Sequence[LengthTable],
    spec: DatasetSpec,
    skipped: tuple[Skipped, ...],
    *,
    complete: bool,
) -> LengthsMeasured:
    """Return the counts of all rows together."""
    edges = _choose_edges(columns, spec.max_length)
    rows_over = np.zeros(len(edges))
    trained_over = np.zeros(len(edges))
    tokens = trained = rows = 0.0
    for part in columns:
        ordered = np.sort(part.length)
        over = len(ordered) - np.searchsorted(ordered, edges, "right")
        rows_over += part.weight * over
        ends, begins = np.sort(part.ranges[:, 1]), np.sort(part.ranges[:, 0])
        trained_over += part.weight * (_sum_excess(ends, edges) - _sum_excess(begins, edges))
        rows += part.weight * len(ordered)
        tokens += part.weight * part.tokens
        trained += part.weight * int((part.ranges[:, 1] - part.ranges[:, 0]).sum())
    return LengthsMeasured(
        complete=complete,
        rows=round(rows),
        tokens=round(tokens),
        trained_tokens=round(trained),
        edges=tuple(edges.tolist()),
        rows_over=tuple(np.round(rows_over).astype(int).tolist()),
        trained_over=tuple(np.round(trained_over).astype(int).tolist()),
        percentiles=_compute_percentiles(columns),
        skipped=skipped,
        heaviest=find_heaviest_steps(sample_epoch(columns)),
    )


def _sum_excess(ordered: NDArray[np.int64], edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return Σ max(0, value − edge) over ascending values, for each edge."""
    sums = np.concatenate([[0], np.cumsum(ordered, dtype=np.int64)])
    first = np.searchsorted(ordered, edges, "right")
    excess: NDArray[np.int64] = sums[-1] - sums[first] - (len(ordered) - first) * edges
    return excess


def _choose_edges(columns: Sequence[LengthTable], limit: int) -> NDArray[np.int64]:
    """Return evenly spaced edges up to where nearly all rows end, then ones with growing distances."""
    every = np.concatenate([part.length for part in columns] or [np.zeros(0, np.int64)])
    longest = int(every.max(initial=0))
    common = int(np.percentile(every, 99.5)) if len(every) else 0
    step = -(-max(common, 1) // _EDGES)
    # Limits are multiples of the grain, so they are at an edge.
    step = 1 << (step - 1).bit_length() if step <= _GRAIN else -(-step // _GRAIN) * _GRAIN
    evenly_spaced = np.arange(0, min(common, longest) + step, step)
    rising = np.geomspace(max(common, 1), max(longest, 1), 64).astype(np.int64)
    powers = 2 ** np.arange(4, 21)
    chosen = np.concatenate([evenly_spaced, rising, powers[powers < longest], [limit, longest]])
    return np.unique(chosen).astype(np.int64)


def _compute_percentiles(columns: Sequence[LengthTable]) -> dict[int, int]:
    """Return percentiles of the lengths, with each row counted by its weight."""
    length = np.concatenate([part.length for part in columns] or [np.zeros(0, np.int64)])
    if not len(length):
        return {}
    weight = np.concatenate([np.full(len(part.length), part.weight) for part in columns])
    order = np.argsort(length, kind="stable")
    share = np.cumsum(weight[order])
    ranks = np.searchsorted(share, [share[-1] * level / 100 for level in _PERCENTILES])
    values = length[order][np.minimum(ranks, len(length) - 1)]
    return dict(zip(_PERCENTILES, values.tolist(), strict=True))


def sample_epoch(columns: Sequence[LengthTable]) -> NDArray[np.int64]:
    """Return the tokens of the rows of one epoch, [rows], for at most `SAMPLED_ROWS` rows."""
    epoch_rows = sum(part.weight * len(part.computed) for part in columns)
    share = min(1.0, SAMPLED_ROWS / max(1.0, epoch_rows))
    tokens = [np.zeros(0, np.int64)]
    for part in columns:
        tokens.append(_spread(part.computed, round(part.weight * share * len(part.computed))))
    return np.concatenate(tokens)


def sample_rows(tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the tokens of the rows of an epoch, [rows], for at most `SAMPLED_ROWS` rows."""
    return tokens if len(tokens) <= SAMPLED_ROWS else _spread(tokens, SAMPLED_ROWS)


def _spread(tokens: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return `count` rows, evenly spread from the longest row on, which is always among them."""
    rows = np.sort(tokens)[::-1]
    return rows[(np.arange(count) * len(rows)) // max(1, count)]


def find_heaviest_steps(tokens: NDArray[np.int64]) -> dict[int, tuple[int, ...]]:
    """Return `LengthsMeasured.heaviest` of rows with `tokens` [rows], over some random orders."""
    heaviest: dict[int, tuple[int, ...]] = {}
    size = 1
    while size <= _PER_STEP:
        worst = np.zeros(size, np.int64)
        for epoch in range(_ORDERS):
            order = np.random.default_rng((0, epoch)).permutation(len(tokens))
            steps = np.zeros(-(-max(1, len(tokens)) // size) * size, np.int64)
            steps[: len(tokens)] = tokens[order]
            together = np.cumsum(-np.sort(-steps.reshape(-1, size), axis=1), axis=1)
            worst = np.maximum(worst, together.max(axis=0))
        heaviest[size] = tuple(np.diff(worst, prepend=0).tolist())
        if size >= len(tokens):
            break
        size *= 2
    return heaviest


def _build_table(table: TokenTable, used: NDArray[np.bool_], weight: float) -> LengthTable:
    ranges = np.concatenate([*table.iter_spans(used), np.zeros((0, 2), np.int32)])
    return LengthTable(
        table.length[used].astype(np.int64),
        table.computed[used].astype(np.int64),
        ranges.astype(np.int64),
        int(table.computed[used].sum()),
        weight,
    )


def _estimate(
    rows: MixedRows, tokenizer: PreTrainedTokenizerBase, job: JobContext
) -> LengthsMeasured:
    """Return the lengths of some rows of each source, extrapolated to all."""
    encoder = Encoder(tokenizer, rows.spec)
    columns: list[LengthTable] = []
    total = sum(len(store) for store in rows.stores)
    for source, weight in enumerate(prepare.get_source_weights(rows)[: len(rows.spec.sources)]):
        count = len(rows.stores[source])
        share = max(1, SAMPLE * count // total)
        length: list[int] = []
        computed: list[int] = []
        ranges: list[tuple[int, int]] = []
        inspected = tokens = 0
        for position in np.unique(np.linspace(0, count - 1, min(share, count)).astype(int)):
            job.report_progress("estimating lengths", inspected, share, "rows")
            inspected += 1
            try:
                (sides,) = encoder.tokenize([rows.read_sample(source, int(position))])
            except UnusableRow:
                continue
            if not isinstance(sides, UnusableRow):
                length.append(max(len(side.ids) for side in sides))
                ranges += [span for side in sides for span in side.spans]
                computed.append(sum(len(side.ids) for side in sides))
                tokens += computed[-1]
        columns.append(
            LengthTable(
                np.asarray(length, np.int64),
                np.asarray(computed, np.int64),
                np.asarray(ranges, np.int64).reshape(-1, 2),
                tokens,
                weight * count / inspected,
            )
        )
    return count_lengths(columns, rows.spec, (), complete=False)
