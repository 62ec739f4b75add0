"""Detect the dialect of CSV, TSV and similar tables, and read their rows one by one."""

from __future__ import annotations

import csv
import itertools
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from lora_studio.core import limits
from lora_studio.core.dataset.formats.columns import count_known_names
from lora_studio.core.messages import Text, text
from lora_studio.engine.dataset.files import blocks
from lora_studio.engine.dataset.files.blocks import SkipReason, number_repeated_names
from lora_studio.engine.dataset.files.byte_streams import ByteStream

#: The delimiter that a table with one column is read with.
_NO_DELIMITER = "\x1f"
#: Delimiters, the likeliest first, and what a table with them is called.
_TITLES = {
    ",": text("CSV with commas"),
    "\t": text("CSV with tabs"),
    ";": text("CSV with semicolons"),
    "|": text("CSV with bars"),
    _NO_DELIMITER: text("CSV with one column"),
}
_DELIMITERS = [sign for sign in _TITLES if sign != _NO_DELIMITER]

_NAMED = re.compile(r"\.(csv|tsv|tab|psv)\b", re.IGNORECASE)
#: Rows that the dialect is detected from, and maximum characters of a column's name.
_SAMPLE_ROWS, _LONGEST_NAME = 100, 100
#: Names of columns as programs write them; prose with commas in it has none.
_COLUMN = re.compile(r"[^\W\d][\w./-]*( [\w./-]+){0,3}")
csv.field_size_limit(2**31 - 1)
#: The position after a carriage return that no newline follows.
_LONE_RETURN = re.compile(rb"(?<=\r)(?![\r\n])")


@dataclass(frozen=True)
class Dialect:
    """How a table is written. `columns` are those of its header, or generated if it has none.

    `quote` is None where quotation marks are ordinary characters.
    """

    delimiter: str
    columns: tuple[str, ...]
    quote: str | None = '"'
    escape: str | None = None
    has_header: bool = True
    skips_blanks: bool = False

    def iter_rows(self, lines: Iterable[str]) -> Iterator[list[str]]:
        """Yield the cells of each row; raises csv.Error where the rules of quoting are broken."""
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            quotechar=self.quote,
            quoting=csv.QUOTE_NONE if self.quote is None else csv.QUOTE_MINIMAL,
            escapechar=self.escape,
            skipinitialspace=self.skips_blanks,
            strict=True,
        )

    @property
    def title(self) -> Text:
        """Return the name of the dialect, such as “CSV with commas”."""
        return _TITLES[self.delimiter]


@dataclass(frozen=True)
class TableRow:
    """The cells of one row, and where it begins; `fault` is why it can't be used."""

    cells: list[str]
    offset: int
    line: int
    fault: SkipReason | None = None


def detect_dialect(head: bytes, name: str) -> Dialect | None:
    """Return the dialect of a file that begins with `head`, or None if it is not a table.

    A file whose name doesn't say so has to look like a table: at least two columns, the same number
    in every row, and a header of short names.
    """
    named = bool(_NAMED.search(name))
    beginning = head.decode("utf-8", "replace").replace("\0", "")
    lines = re.split(r"(?<=\n)|(?<=\r)(?!\n)", beginning)
    is_cut = len(lines) > 1 and not beginning.endswith(("\n", "\r"))
    lines = lines[:-1] if is_cut else lines
    fits: list[tuple[float, int, Dialect]] = []
    for order, dialect in enumerate(_iter_dialects(beginning)):
        cells = itertools.islice(_iter_tolerant_rows(dialect.iter_rows(lines)), _SAMPLE_ROWS)
        rows = [row for row in cells if row != []]
        widths = Counter(len(row) if row else 0 for row in rows)
        count, width = max(((count, width) for width, count in widths.items()), default=(0, 0))
        if width < 2 or not (header := rows[0]) or len(header) < 2:
            continue
        dialect = _with_header(replace(dialect, columns=tuple(header)))
        fits.append((count / len(rows), -order, dialect))
    if fits:
        share, _, dialect = max(fits, key=lambda entry: entry[:2])
        filled_lines = sum(bool(line.strip()) for line in lines)
        is_table = share == 1.0 and dialect.has_header and filled_lines > 1
        if named or (is_table and _has_names(dialect) and not name.endswith((".md", ".markdown"))):
            return dialect
    if not named:
        return None
    header = next(csv.reader(lines, delimiter=_NO_DELIMITER), [])
    return _with_header(Dialect(_NO_DELIMITER, tuple(header)))


def _iter_dialects(beginning: str) -> Iterator[Dialect]:
    """Yield dialects that may be meant, the likeliest first, without their columns."""
    escapes = [None, "\\"] if '\\"' in beginning or "\\'" in beginning else [None]
    present = [sign for sign in _DELIMITERS if sign in beginning]
    for escape, delimiter in itertools.product(escapes, present):
        yield Dialect(delimiter, (), escape=escape)
    for delimiter in present:
        if f'{delimiter} "' in beginning:
            yield Dialect(delimiter, (), skips_blanks=True)
    if "\t" in present and '"' in beginning:
        yield Dialect("\t", (), quote=None)


def _has_names(dialect: Dialect) -> bool:
    return all(_COLUMN.fullmatch(name) for name in dialect.columns)


def _iter_tolerant_rows(reader: Iterator[list[str]]) -> Iterator[list[str] | None]:
    """Yield the rows, None for those that break the rules of quoting."""
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield None


def _is_header(names: tuple[str, ...]) -> bool:
    filled = [name.strip() for name in names if name.strip()]
    is_distinct = len(set(filled)) == len(filled) >= 1 or count_known_names(filled) > 1
    return is_distinct and all(
        len(name) <= _LONGEST_NAME and "\n" not in name and not re.fullmatch(r"[-+\d.,]+", name)
        for name in filled
    )


def _with_header(dialect: Dialect) -> Dialect:
    """Return the dialect, with generated column names if the first line doesn't look like names."""
    if _is_header(dialect.columns):
        return dialect
    names = tuple(f"column {number}" for number in range(1, len(dialect.columns) + 1))
    return replace(dialect, columns=names, has_header=False)


def get_column_names(dialect: Dialect) -> list[str]:
    """Return distinct names of the columns; "" for an index column, which holds no data."""
    names: list[str] = []
    for index, title in enumerate(dialect.columns):
        name = title.strip()
        if index == 0 and len(dialect.columns) > 1 and name in ("", "Unnamed: 0"):
            names.append("")
            continue
        names.append(name or f"column {index + 1}")
    return number_repeated_names(names)


class _Lines:
    """Feeds the lines of a stream to a csv reader and remembers those of the current row."""

    def __init__(self, stream: ByteStream) -> None:
        self._source = self._split(stream)
        self._pushed_back: deque[bytes] = deque()
        self.current: list[bytes] = []
        self.offset, self.line = 0, 1
        self.size = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._pushed_back.popleft() if self._pushed_back else next(self._source)
        self.current.append(line)
        self.size += len(line)
        if self.size > limits.ROW_BYTES:
            raise OverflowError
        return line.decode("utf-8", "surrogateescape")

    def advance(self, lines: int | None = None) -> None:
        """End the current row after all of its lines, or after the first few only."""
        done = self.current[:lines]
        self._pushed_back.extendleft(reversed(self.current[len(done) :]))
        self.offset += sum(map(len, done))
        self.line += len(done)
        self.current, self.size = [], 0

    def divide(self) -> bool:
        """Push back the current row, its last line split at lone carriage returns.

        Files that were concatenated mix line ends. Returns False where there is no such return.
        """
        *before, last = self.current or [b""]
        parts = [part for part in _LONE_RETURN.split(last) if part]
        if len(parts) < 2:
            return False
        self._pushed_back.extendleft(reversed([*before, *parts]))
        self.current, self.size = [], 0
        return True

    def _split(self, stream: ByteStream) -> Iterator[bytes]:
        """Yield lines with their ends: carriage returns end them where there are no newlines."""
        rest, ending = b"", b""
        for chunk in stream.iter_chunks():
            if not ending:
                self.offset = stream.offset
                ending = b"\n" if b"\n" in chunk or b"\r" not in chunk else b"\r"
            *lines, rest = (rest + chunk).split(ending)
            for line in lines:
                yield line + ending
            if len(rest) > limits.ROW_BYTES:
                yield rest
                rest = b""
        if rest:
            yield rest


def read_rows(stream: ByteStream, dialect: Dialect) -> Iterator[TableRow]:
    """Yield the rows after the header. A quotation mark that is never closed costs its line."""
    lines = _Lines(stream)
    is_header = dialect.has_header
    width = len(dialect.columns)
    while True:
        try:
            for cells in dialect.iter_rows(lines):
                if cells and is_header:
                    is_header = False
                elif cells:
                    yield TableRow(cells, lines.offset, lines.line, _get_fault(cells, lines, width))
                lines.advance()
            return
        except csv.Error:
            if lines.divide():
                continue
            fault = blocks.OPEN_QUOTES
        except OverflowError:
            fault = blocks.TOO_LARGE
        if not lines.current:
            return
        if not is_header:
            yield _read_unquoted(dialect, lines) or TableRow([], lines.offset, lines.line, fault)
        is_header = False
        lines.advance(1)


def _read_unquoted(dialect: Dialect, lines: _Lines) -> TableRow | None:
    """Return the current line with its quotation marks as ordinary characters.

    Only for tab-separated tables: most programs that write those don't quote.
    """
    if dialect.delimiter != "\t":
        return None
    line = lines.current[0].decode("utf-8", "surrogateescape").rstrip("\r\n")
    cells = line.split("\t")
    return TableRow(cells, lines.offset, lines.line) if len(cells) == len(dialect.columns) else None


def _get_fault(cells: list[str], lines: _Lines, width: int) -> SkipReason | None:
    if len(cells) < width:
        return blocks.FEWER_CELLS
    if any(cell.strip() for cell in cells[width:]):
        return blocks.MORE_CELLS
    if any(b"\0" in line for line in lines.current):
        return blocks.NUL_BYTE
    return None
