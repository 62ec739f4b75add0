"""The rows of a training as sequences: lengths are in memory, a row is read when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

import numpy as np

from lora_studio.core.dataset.spec import DatasetSpec, Task
from lora_studio.engine.dataset.rows.token_table import SkippedRow, TokenTable
from lora_studio.engine.tokens.encoder import (
    Encoded,
    EncodedLabelled,
    EncodedPair,
    build_trained_mask,
    check_length,
    split_document,
)

T = TypeVar("T")


@dataclass(frozen=True)
class Selection:
    """Stretches of tokenised rows, one for each row of a training: all arrays are [rows].

    The tokens `begin` to `end` of the row at `place` in the table `table`.
    """

    tables: Sequence[TokenTable]
    table: np.ndarray
    place: np.ndarray
    begin: np.ndarray
    end: np.ndarray

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.table)

    def take(self, rows: np.ndarray) -> Selection:
        """Some of the rows, in the given order; a row may be taken more than once."""
        columns = (self.table, self.place, self.begin, self.end)
        return Selection(self.tables, *(column[rows] for column in columns))

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row after cutting."""
        return self.end - self.begin

    @property
    def cut(self) -> np.ndarray:
        """Whether the limit left tokens of a conversation off."""
        return self.end < self._full

    @property
    def _full(self) -> np.ndarray:
        full = np.zeros(len(self), np.int64)
        for number, table in enumerate(self.tables):
            mine = self.table == number
            full[mine] = table.length[self.place[mine]]
        return full

    def left_out(self) -> int:
        """How many rows have answers that cannot be trained."""
        return self._count("left_out")

    def unshown(self) -> int:
        """How many rows have reasoning that the template does not show."""
        return self._count("unshown")

    def _count(self, name: str) -> int:
        return sum(
            int((getattr(table, name)[self.place[self.table == number]] > 0).sum())
            for number, table in enumerate(self.tables)
        )

    def targets(self) -> int:
        """Trained tokens of all rows, after cutting."""
        total = 0
        for number, table in enumerate(self.tables):
            mine = self.table == number
            within = table.trained_within(self.end[mine], self.place[mine])
            total += int((within - table.trained_within(self.begin[mine], self.place[mine])).sum())
        return total

    def predicted(self) -> np.ndarray:
        """Trained tokens of each row but its first token, which nothing in it predicts."""
        found = np.zeros(len(self), np.int64)
        for number, table in enumerate(self.tables):
            mine = self.table == number
            place, begin = self.place[mine], np.minimum(self.begin[mine] + 1, self.end[mine])
            within = table.trained_within(self.end[mine], place)
            found[mine] = within - table.trained_within(begin, place)
        return found

    def encoded(self, row: int, side: str = "") -> Encoded:
        """One row; of a pair, `side` "rejected_" is the other."""
        begin, end = int(self.begin[row]), int(self.end[row])
        item = self.tables[self.table[row]].item(int(self.place[row]), side)
        ids = np.array(item.ids[begin:end], np.int32)
        trained = build_trained_mask(end, item.spans)[begin : begin + len(ids)]
        full = len(item.ids) if begin == 0 and not side else len(ids)
        return Encoded(ids, trained, full, item.left_out)


class _Rows(Sequence[T]):
    """A selection as a sequence; `lengths` is all that an order of training needs."""

    def __init__(self, selection: Selection) -> None:
        self.selection = selection
        self.lengths = selection.lengths

    def __len__(self) -> int:
        return len(self.selection)

    @overload
    def __getitem__(self, row: int) -> T: ...
    @overload
    def __getitem__(self, row: slice) -> list[T]: ...
    def __getitem__(self, row: int | slice) -> T | list[T]:
        if isinstance(row, slice):
            return [self._read(index) for index in range(*row.indices(len(self)))]
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        return self._read(row % len(self))

    def _read(self, row: int) -> T:
        raise NotImplementedError


class EncodedRows(_Rows[Encoded]):
    """Conversations, or pieces of documents."""

    def _read(self, row: int) -> Encoded:
        return self.selection.encoded(row)


class EncodedPairs(_Rows[EncodedPair]):
    """Pairs of answers to one prompt."""

    def _read(self, row: int) -> EncodedPair:
        chosen = self.selection.encoded(row)
        return EncodedPair(chosen, self.selection.encoded(row, "rejected_"))


class EncodedLabels(_Rows[EncodedLabelled]):
    """Conversations whose last answer is good or bad."""

    def _read(self, row: int) -> EncodedLabelled:
        table = self.selection.tables[self.selection.table[row]]
        assert table.label is not None
        label = bool(table.label[self.selection.place[row]])
        return EncodedLabelled(self.selection.encoded(row), label)


def sequence(selection: Selection, task: Task) -> _Rows[Any]:
    """The rows of a task in the form that its objective takes."""
    forms: dict[Task, type[_Rows[Any]]] = {"preference": EncodedPairs, "kto": EncodedLabels}
    return forms.get(task, EncodedRows)(selection)


@dataclass
class Fitting:
    """The rows that a limit leaves: `usable[t]` says it for each of table t's rows, `left` why not."""

    usable: list[np.ndarray]
    left: dict[str, SkippedRow] = field(default_factory=dict)


def fitting(tables: Sequence[TokenTable], task: Task, spec: DatasetSpec) -> Fitting:
    """Which rows are used with this spec's limit; documents of any length are."""
    found = Fitting([])
    for table in tables:
        usable = np.ones(len(table), bool)
        if task != "text":
            usable = table.first < spec.max_length
            if spec.too_long == "skip":
                usable &= table.length <= spec.max_length
        found.usable.append(usable)
        for place in np.flatnonzero(~usable):
            verdict = check_length(int(table.length[place]), int(table.first[place]), spec)
            found.left.setdefault(str(verdict), SkippedRow()).add([int(table.row[place]) + 1])
    return found


def select(
    tables: Sequence[TokenTable],
    rows: Sequence[tuple[int, int]] | np.ndarray,
    task: Task,
    limit: int,
) -> Selection:
    """The given rows, as (source, position in it) pairs; one may come more than once.

    A document becomes as many rows as it has pieces. Rows that are in no table are passed over.
    """
    asked = np.asarray(rows, np.int64).reshape(-1, 2)
    found_table: list[np.ndarray] = []
    found_place: list[np.ndarray] = []
    order: list[np.ndarray] = []
    for number, table in enumerate(tables):
        mine = np.flatnonzero(asked[:, 0] == number)
        place = np.searchsorted(table.row, asked[mine, 1])
        known = place < len(table)
        known[known] = table.row[place[known]] == asked[mine[known], 1]
        found_table.append(np.full(int(known.sum()), number, np.int16))
        found_place.append(place[known])
        order.append(mine[known])
    by_asking = np.argsort(np.concatenate(order or [np.zeros(0, np.int64)]), kind="stable")
    table_of = np.concatenate(found_table or [np.zeros(0, np.int16)])[by_asking]
    place_of = np.concatenate(found_place or [np.zeros(0, np.int64)])[by_asking]
    length = np.zeros(len(table_of), np.int64)
    for number, table in enumerate(tables):
        length[table_of == number] = table.length[place_of[table_of == number]]
    whole = Selection(tables, table_of, place_of, np.zeros_like(length), np.minimum(length, limit))
    return _divided(whole, length, limit) if task == "text" else whole


def _divided(whole: Selection, length: np.ndarray, limit: int) -> Selection:
    """Every document in pieces of the limit."""
    edges = [split_document(int(tokens), limit) for tokens in length]
    of = np.repeat(np.arange(len(edges)), [len(spans) for spans in edges])
    flat: list[Any] = [span for spans in edges for span in spans]
    begin, end = np.asarray(flat, np.int64).reshape(-1, 2).T
    taken = whole.take(of)
    divided = Selection(whole.tables, taken.table, taken.place, begin, end)
    # Of a text that says itself what trains, a piece may have nothing to predict.
    return divided.take(np.flatnonzero(divided.predicted() > 0))
