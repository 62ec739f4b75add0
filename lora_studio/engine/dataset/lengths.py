"""How long the rows of a dataset are in tokens, and what any limit would cut.

Rows longer than x and trained tokens behind x are sums over all rows; both are computed exactly at
some hundred places: Σ max(0, e − x) − max(0, b − x) over all trained ranges b to e, by sorting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from lora_studio.core.dataset.samples import UnusableRow
from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.protocol import commands
from lora_studio.core.protocol.events import LengthsMeasured, Skipped
from lora_studio.engine.dataset import prepare
from lora_studio.engine.dataset.rows import mixture, token_cache
from lora_studio.engine.dataset.rows.mixture import MixedRows
from lora_studio.engine.dataset.rows.sequences import Fitting
from lora_studio.engine.dataset.rows.token_cache import MANY
from lora_studio.engine.dataset.rows.token_table import TokenTable
from lora_studio.engine.model import sources
from lora_studio.engine.model.tokenizer import load_tokenizer
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.tokens.encoder import Encoder

#: Rows that a first estimate rests on, spread over each source.
SAMPLE = 2_000

#: Places at which counts are exact, and the grain that limits are chosen in.
_EDGES, _GRAIN = 400, 8
_PERCENTILES = (50, 90, 95, 99, 100)

#: Rows that the heaviest step is looked for among, in how many orders, up to how many rows a step.
_DRAWN, _ORDERS, _PER_STEP = 50_000, 3, 1024


def measure(command: commands.MeasureDataset, job: JobContext) -> None:
    """Emits an estimate where all rows take a while, then the lengths of all; raises ProblemError."""
    spec = command.dataset
    rows = mixture.open(spec, job)
    folder = sources.resolve_tokenizer(command.model, job)
    tokenizer = load_tokenizer(folder, spec, trust=command.model.trust_remote_code)
    parts = prepare.parts(rows)
    many = sum(len(part) for part in parts) >= MANY
    if many and not token_cache.are_known(parts, tokenizer, spec, rows.task):
        job.emit(_estimate(rows, tokenizer, job))
    found = prepare.tokenise(rows, tokenizer, job)
    given = prepare.weights(rows)[: len(rows.spec.sources)]
    columns = [_columns(table, weight) for table, weight in zip(found, given, strict=False)]
    skipped = prepare.left_out(found, Fitting([]))
    job.emit(lengths(columns, spec, skipped, complete=True))


def tables(spec: DatasetSpec, model: ModelSpec, job: JobContext) -> list[TokenTable]:
    """All rows of a dataset in a model's tokens, one table a source; raises ProblemError."""
    rows = mixture.open(spec, job)
    folder = sources.resolve_tokenizer(model, job)
    tokenizer = load_tokenizer(folder, spec, trust=model.trust_remote_code)
    return prepare.tokenise(rows, tokenizer, job)


@dataclass(frozen=True)
class LengthTable:
    """Lengths [rows] and trained ranges [ranges, 2] of rows that count `weight` times each.

    `computed` [rows] are the tokens that a row costs: of pairs those of both sides.
    """

    length: NDArray[np.int64]
    computed: NDArray[np.int64]
    ranges: NDArray[np.int64]
    tokens: int  # of all rows, of pairs both sides
    weight: float


def lengths(
    columns: Sequence[LengthTable],
    spec: DatasetSpec,
    skipped: tuple[Skipped, ...],
    *,
    complete: bool,
) -> LengthsMeasured:
    """The counts of all rows together."""
    edges = _edges(columns, spec.max_length)
    rows_over = np.zeros(len(edges))
    trained_over = np.zeros(len(edges))
    tokens = trained = rows = 0.0
    for part in columns:
        ordered = np.sort(part.length)
        over = len(ordered) - np.searchsorted(ordered, edges, "right")
        rows_over += part.weight * over
        ends, begins = np.sort(part.ranges[:, 1]), np.sort(part.ranges[:, 0])
        trained_over += part.weight * (_behind(ends, edges) - _behind(begins, edges))
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
        percentiles=_percentiles(columns),
        skipped=skipped,
        heaviest=heaviest(_epoch(columns)),
    )


def _behind(ordered: NDArray[np.int64], edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Σ max(0, value − edge) over rising values, for each edge."""
    sums = np.concatenate([[0], np.cumsum(ordered, dtype=np.int64)])
    first = np.searchsorted(ordered, edges, "right")
    found: NDArray[np.int64] = sums[-1] - sums[first] - (len(ordered) - first) * edges
    return found


def _edges(columns: Sequence[LengthTable], limit: int) -> NDArray[np.int64]:
    """Even steps of the grain up to where nearly all rows end, then ever larger ones."""
    every = np.concatenate([part.length for part in columns] or [np.zeros(0, np.int64)])
    longest = int(every.max(initial=0))
    common = int(np.percentile(every, 99.5)) if len(every) else 0
    step = max(_GRAIN, -(-common // (_EDGES * _GRAIN)) * _GRAIN)
    even = np.arange(0, min(common, longest) + step, step)
    rising = np.geomspace(max(common, 1), max(longest, 1), 64).astype(np.int64)
    powers = 2 ** np.arange(4, 21)
    chosen = np.concatenate([even, rising, powers[powers < longest], [limit, longest]])
    return np.unique(chosen).astype(np.int64)


def _percentiles(columns: Sequence[LengthTable]) -> dict[int, int]:
    """Lengths that so many percent of the rows do not exceed, each row by its weight."""
    length = np.concatenate([part.length for part in columns] or [np.zeros(0, np.int64)])
    if not len(length):
        return {}
    weight = np.concatenate([np.full(len(part.length), part.weight) for part in columns])
    order = np.argsort(length, kind="stable")
    share = np.cumsum(weight[order])
    places = np.searchsorted(share, [share[-1] * level / 100 for level in _PERCENTILES])
    found = length[order][np.minimum(places, len(length) - 1)]
    return dict(zip(_PERCENTILES, found.tolist(), strict=True))


def _epoch(columns: Sequence[LengthTable]) -> NDArray[np.int64]:
    """The tokens of the rows of one epoch, [rows]; of more rows than `_DRAWN`, as many of them."""
    wanted = sum(part.weight * len(part.computed) for part in columns)
    share = min(1.0, _DRAWN / max(1.0, wanted))
    found = [np.zeros(0, np.int64)]
    for part in columns:
        rows = np.sort(part.computed)[::-1]
        count = round(part.weight * share * len(rows))
        # Evenly spread from the longest row on, which is always among them.
        found.append(rows[(np.arange(count) * len(rows)) // max(1, count)])
    return np.concatenate(found)


def heaviest(tokens: NDArray[np.int64]) -> dict[int, tuple[int, ...]]:
    """`LengthsMeasured.heaviest` of rows with so many tokens, over some random orders of them."""
    found: dict[int, tuple[int, ...]] = {}
    size = 1
    while size <= _PER_STEP:
        worst = np.zeros(size, np.int64)
        for epoch in range(_ORDERS):
            order = np.random.default_rng((0, epoch)).permutation(len(tokens))
            steps = np.zeros(-(-max(1, len(tokens)) // size) * size, np.int64)
            steps[: len(tokens)] = tokens[order]
            together = np.cumsum(-np.sort(-steps.reshape(-1, size), axis=1), axis=1)
            worst = np.maximum(worst, together.max(axis=0))
        found[size] = tuple(np.diff(worst, prepend=0).tolist())
        if size >= len(tokens):
            break
        size *= 2
    return found


def _columns(table: TokenTable, weight: float) -> LengthTable:
    ranges = np.concatenate([*table.spans(), np.zeros((0, 2), np.int32)])
    return LengthTable(
        table.length.astype(np.int64),
        table.computed.astype(np.int64),
        ranges.astype(np.int64),
        table.tokens,
        weight,
    )


def _estimate(
    rows: MixedRows, tokenizer: PreTrainedTokenizerBase, job: JobContext
) -> LengthsMeasured:
    """Lengths of some rows of each source, counted as if they were all."""
    encoder = Encoder(tokenizer, rows.spec)
    found: list[LengthTable] = []
    total = sum(len(store) for store in rows.stores)
    for source, weight in enumerate(prepare.weights(rows)[: len(rows.spec.sources)]):
        count = len(rows.stores[source])
        share = max(1, SAMPLE * count // total)
        length: list[int] = []
        computed: list[int] = []
        ranges: list[tuple[int, int]] = []
        looked_at = tokens = 0
        for position in np.unique(np.linspace(0, count - 1, min(share, count)).astype(int)):
            job.progress("estimating lengths", looked_at, share, "rows")
            looked_at += 1
            try:
                (sides,) = encoder.tokenise([rows.sample(source, int(position))])
            except UnusableRow:
                continue
            if not isinstance(sides, UnusableRow):
                length.append(max(len(side.ids) for side in sides))
                ranges += [span for side in sides for span in side.spans]
                computed.append(sum(len(side.ids) for side in sides))
                tokens += computed[-1]
        found.append(
            LengthTable(
                np.asarray(length, np.int64),
                np.asarray(computed, np.int64),
                np.asarray(ranges, np.int64).reshape(-1, 2),
                tokens,
                weight * count / looked_at,
            )
        )
    return lengths(found, rows.spec, (), complete=False)
