"""The rows of one file of any kind, block by block; a faulty row is a fault and never an end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson

from lora_studio.engine.dataset.files import csv_tables
from lora_studio.engine.dataset.files.blocks import (
    ReadNotes,
    RowBlock,
    in_blocks,
    judged,
    sound,
    values_of,
    written,
)
from lora_studio.engine.dataset.files.byte_streams import ByteStream
from lora_studio.engine.dataset.files.envelopes import SEVERAL, leaves_out, opened
from lora_studio.engine.dataset.files.json_kinds import rows_of_table
from lora_studio.engine.dataset.files.json_splitter import MAX_ROW, JsonItem, JsonSplitter
from lora_studio.engine.dataset.files.nested_rows import NO_QUESTIONS, places_of, questions_of
from lora_studio.engine.dataset.files.sniffing import Container, problem

#: A text up to this many bytes is one row; a larger one is divided at blank lines.
TEXT_ROW = 64 * 1024
#: Bytes and values of a file of columns, which has to be parsed at once: a short value takes fifty bytes.
_MOST_COLUMNS, _MOST_VALUES = 128 * 1024 * 1024, 4_000_000

_TOO_LARGE = "it is larger than 64 MB"
_NESTED = "the rows are questions inside paragraphs; each is read with its paragraph and what stands about it"
_INSTANCES = "the rows are instances inside of instructions; each is read with its instruction"
_SPACE = b" \t\r\n"


def blocks(container: Container, stream: ByteStream, notes: ReadNotes) -> Iterator[RowBlock]:
    """The rows of a file that is no Parquet or Arrow; raises ProblemError when there are none."""
    match container.kind:
        case "json lines":
            return _lines(container, stream, notes)
        case "json list" | "json objects":
            return _items(container, stream, notes)
        case "json columns":
            return in_blocks(_columns(container, stream, notes))
        case "json table":
            return in_blocks(_listed(container, stream, notes))
        case "csv":
            return in_blocks(_table(container, stream, notes))
        case _:
            return in_blocks(_texts(container, stream, notes))


# --- JSON -----------------------------------------------------------------------------------------


def _lines(container: Container, stream: ByteStream, notes: ReadNotes) -> Iterator[RowBlock]:
    """One row a line; empty lines are none."""
    judge = _Judge(container, stream, notes)
    rest, line, is_skipping = b"", 0, False
    for chunk in stream.chunks():
        start = stream.offset - len(rest)
        *lines, rest = (rest + chunk).split(b"\n") if rest else chunk.split(b"\n")
        if not is_skipping and (block := judge.sound_lines(lines, line, start)):
            line += len(lines)
            yield block
            lines = []
        block = RowBlock()
        for text in lines:
            line += 1
            if is_skipping:
                is_skipping = False
            elif stripped := text.strip(_SPACE):
                judge.add(block, stripped, line, start)
            start += len(text) + 1
        if len(rest) > MAX_ROW:
            if not is_skipping:
                judge.add_raw(block, b"", line + 1, start, _TOO_LARGE)
            rest, is_skipping = b"", True
        yield block
    if (stripped := rest.strip(_SPACE)) and not is_skipping:
        block = RowBlock()
        judge.add(block, stripped, line + 1, stream.offset - len(rest))
        yield block


def _items(container: Container, stream: ByteStream, notes: ReadNotes) -> Iterator[RowBlock]:
    """The items of a list, or objects one after another."""
    assert container.shape is not None
    inside = container.shape.offset
    depth = 2 if inside else 1 if container.kind == "json list" else 0
    splitter: JsonSplitter | None = None
    judge = _Judge(container, stream, notes)
    seen = b""
    for chunk in stream.chunks():
        if splitter is None:
            seen += chunk
            if len(seen) < inside:
                continue
            line = 1 + seen.count(b"\n", 0, inside)
            start = stream.offset + len(chunk) - len(seen) + inside
            splitter = JsonSplitter(depth, offset=start, line=line)
            chunk, seen = seen[inside:], b""
        yield judge.block(splitter, splitter.feed(chunk))
        if splitter.is_over:
            return
    if splitter is not None:
        yield judge.block(splitter, splitter.finish())


class _Judge:
    """Turns texts that should be rows into rows, several of them where questions are nested."""

    def __init__(self, container: Container, stream: ByteStream, notes: ReadNotes) -> None:
        assert container.shape is not None
        self._encoding = container.encoding.title
        self._stream, self._notes = stream, notes
        self._is_nested = container.shape.is_nested
        self._is_enveloped, self._about = container.shape.is_enveloped, dict(container.shape.about)
        self._is_inside = bool(self._is_nested or self._is_enveloped or self._about)
        # Rows have other columns than the articles they are in.
        self._articles = ReadNotes(oddities=notes.oddities)

    def sound_lines(self, lines: list[bytes], line: int, start: int) -> RowBlock | None:
        """The lines behind line `line`, which begin at `start`, if every one is a row."""
        count = len(lines)
        if not count or self._is_inside:
            return None
        sizes = np.fromiter(map(len, lines), dtype=np.int64, count=count) + 1
        offsets = start + np.cumsum(sizes) - sizes if self._stream.is_exact else np.full(count, -1)
        raws = [text.strip(_SPACE) for text in lines] if lines[0].endswith(b"\r") else lines
        numbers = list(range(line + 1, line + 1 + count))
        return sound(raws, numbers, offsets.tolist(), self._notes)

    def block(self, splitter: JsonSplitter, items: list[JsonItem]) -> RowBlock:
        """The rows that the pieces of a splitter are."""
        is_plain = not self._is_inside
        if items and is_plain and not any(item.is_loose or item.is_overlong for item in items):
            offsets = [item.offset if self._stream.is_exact else -1 for item in items]
            texts, lines = [item.text for item in items], [item.line for item in items]
            if found := sound(texts, lines, offsets, self._notes):
                return found
        block = RowBlock()
        for item in items:
            if item.is_loose:
                self._add_loose(block, item)
            elif item.is_overlong:
                self.add_raw(block, b"", item.line, item.offset, _TOO_LARGE)
            else:
                self._add_item(block, splitter, item)
        return block

    def add(self, block: RowBlock, text: bytes, line: int, offset: int) -> None:
        """Takes the row that a text is, or those in it."""
        self._add_judged(block, text, line, offset, *self._judged(block, text))

    def add_raw(self, block: RowBlock, raw: bytes, line: int, offset: int, fault: str = "") -> None:
        """Takes one row."""
        block.add(raw, line, offset if self._stream.is_exact else -1, fault)

    def _judged(self, block: RowBlock, text: bytes) -> tuple[bytes, str]:
        notes = self._articles if self._is_inside else self._notes
        return judged(text, self._number(block), notes, self._encoding)

    def _number(self, block: RowBlock) -> int:
        """The number of the next row."""
        return self._notes.rows + len(block) + 1

    def _add_judged(
        self, block: RowBlock, text: bytes, line: int, offset: int, raw: bytes, fault: str
    ) -> None:
        rows = questions_of(values_of(raw)) if raw and self._is_nested else None
        if rows is None:
            if raw and self._is_inside:
                raw, fault = self._opened(values_of(raw), self._number(block))
            self.add_raw(block, raw, line, offset, fault)
            return
        places = list(places_of(text))
        if len(places) != len(rows):
            places = [0] * len(rows)
        for values, place in zip(rows, places, strict=True):
            at = line + text.count(b"\n", 0, place), offset + place
            if values is None:
                self.add_raw(block, b"", *at, NO_QUESTIONS)
                continue
            self._notes.meet(values)
            self._notes.odd(_NESTED if "question" in values else _INSTANCES, self._number(block))
            raw, fault = written(values)
            self.add_raw(block, raw, *at, fault)

    def _opened(self, values: dict[str, Any], number: int) -> tuple[bytes, str]:
        """The row inside of an object, with what belongs to every row, or b"" and the fault."""
        fault = ""
        if self._is_enveloped:
            has_more = leaves_out(values)
            values, fault = opened(values)
            if has_more and not fault:
                self._notes.odd(SEVERAL, number)
        values = self._about | values
        self._notes.meet(values)
        return (b"", fault) if fault else written(values)

    def _add_item(self, block: RowBlock, splitter: JsonSplitter, item: JsonItem) -> None:
        text = item.text.strip(_SPACE)
        raw, fault = self._judged(block, text)
        pieces = splitter.salvage(item) if fault else []
        if len(pieces) < 2:
            self._add_judged(block, text, item.line, item.offset, raw, fault)
            return
        for piece in pieces:
            # The last one may have the list's end in it; an object itself ends otherwise.
            text = piece.text.strip(_SPACE + b",").rstrip(_SPACE + b",]")
            self.add(block, text, piece.line, piece.offset)

    def _add_loose(self, block: RowBlock, item: JsonItem) -> None:
        """What stands between items: values that are no objects, or something that is no JSON."""
        text = item.text.strip(_SPACE + b",[]")
        try:
            values: list[Any] = orjson.loads(b"[" + text + b"]")
        except orjson.JSONDecodeError:
            fault = "something that is not JSON stands between the rows"
            self.add_raw(block, b"", item.line, item.offset, fault)
            return
        for _ in values:
            self.add_raw(block, b"", item.line, item.offset, "the row is not an object")


def _document(container: Container, stream: ByteStream) -> Any:
    """All of a file that has to be parsed at once; raises ProblemError."""
    data, values = bytearray(), 0
    for chunk in stream.chunks():
        data += chunk
        values += chunk.count(b",")
        if len(data) > _MOST_COLUMNS or values > _MOST_VALUES:
            raise problem(
                container.path,
                "dataset.too_large",
                f"{container.name} holds its rows in a way that cannot be read piece by piece, and is "
                "too large to be read at once.",
                "Save the rows as JSON lines or Parquet.",
            )
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise problem(
            container.path,
            "dataset.not_json",
            f"{container.name} is not valid JSON: {error.msg}.",
            "Correct that place, or write one JSON object per line.",
            line=error.lineno,
        ) from error


def _listed(
    container: Container, stream: ByteStream, notes: ReadNotes
) -> Iterator[tuple[bytes, int, int, str]]:
    """The rows of a table that is written as lists."""
    columns, rows = rows_of_table(_document(container, stream))
    notes.columns |= dict.fromkeys(columns)
    for values in rows:
        raw, fault = written(dict(zip(columns, values, strict=True)))
        yield raw, 0, -1, fault


def _columns(
    container: Container, stream: ByteStream, notes: ReadNotes
) -> Iterator[tuple[bytes, int, int, str]]:
    """The rows of an object with a list, or an object by row number, per column."""
    document = _document(container, stream)
    lists = {
        name: list(value.values()) if isinstance(value, dict) else value
        for name, value in document.items()
        if isinstance(value, dict | list)
    }
    notes.columns |= dict.fromkeys(lists)
    for index in range(max(map(len, lists.values()), default=0)):
        if any(index >= len(values) for values in lists.values()):
            yield b"", 0, -1, "one of its columns is shorter than the others"
            continue
        raw, fault = written({name: values[index] for name, values in lists.items()})
        yield raw, 0, -1, fault


# --- tables and text ------------------------------------------------------------------------------


def _table(
    container: Container, stream: ByteStream, notes: ReadNotes
) -> Iterator[tuple[bytes, int, int, str]]:
    assert container.dialect is not None
    names = csv_tables.column_names(container.dialect)
    notes.columns |= dict.fromkeys(name for name in names if name)
    encoding = container.encoding.title
    for row in csv_tables.rows_of(stream, container.dialect):
        offset = row.offset if stream.is_exact else -1
        if row.fault:
            yield b"", row.line, offset, row.fault
            continue
        values = dict(zip(names, row.cells, strict=False))
        values.pop("", None)
        try:
            yield orjson.dumps(values), row.line, offset, ""
        except TypeError:  # bytes that the encoding does not have
            yield b"", row.line, offset, f"it is not valid {encoding}"


def _texts(
    container: Container, stream: ByteStream, notes: ReadNotes
) -> Iterator[tuple[bytes, int, int, str]]:
    """A document, or the parts of a large one; blank lines between parts are not lost but ended."""
    notes.columns |= {"text": None}
    encoding = container.encoding.title
    buffer, start, line, is_over = b"", -1, 1, False
    chunks = stream.chunks()
    while not is_over:
        if len(buffer) <= TEXT_ROW and (chunk := next(chunks, b"")):
            start = stream.offset if start < 0 else start
            buffer += chunk
            continue
        is_over = len(buffer) <= TEXT_ROW
        cut = len(buffer) if is_over else _place_to_cut(buffer)
        yield from _text(buffer[:cut], line, start if stream.is_exact else -1, encoding)
        line += buffer.count(b"\n", 0, cut)
        buffer, start = buffer[cut:], start + cut


def _place_to_cut(buffer: bytes) -> int:
    """Where a row ends within the limit: behind a blank line, else a line, a word, a character."""
    window = buffer[:TEXT_ROW]
    for mark in (b"\n\n", b"\r\n\r\n", b"\n", b" "):
        place = window.rfind(mark)
        if place > TEXT_ROW // 8:
            return place + len(mark)
    cut = TEXT_ROW
    while cut > TEXT_ROW - 4 and buffer[cut] & 0xC0 == 0x80:
        cut -= 1
    return cut


def _text(
    part: bytes, line: int, offset: int, encoding: str
) -> Iterator[tuple[bytes, int, int, str]]:
    if not part.strip(_SPACE):
        return
    try:
        text = part.decode("utf-8")
    except UnicodeDecodeError:
        yield b"", line, offset, f"it is not valid {encoding}"
        return
    if "\0" in text:
        yield b"", line, offset, "it holds a NUL byte"
        return
    yield json.dumps({"text": text}, ensure_ascii=False).encode(), line, offset, ""
