"""The tokenized rows of one source on disk: `token_cache` writes them, training reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa

from lora_studio.core.dataset.samples import Sample
from lora_studio.core.dataset.spec import Message, Task
from lora_studio.core.system.foreign_files import read_json
from lora_studio.engine.dataset.reasons import load_reason
from lora_studio.engine.tokens.encoder import EncodedPrompt, TokenizedText

#: The prefixes of the columns of each sequence of a row; other tasks have one sequence, without a prefix.
SIDES: dict[Task, tuple[str, ...]] = {
    "preference": ("", "rejected_"),
    "embedding": ("", "positive_", "negative_"),
}

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
        self.digest: str = about["digest"]
        self.rows_read: int = about["rows"]
        self.skipped = {
            load_reason(reason): SkippedRow(*entry) for reason, entry in about["skipped"].items()
        }
        files = [str(folder / name) for name in about["files"]]
        self.data = datasets.concatenate_datasets([datasets.Dataset.from_file(f) for f in files])
        table = self.data.data.table
        names = table.column_names
        sides = next((each for each in SIDES.values() if f"{each[-1]}ids" in names), ("",))
        self.row = self._read_column("row")
        self._lengths = [self._read_column(f"{side}length") for side in sides]
        self.length = np.maximum.reduce(self._lengths)
        self.computed = np.add.reduce(self._lengths)
        self.first = np.maximum.reduce([self._read_column(f"{side}first") for side in sides])
        self.targets = np.add.reduce([self._read_column(f"{side}targets") for side in sides])
        self.tokens = int(self.computed.sum())
        self.left_out = self._read_column("left_out")
        self.unshown = self._read_column("unshown")
        self.label = self._read_column("label") if "label" in table.column_names else None
        self.class_names: list[str] = (
            table.column("class_name").to_pylist() if "class_name" in table.column_names else []
        )
        self._rated = table.column("rated") if "rated" in table.column_names else None
        self._lists = {
            f"{side}{name}": _Lists(table.column(f"{side}{name}"))
            for side in sides
            for name in ("ids", "spans")
        }

    def __len__(self) -> int:
        """Return the number of rows that are usable regardless of their length."""
        return len(self.row)

    def get_item(self, index: int, side: str = "") -> TokenizedText:
        """Return a tokenized row by its index in the table; `side` is the prefix of another sequence of the row."""
        ids = self._lists[f"{side}ids"][index]
        edges = self._lists[f"{side}spans"][index].reshape(-1, 2)
        return TokenizedText(ids, [(int(a), int(b)) for a, b in edges], int(self.left_out[index]))

    def get_prompt(self, index: int) -> EncodedPrompt:
        """Return a prompt with what its answers are rated with."""
        assert self._rated is not None
        entry = json.loads(self._rated[index].as_py())
        messages = tuple(Message.model_validate(turn) for turn in entry["messages"])
        ids = np.array(self._lists["ids"][index], np.int32)
        return EncodedPrompt(ids, messages, entry["reference"], dict(entry["columns"]))

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


def dump_rated(sample: Sample) -> str:
    """Return what the answers to a prompt are rated with, as JSON."""
    turns = [turn.model_dump(exclude_defaults=True) for turn in sample.messages]
    return json.dumps(
        {"messages": turns, "reference": sample.reference, "columns": dict(sample.columns)}
    )


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
