"""The rows of a training as sequences: lengths are in memory, rows are read lazily."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import datasets
import numpy as np
import pyarrow as pa

from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.system.foreign_files import read_json
from lora_studio.core.tasks.samples import TaskName
from lora_studio.core.tasks.table import TASKS
from lora_studio.engine.dataset.files.blocks import SkipReason, load_reason
from lora_studio.engine.tokens.encoder import (
    ROW_ENCODINGS,
    TokenizedText,
    check_length,
    split_document,
)

#: Row numbers listed for each reason.
NAMED = 10


@dataclass
class SkippedRow:
    """Rows skipped for one reason: how many, and the numbers of the first few, from 1."""

    count: int = 0
    rows: list[int] = field(default_factory=list)

    def add(self, rows: Sequence[int], count: int | None = None) -> None:
        """Add some rows; `count` is their number if `rows` has only the first ones."""
        self.count += len(rows) if count is None else count
        self.rows = sorted([*self.rows, *rows[:NAMED]])[:NAMED]


class TokenTable:
    """The tokenized rows of one source. Lengths are in memory, tokens stay on disk.

    The arrays have one entry per usable row, in the order of the source: `row` is its position there
    (from 0), `length` its tokens before truncation, `first` the first trained position that is
    predicted, `targets` its trained tokens. For pairs, `length` and `first` are the maximum of both
    sides; `targets` and `computed`, all tokens of a row, are their sums. `tokens` counts all tokens.
    """

    def __init__(self, folder: Path) -> None:
        """Open a folder that `tokenize` wrote."""
        about = read_json(folder / "about.json")
        self.task: TaskName = about["task"]
        self.digest: str = about["digest"]
        self.rows_read: int = about["rows"]
        self.skipped = {
            load_reason(reason): SkippedRow(*entry) for reason, entry in about["skipped"].items()
        }
        files = [str(folder / name) for name in about["files"]]
        self.data = datasets.concatenate_datasets([datasets.Dataset.from_file(f) for f in files])
        table = self.data.data.table
        encoding = ROW_ENCODINGS[self.task]
        self._sides = sides = encoding.sides
        self.row = self._read_column("row")
        self._lengths = [self._read_column(f"{side}length") for side in sides]
        self.length = np.maximum.reduce(self._lengths)
        self.computed = np.add.reduce(self._lengths)
        self.first = np.maximum.reduce([self._read_column(f"{side}first") for side in sides])
        self.targets = np.add.reduce([self._read_column(f"{side}targets") for side in sides])
        self.tokens = int(self.computed.sum())
        self.left_out = self._read_column("left_out")
        self.unshown = self._read_column("unshown")
        self._extra = table.column("extra") if encoding.extra else None
        #: The label of each row, [] where labels aren't classes.
        self.class_names: list[str] = []
        if self._extra is not None and TASKS[self.task].has_classes:
            self.class_names = self._extra.to_pylist()
        self._lists = {
            f"{side}{name}": _Lists(table.column(f"{side}{name}"))
            for side in sides
            for name in ("ids", "spans")
        }

    def __len__(self) -> int:
        """Return the number of rows that are usable regardless of their length."""
        return len(self.row)

    def get_items(self, index: int) -> list[TokenizedText]:
        """Return the sequences of a row by its index in the table."""
        items = []
        for side in self._sides:
            edges = self._lists[f"{side}spans"][index].reshape(-1, 2)
            spans = [(int(begin), int(end)) for begin, end in edges]
            items.append(TokenizedText(self._lists[f"{side}ids"][index], spans))
        return items

    def get_extra(self, index: int) -> Any:
        """Return the further column of a row."""
        return None if self._extra is None else self._extra[index].as_py()

    def count_trained_within(self, limits: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """Return the trained tokens before position `limits` of the rows `indices`, all [rows]."""
        return sum(
            (lists.count_trained_within(limits, indices) for name, lists in self._lists.items() if "spans" in name),
            np.zeros(len(indices), np.int64),
        )  # fmt: skip

    def count_computed_within(self, limits: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """Return the tokens before position `limits` of the rows `indices`, of both sides of pairs."""
        return np.add.reduce([np.minimum(lengths[indices], limits) for lengths in self._lengths])

    def iter_spans(self, mask: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the trained ranges of tokens of the rows in `mask` [rows], [ranges, 2] int32 each."""
        for name, lists in self._lists.items():
            if name.endswith("spans"):
                yield from (values.reshape(-1, 2) for values in lists.iter_chunks(mask))

    def _read_column(self, name: str) -> np.ndarray:
        return self.data.data.table.column(name).to_numpy()


class _Lists:
    """A column of lists of numbers; an entry is a view of the mapped file."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        chunks = [chunk for chunk in column.chunks if len(chunk)]
        self._starts = np.cumsum([0, *(len(chunk) for chunk in chunks)])
        self._offsets = [chunk.offsets.to_numpy() for chunk in chunks]
        self._values = [chunk.values.to_numpy() for chunk in chunks]

    def __getitem__(self, index: int) -> np.ndarray:
        chunk = int(np.searchsorted(self._starts, index, "right")) - 1
        offsets = self._offsets[chunk]
        at = index - int(self._starts[chunk])
        return self._values[chunk][offsets[at] : offsets[at + 1]]

    def count_trained_within(self, limits: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """Return how much of each list of ranges is before its limit."""
        totals = np.zeros(len(indices), np.int64)
        chunk_of = np.searchsorted(self._starts, indices, "right") - 1
        for chunk in np.unique(chunk_of):
            mine = chunk_of == chunk
            at = indices[mine] - self._starts[chunk]
            offsets, values = self._offsets[chunk], self._values[chunk]
            counts = (offsets[at + 1] - offsets[at]) // 2
            row = np.repeat(np.arange(len(at)), counts)
            nth = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
            ranges = offsets[at][row] + 2 * nth
            limit = limits[mine][row]
            begin, end = (np.minimum(values[ranges + side], limit) for side in (0, 1))
            totals[mine] = np.bincount(row, end - begin, len(at)).astype(np.int64)
        return totals

    def iter_chunks(self, mask: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the numbers of the lists in `mask` [lists], one array per chunk."""
        for start, offsets, values in zip(self._starts, self._offsets, self._values, strict=False):
            chosen = mask[start : start + len(offsets) - 1]
            yield values[offsets[0] : offsets[-1]][np.repeat(chosen, np.diff(offsets))]


@dataclass(frozen=True)
class Selection:
    """Ranges of tokenized rows, one for each row of a training: all arrays are [rows].

    Each is the tokens `begin` to `end` of row `index` in the table `table`.
    """

    tables: Sequence[TokenTable]
    table: np.ndarray
    index: np.ndarray
    begin: np.ndarray
    end: np.ndarray

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.table)

    def subset(self, rows: np.ndarray) -> Selection:
        """Return some of the rows, in the given order; a row may occur more than once."""
        columns = (self.table, self.index, self.begin, self.end)
        return Selection(self.tables, *(column[rows] for column in columns))

    @property
    def lengths(self) -> np.ndarray:
        """Return the tokens of each row after truncation."""
        return self.end - self.begin

    @property
    def cut(self) -> np.ndarray:
        """Return which conversations the limit truncates."""
        return self.end < self._full

    def _count(
        self, measure: Callable[[TokenTable, np.ndarray, np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """Return what `measure` finds for each row, given its table and the rows there, as indexes and in `self`."""
        counts = np.zeros(len(self), np.int64)
        for number, table in enumerate(self.tables):
            mine = np.flatnonzero(self.table == number)
            counts[mine] = measure(table, self.index[mine], mine)
        return counts

    @property
    def _full(self) -> np.ndarray:
        return self._count(lambda table, index, rows: table.length[index])

    def count_left_out(self) -> int:
        """Return the number of rows with answers that can't be trained."""
        return int((self._count(lambda table, index, rows: table.left_out[index]) > 0).sum())

    def count_unshown(self) -> int:
        """Return the number of rows with reasoning that the chat template omits."""
        return int((self._count(lambda table, index, rows: table.unshown[index]) > 0).sum())

    def count_computed(self) -> np.ndarray:
        """Return the tokens that each row costs after truncation: for pairs, those of both sides."""
        return self._count(
            lambda table, index, rows: (
                table.count_computed_within(self.end[rows], index)
                - table.count_computed_within(self.begin[rows], index)
            )
        )

    def count_targets(self) -> int:
        """Return the trained tokens of all rows after truncation."""
        return int(self._count_trained(self.begin).sum())

    def count_predicted(self) -> np.ndarray:
        """Return the trained tokens of each row, without its first token, which nothing predicts."""
        return self._count_trained(np.minimum(self.begin + 1, self.end))

    def _count_trained(self, begin: np.ndarray) -> np.ndarray:
        return self._count(
            lambda table, index, rows: (
                table.count_trained_within(self.end[rows], index)
                - table.count_trained_within(begin[rows], index)
            )
        )


class EncodedRows(Sequence[Any]):
    """A selection as the rows that the objective of its task takes; `lengths` are in memory.

    Labels are numbered over all rows of the data, so that training and validation agree.
    """

    def __init__(self, selection: Selection) -> None:
        self.selection = selection
        self.lengths = selection.lengths
        self._numbers = {name: i for i, name in enumerate(list_class_names(selection.tables))}

    def __len__(self) -> int:
        return len(self.selection)

    @overload
    def __getitem__(self, row: int) -> Any: ...
    @overload
    def __getitem__(self, row: slice) -> list[Any]: ...
    def __getitem__(self, row: int | slice) -> Any:
        if isinstance(row, slice):
            return [self._read(index) for index in range(*row.indices(len(self)))]
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        return self._read(row % len(self))

    def _read(self, row: int) -> Any:
        chosen = self.selection
        table, index = chosen.tables[chosen.table[row]], int(chosen.index[row])
        extra = self._numbers[table.class_names[index]] if self._numbers else table.get_extra(index)
        begin, end = int(chosen.begin[row]), int(chosen.end[row])
        return ROW_ENCODINGS[table.task].read(table.get_items(index), begin, end, extra)


def list_class_names(tables: Sequence[TokenTable]) -> tuple[str, ...]:
    """Return every label of some rows once, numbers in their order before names in alphabetical order."""
    names = {name for table in tables for name in table.class_names}
    return tuple(sorted(names, key=_order_class))


def count_labels(selection: Selection) -> dict[str, int]:
    """Return how many of the rows have each label of the data, in the order of a classifier's outputs."""
    counts = dict.fromkeys(list_class_names(selection.tables), 0)
    if counts:
        for table, index in zip(selection.table.tolist(), selection.index.tolist(), strict=True):
            counts[selection.tables[table].class_names[index]] += 1
    return counts


def _order_class(name: str) -> tuple[bool, int, str]:
    is_number = name.isascii() and name.isdigit() and len(name) < 10
    return (not is_number, int(name) if is_number else 0, name)


@dataclass
class Fitting:
    """Which rows fit a limit: `usable[t]` for each row of table t; `skipped` are the others."""

    usable: list[np.ndarray]
    skipped: dict[SkipReason, SkippedRow] = field(default_factory=dict)


def fit_to_limit(tables: Sequence[TokenTable], spec: DatasetSpec) -> Fitting:
    """Return which rows the spec's length limit leaves; documents of any length are usable."""
    fits = Fitting([])
    for table in tables:
        usable = np.ones(len(table), bool)
        if not TASKS[table.task].is_document:
            usable = table.first < spec.max_length
            if spec.too_long == "skip":
                usable &= table.length <= spec.max_length
        fits.usable.append(usable)
        for index in np.flatnonzero(~usable):
            error = check_length(int(table.length[index]), int(table.first[index]), spec)
            assert error is not None, "unusable rows break the limit"
            reason = SkipReason.from_error(error)
            fits.skipped.setdefault(reason, SkippedRow()).add([int(table.row[index]) + 1])
    return fits


def select(
    tables: Sequence[TokenTable],
    rows: Sequence[tuple[int, int]] | np.ndarray,
    limit: int,
) -> Selection:
    """Return the rows given as (source, position) pairs; a row may occur more than once.

    A document becomes one row for each of its pieces. Rows that are in no table are ignored.
    """
    requested = np.asarray(rows, np.int64).reshape(-1, 2)
    table_parts: list[np.ndarray] = []
    index_parts: list[np.ndarray] = []
    order: list[np.ndarray] = []
    for number, table in enumerate(tables):
        positions = np.flatnonzero(requested[:, 0] == number)
        index = np.searchsorted(table.row, requested[positions, 1])
        is_present = index < len(table)
        is_present[is_present] = table.row[index[is_present]] == requested[positions[is_present], 1]
        table_parts.append(np.full(int(is_present.sum()), number, np.int16))
        index_parts.append(index[is_present])
        order.append(positions[is_present])
    request_order = np.argsort(np.concatenate(order or [np.zeros(0, np.int64)]), kind="stable")
    table_of = np.concatenate(table_parts or [np.zeros(0, np.int16)])[request_order]
    index_of = np.concatenate(index_parts or [np.zeros(0, np.int64)])[request_order]
    length = np.zeros(len(table_of), np.int64)
    for number, table in enumerate(tables):
        length[table_of == number] = table.length[index_of[table_of == number]]
    selection = Selection(
        tables, table_of, index_of, np.zeros_like(length), np.minimum(length, limit)
    )
    is_document = TASKS[tables[0].task].is_document
    return _divide(selection, length, limit) if is_document else selection


def _divide(documents: Selection, length: np.ndarray, limit: int) -> Selection:
    """Return every document in pieces of the limit."""
    edges = [split_document(int(tokens), limit) for tokens in length]
    document = np.repeat(np.arange(len(edges)), [len(spans) for spans in edges])
    flat: list[Any] = [span for spans in edges for span in spans]
    begin, end = np.asarray(flat, np.int64).reshape(-1, 2).T
    repeated = documents.subset(document)
    divided = Selection(documents.tables, repeated.table, repeated.index, begin, end)
    # If the text marks its trained parts itself, a piece may have nothing to predict.
    return divided.subset(np.flatnonzero(divided.count_predicted() > 0))
