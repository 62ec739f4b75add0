"""CSV and its kin: which signs a table is written with, and its rows, each fault kept to its row."""

from __future__ import annotations

import csv
import itertools
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from lora_studio.core.dataset.formats.columns import count_known_names
from lora_studio.engine.dataset.files.blocks import distinct
from lora_studio.engine.dataset.files.byte_streams import ByteStream
from lora_studio.engine.dataset.files.json_splitter import MAX_ROW

#: Signs between cells, the likeliest first, and what they are called.
DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}

_NAMED = re.compile(r"\.(csv|tsv|tab|psv)\b", re.IGNORECASE)
#: Rows that the signs are told from, and how long the name of a column may be.
_LOOKED_AT, _LONGEST_NAME = 100, 100
#: Names of columns as programs write them; text with commas in it has none.
_COLUMN = re.compile(r"[^\W\d][\w./-]*( [\w./-]+){0,3}")
#: Stands for the sign between cells in a table of one column.
_NO_DELIMITER = "\x1f"
csv.field_size_limit(2**31 - 1)
#: Behind a carriage return that no newline follows.
_LONE_RETURN = re.compile(rb"(?<=\r)(?![\r\n])")


@dataclass(frozen=True)
class Dialect:
    """How a table is written. `columns` are those of its header, or made up where it has none.

    `quote` is None where quotes are signs like any others.
    """

    delimiter: str
    columns: tuple[str, ...]
    quote: str | None = '"'
    escape: str | None = None
    has_header: bool = True
    skips_blanks: bool = False

    def reader(self, lines: Iterable[str]) -> Iterator[list[str]]:
        """The cells of each row; raises csv.Error where they cannot be told."""
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
    def title(self) -> str:
        """In words: “commas”."""
        if self.delimiter == _NO_DELIMITER:
            return "one column"
        return DELIMITERS.get(self.delimiter, self.delimiter)


@dataclass(frozen=True)
class TableRow:
    """The cells of one row and where it begins; `fault` is why they cannot be told."""

    cells: list[str]
    offset: int
    line: int
    fault: str = ""


def dialect_of(head: bytes, name: str) -> Dialect | None:
    """How a file that begins with `head` is written if it is a table.

    One that is not called so has to look like it: at least two columns, the same number in every
    row, and a header of short names.
    """
    named = bool(_NAMED.search(name))
    text = head.decode("utf-8", "replace").replace("\0", "")
    lines = re.split(r"(?<=\n)|(?<=\r)(?!\n)", text)
    lines = lines[:-1] if len(lines) > 1 and not text.endswith(("\n", "\r")) else lines
    found: list[tuple[float, int, Dialect]] = []
    for order, way in enumerate(_ways(text)):
        rows = [
            row for row in itertools.islice(_tolerant(way.reader(lines)), _LOOKED_AT) if row != []
        ]
        widths = Counter(len(row) if row else 0 for row in rows)
        count, width = max(((count, width) for width, count in widths.items()), default=(0, 0))
        if width < 2 or not (header := rows[0]) or len(header) < 2:
            continue
        found.append((count / len(rows), -order, _with_header(replace(way, columns=tuple(header)))))
    if found:
        share, _, dialect = max(found, key=lambda entry: entry[:2])
        written = sum(bool(line.strip()) for line in lines)
        is_table = share == 1.0 and dialect.has_header and written > 1
        if named or (is_table and _are_names(dialect) and not name.endswith((".md", ".markdown"))):
            return dialect
    if not named:
        return None
    header = next(csv.reader(lines, delimiter=_NO_DELIMITER), [])
    return _with_header(Dialect(_NO_DELIMITER, tuple(header)))


def _ways(text: str) -> Iterator[Dialect]:
    """Combinations of signs that may be meant, the likeliest first; their columns are not known yet."""
    escapes = [None, "\\"] if '\\"' in text or "\\'" in text else [None]
    present = [sign for sign in DELIMITERS if sign in text]
    for escape, delimiter in itertools.product(escapes, present):
        yield Dialect(delimiter, (), escape=escape)
    for delimiter in present:
        if f'{delimiter} "' in text:
            yield Dialect(delimiter, (), skips_blanks=True)
    if "\t" in present and '"' in text:
        yield Dialect("\t", (), quote=None)


def _are_names(dialect: Dialect) -> bool:
    return all(_COLUMN.fullmatch(name) for name in dialect.columns)


def _tolerant(reader: Iterator[list[str]]) -> Iterator[list[str] | None]:
    """The rows, None for those that break the rules of quoting."""
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield None


def _is_header(names: tuple[str, ...]) -> bool:
    given = [name.strip() for name in names if name.strip()]
    is_distinct = len(set(given)) == len(given) >= 1 or count_known_names(given) > 1
    return is_distinct and all(
        len(name) <= _LONGEST_NAME and "\n" not in name and not re.fullmatch(r"[-+\d.,]+", name)
        for name in given
    )


def _with_header(dialect: Dialect) -> Dialect:
    """The dialect, with made-up names of columns where the first line does not look like names."""
    if _is_header(dialect.columns):
        return dialect
    names = tuple(f"column {number}" for number in range(1, len(dialect.columns) + 1))
    return replace(dialect, columns=names, has_header=False)


def column_names(dialect: Dialect) -> list[str]:
    """Names of the columns, each once; "" for an index column, which is no data."""
    names: list[str] = []
    for place, given in enumerate(dialect.columns):
        name = given.strip()
        if place == 0 and len(dialect.columns) > 1 and name in ("", "Unnamed: 0"):
            names.append("")
            continue
        names.append(name or f"column {place + 1}")
    return distinct(names)


class _Lines:
    """Gives a stream's lines to a csv reader and remembers those of the row under way."""

    def __init__(self, stream: ByteStream) -> None:
        self._source = self._split(stream)
        self._again: deque[bytes] = deque()
        self.taken: list[bytes] = []
        self.offset, self.line = 0, 1
        self.size = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._source)
        self.taken.append(line)
        self.size += len(line)
        if self.size > MAX_ROW:
            raise OverflowError
        return line.decode("utf-8", "surrogateescape")

    def advance(self, lines: int | None = None) -> None:
        """The row under way is over: all its lines are done with, or the first ones alone."""
        done = self.taken[:lines]
        self._again.extendleft(reversed(self.taken[len(done) :]))
        self.offset += sum(map(len, done))
        self.line += len(done)
        self.taken, self.size = [], 0

    def divide(self) -> bool:
        """Takes the lines of the row under way anew, the last of them divided at its lone carriage
        returns: line ends of two sorts are mixed where files were put together. False without any."""
        *before, last = self.taken or [b""]
        parts = [part for part in _LONE_RETURN.split(last) if part]
        if len(parts) < 2:
            return False
        self._again.extendleft(reversed([*before, *parts]))
        self.taken, self.size = [], 0
        return True

    def _split(self, stream: ByteStream) -> Iterator[bytes]:
        """Lines with their ends; a lone carriage return ends one where the file has no newlines."""
        rest, ending = b"", b""
        for chunk in stream.chunks():
            if not ending:
                self.offset = stream.offset
                ending = b"\n" if b"\n" in chunk or b"\r" not in chunk else b"\r"
            *lines, rest = (rest + chunk).split(ending)
            for line in lines:
                yield line + ending
            if len(rest) > MAX_ROW:
                yield rest
                rest = b""
        if rest:
            yield rest


def rows_of(stream: ByteStream, dialect: Dialect) -> Iterator[TableRow]:
    """The rows behind the header. A quote that is never closed costs the line it stands in."""
    lines = _Lines(stream)
    is_header = dialect.has_header
    width = len(dialect.columns)
    while True:
        try:
            for cells in dialect.reader(lines):
                if cells and is_header:
                    is_header = False
                elif cells:
                    yield TableRow(cells, lines.offset, lines.line, _fault(cells, lines, width))
                lines.advance()
            return
        except csv.Error:
            if lines.divide():
                continue
            fault = "its quotes do not close"
        except OverflowError:
            fault = "it is larger than 64 MB"
        if not lines.taken:
            return
        if not is_header:
            yield _literal(dialect, lines) or TableRow([], lines.offset, lines.line, fault)
        is_header = False
        lines.advance(1)


def _literal(dialect: Dialect, lines: _Lines) -> TableRow | None:
    """The row of the line under way with its quotes as signs like others, where cells are parted by
    tabs: most programs that write such tables quote nothing."""
    if dialect.delimiter != "\t":
        return None
    line = lines.taken[0].decode("utf-8", "surrogateescape").rstrip("\r\n")
    cells = line.split("\t")
    return TableRow(cells, lines.offset, lines.line) if len(cells) == len(dialect.columns) else None


def _fault(cells: list[str], lines: _Lines, width: int) -> str:
    if len(cells) < width:
        return "it has fewer cells than the header"
    if any(cell.strip() for cell in cells[width:]):
        return "it has more cells than the header"
    for line in lines.taken:
        if b"\0" in line:
            return "it holds a NUL byte"
    return ""
