"""Read texts to classify from a CSV, JSON lines, or text file, and write them with the predicted labels."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, Self

from lora_studio.core import limits
from lora_studio.core.csv_tables import CsvWriter
from lora_studio.core.messages import Text, text
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.protocol import events
from lora_studio.core.system.files import describe_os_error
from lora_studio.core.system.foreign_files import open_regular, parse_json

Kind = Literal["csv", "jsonl", "txt"]
Row = Mapping[str, Any]

#: The kind of a file by its suffix.
_KINDS: dict[str, Kind] = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "txt"}  # fmt: skip
#: Characters that separate cells, in the header that has most of them.
_DELIMITERS = ",;\t|"
#: The columns that are added to each row.
LABEL, PROBABILITY, PROBABILITIES = "predicted_label", "probability", "probabilities"


def get_kind(file: Path) -> Kind:
    """Return the kind of a file by its suffix; raises ProblemError for others."""
    if (kind := _KINDS.get(file.suffix.lower())) is None:
        raise fail(
            "classify.unknown_file",
            "{file} is neither a CSV, JSON lines, nor text file.",
            "Choose a file that ends in one of: {suffixes}.",
            where=Where(file=str(file)),
            file=file.name,
            suffixes=tuple(_KINDS),
        )
    return kind


@dataclass
class TextFile:
    """A file with a column of texts; a text file has one text per line, in the column `text`."""

    path: Path
    kind: Kind
    column: str

    @classmethod
    def find_column(cls, path: Path, named: str, usual: Sequence[str] = ()) -> Self:
        """Return the file with the column that is named, or the first of the usual ones that it has.

        Raises ProblemError for an unreadable file, and if no column is certain.
        """
        kind = get_kind(path)
        first = next(_iter_rows(path, kind), {})
        columns = tuple(map(str, first))
        candidates = [named] if named else [*usual, *(columns if len(columns) == 1 else ())]
        column = next((each for each in candidates if each in columns), None)
        if column is None:
            raise _no_column_error(path, named, columns)
        return cls(path, kind, column)

    def iter_rows(self) -> Iterator[Row]:
        """Yield the rows; raises ProblemError for one that can't be read."""
        return _iter_rows(self.path, self.kind)

    def get_text(self, row: Row) -> str:
        """Return the text of a row, "" if it has none."""
        value = row.get(self.column)
        return "" if value is None else str(value)


def _iter_rows(path: Path, kind: Kind) -> Iterator[Row]:
    """Yield the rows of a file; raises ProblemError."""
    try:
        with open_regular(path) as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as lines:
            header = lines.readline(limits.ROW_BYTES)
            lines.seek(0)
            yield from _READERS[kind](path, header, _iter_lines(path, lines))
    except OSError as error:
        raise _unreadable_error(path, describe_os_error(error)) from error
    except UnicodeDecodeError as error:
        raise _unreadable_error(path, text("it isn't UTF-8 text")) from error
    except csv.Error as error:
        raise _unreadable_error(path, str(error)) from error


def _iter_lines(path: Path, lines: IO[str]) -> Iterator[str]:
    """Yield the lines of a file; raises ProblemError for one that is too long to be a row."""
    while line := lines.readline(limits.ROW_BYTES):
        if len(line) == limits.ROW_BYTES and not line.endswith("\n"):
            raise _unreadable_error(
                path, text("a row is longer than {limit:size}", limit=limits.ROW_BYTES)
            )
        yield line


def _read_csv(_path: Path, header: str, lines: Iterator[str]) -> Iterator[Row]:
    delimiter = max(_DELIMITERS, key=header.count)
    csv.field_size_limit(limits.ROW_BYTES)
    for row in csv.DictReader(lines, delimiter=delimiter):
        yield {name: value for name, value in row.items() if isinstance(name, str)}


def _read_jsonl(path: Path, _header: str, lines: Iterator[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise _unreadable_error(
                path, text("line {number:d} isn't a JSON object", number=number)
            )
        yield row


def _read_lines(_path: Path, _header: str, lines: Iterator[str]) -> Iterator[Row]:
    for line in lines:
        yield {"text": line.rstrip("\r\n")}


_READERS: dict[Kind, Callable[[Path, str, Iterator[str]], Iterator[Row]]] = {
    "csv": _read_csv,
    "jsonl": _read_jsonl,
    "txt": _read_lines,
}


def _no_column_error(path: Path, named: str, columns: tuple[str, ...]) -> ProblemError:
    """Return the error for a file whose texts aren't found."""
    where = Where(file=str(path))
    if not columns:
        return fail(
            "classify.no_rows",
            "{file} has no rows.",
            "Choose another file.",
            where=where,
            file=path.name,
        )
    if named:
        return fail(
            "classify.no_column",
            "{file} has no column {name}.",
            "Name one of its columns with --column: {columns}.",
            where=where,
            file=path.name,
            name=named,
            columns=columns,
        )
    return fail(
        "classify.which_column",
        "We couldn't tell which column of {file} has the texts.",
        "Name one of its columns with --column: {columns}.",
        where=where,
        file=path.name,
        columns=columns,
    )


def _unreadable_error(path: Path, reason: Text | str) -> ProblemError:
    return fail(
        "classify.unreadable",
        "{file} can't be read: {reason}.",
        "Save it again as CSV or JSON lines in UTF-8.",
        where=Where(file=str(path)),
        file=path.name,
        reason=reason,
    )


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
