"""The rows of one source in tokens, as they lie on disk: what `tokenised` writes and training reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa

from lora_studio.engine.tokens.encoder import TokenizedText

#: Row numbers named for each reason to leave rows out.
NAMED = 10


@dataclass
class SkippedRow:
    """Rows left out for one reason: how many, and the first few, counted from 1."""

    count: int = 0
    rows: list[int] = field(default_factory=list)

    def add(self, rows: Sequence[int], count: int | None = None) -> None:
        """Notes some rows; `count` where they are only the first of more."""
        self.count += len(rows) if count is None else count
        self.rows = sorted([*self.rows, *rows[:NAMED]])[:NAMED]


class TokenTable:
    """The rows of one source in tokens. Lengths and the like are in memory, tokens stay on disk.

    All are arrays with one entry per usable row, in the order of the source: `row` is its position
    there (from 0), `length` its tokens before any cut, `first` the first trained position that is
    predicted, `targets` its trained tokens. For pairs `length` and `first` are the greater of both
    sides; `targets` and `computed`, all tokens of a row, are their sums. `tokens` counts all tokens.
    """

    def __init__(self, folder: Path) -> None:
        """Opens the folder that `tokenise` has written."""
        about = json.loads((folder / "about.json").read_text("utf-8"))
        self.digest: str = about["digest"]
        self.rows_read: int = about["rows"]
        self.skipped = {reason: SkippedRow(*entry) for reason, entry in about["skipped"].items()}
        files = [str(folder / name) for name in about["files"]]
        self.data = datasets.concatenate_datasets([datasets.Dataset.from_file(f) for f in files])
        table = self.data.data.table
        self.has_pairs = "rejected_ids" in table.column_names
        sides = ("", "rejected_") if self.has_pairs else ("",)
        self.row = self._column("row")
        self.length = np.maximum.reduce([self._column(f"{side}length") for side in sides])
        self.computed = np.add.reduce([self._column(f"{side}length") for side in sides])
        self.first = np.maximum.reduce([self._column(f"{side}first") for side in sides])
        self.targets = np.add.reduce([self._column(f"{side}targets") for side in sides])
        self.tokens = int(self.computed.sum())
        self.left_out = self._column("left_out")
        self.unshown = self._column("unshown")
        self.label = self._column("label") if "label" in table.column_names else None
        self._lists = {
            f"{side}{name}": _Lists(table.column(f"{side}{name}"))
            for side in sides
            for name in ("ids", "spans")
        }

    def __len__(self) -> int:
        """How many rows are usable whatever their length."""
        return len(self.row)

    def item(self, place: int, side: str = "") -> TokenizedText:
        """A row in tokens by its place in the table; of a pair, `side` "rejected_" is the other."""
        ids = self._lists[f"{side}ids"][place]
        edges = self._lists[f"{side}spans"][place].reshape(-1, 2)
        return TokenizedText(ids, [(int(a), int(b)) for a, b in edges], int(self.left_out[place]))

    def trained_within(self, limits: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Trained tokens before position `limits` of the rows at `places`, both [rows]."""
        return sum(
            (lists.trained_within(limits, places) for name, lists in self._lists.items() if "spans" in name),
            np.zeros(len(places), np.int64),
        )  # fmt: skip

    def spans(self) -> Iterator[np.ndarray]:
        """The trained ranges of tokens of all rows, [ranges, 2] int32 each, chunk by chunk."""
        for name, lists in self._lists.items():
            if name.endswith("spans"):
                yield from (values.reshape(-1, 2) for values in lists.chunks())

    def _column(self, name: str) -> np.ndarray:
        return self.data.data.table.column(name).to_numpy()


class _Lists:
    """A column of lists of numbers; an entry is a view of the file, read when it is looked at."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        chunks = [chunk for chunk in column.chunks if len(chunk)]
        self._starts = np.cumsum([0, *(len(chunk) for chunk in chunks)])
        self._offsets = [chunk.offsets.to_numpy() for chunk in chunks]
        self._values = [chunk.values.to_numpy() for chunk in chunks]

    def __getitem__(self, place: int) -> np.ndarray:
        chunk = int(np.searchsorted(self._starts, place, "right")) - 1
        offsets = self._offsets[chunk]
        at = place - int(self._starts[chunk])
        return self._values[chunk][offsets[at] : offsets[at + 1]]

    def trained_within(self, limits: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Of lists that hold ranges: how much of each lies before a limit."""
        found = np.zeros(len(places), np.int64)
        chunk_of = np.searchsorted(self._starts, places, "right") - 1
        for chunk in np.unique(chunk_of):
            mine = chunk_of == chunk
            at = places[mine] - self._starts[chunk]
            offsets, values = self._offsets[chunk], self._values[chunk]
            counts = (offsets[at + 1] - offsets[at]) // 2
            row = np.repeat(np.arange(len(at)), counts)
            nth = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
            ranges = offsets[at][row] + 2 * nth
            limit = limits[mine][row]
            begin, end = (np.minimum(values[ranges + side], limit) for side in (0, 1))
            found[mine] = np.bincount(row, end - begin, len(at)).astype(np.int64)
        return found

    def chunks(self) -> Iterator[np.ndarray]:
        for offsets, values in zip(self._offsets, self._values, strict=True):
            yield values[offsets[0] : offsets[-1]]
