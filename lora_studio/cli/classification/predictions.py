"""Write the rows of a file, or texts, with their predicted labels as CSV or JSON lines."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from lora_studio.core.csv_tables import CsvWriter
from lora_studio.core.problems import Where, fail
from lora_studio.core.protocol import events

Kind = Literal["csv", "jsonl"]
Row = Mapping[str, Any]

#: The kind of a file of predictions by its suffix.
_KINDS: dict[str, Kind] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
#: Suffixes of files whose rows are printed as CSV.
_TABLES = (".csv", ".tsv", ".txt")
#: The columns that are added to each row.
LABEL, PROBABILITY, PROBABILITIES = "predicted_label", "probability", "probabilities"


def get_output_kind(out: Path) -> Kind:
    """Return the kind of a file to write by its suffix; raises ProblemError for others."""
    if (kind := _KINDS.get(out.suffix.lower())) is None:
        raise fail(
            "classify.unknown_file",
            "Predictions can't be written as {suffix}.",
            "Choose a file that ends in one of: {suffixes}.",
            where=Where(file=str(out)),
            suffix=out.suffix or out.name,
            suffixes=tuple(_KINDS),
        )
    return kind


def choose_printed_kind(source: Path | None) -> Kind:
    """Return the kind in which the rows of a file, or texts without one, are printed."""
    return "csv" if source is None or source.suffix.lower() in _TABLES else "jsonl"


class PredictionWriter:
    """Writes rows with their predicted label and its probability, as JSON lines with those of all labels."""

    def __init__(self, kind: Kind, write: Callable[[str], object]) -> None:
        """Write CSV or JSON lines with `write`."""
        self._kind, self._write = kind, write
        self._columns: list[str] = []

    def add(self, rows: Sequence[Row], predicted: events.TextsClassified) -> None:
        """Write rows, in the order of their texts."""
        for row, values in zip(rows, predicted.probabilities, strict=True):
            best = max(values, default=None)
            label = None if best is None else predicted.labels[values.index(best)]
            added = {**row, LABEL: label, PROBABILITY: best}
            if self._kind == "jsonl":
                all_labels = dict(zip(predicted.labels, values, strict=bool(values)))
                line = json.dumps({**added, PROBABILITIES: all_labels}, ensure_ascii=False)
                self._write(line + "\n")
            else:
                self._write(self._format_line(added))

    def _format_line(self, row: Row) -> str:
        """Return a line of CSV, after the header if it is the first."""
        sink = io.StringIO()
        writer = CsvWriter(sink)
        if not self._columns:
            self._columns = list(row)
            writer.writerow(self._columns)
        cells = (row.get(name) for name in self._columns)
        writer.writerow(cell if isinstance(cell, int | float | str) or cell is None else json.dumps(cell, ensure_ascii=False) for cell in cells)  # fmt: skip
        return sink.getvalue()
