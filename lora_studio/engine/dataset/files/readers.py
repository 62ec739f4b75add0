"""Readers of JSON, CSV and text files: blocks of rows, where a faulty row costs that row alone."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import orjson

from lora_studio.core import limits
from lora_studio.core.messages import Template
from lora_studio.core.problems import InvalidContentError, ProblemError
from lora_studio.engine.dataset.files import blocks, csv_tables
from lora_studio.engine.dataset.files.blocks import (
    BLOCK_BYTES,
    JudgedRow,
    LocatedRow,
    ReadNotes,
    RowBlock,
    SkipReason,
    build_block,
    group_rows,
    judge_row,
    parse_values,
    write_row,
)
from lora_studio.engine.dataset.files.byte_streams import ByteStream, Check
from lora_studio.engine.dataset.files.exports.catalog import EXPORTS, ExportRow
from lora_studio.engine.dataset.files.json_kinds import (
    JsonItem,
    JsonSplitter,
    find_row_offsets,
    unnest_rows,
)
from lora_studio.engine.dataset.files.sniffing import (
    Container,
    file_error,
    open_stream,
    require_columns,
)

#: A text up to this many bytes is one row; a larger one is split at blank lines.
TEXT_ROW = 64 * 1024

#: Bytes of the rows that are nested in one article: each repeats its paragraph.
_UNNESTED_BYTES = 64 * 1024 * 1024

_SPACE = b" \t\r\n"

UNREADABLE_LINES: Template = "lines that can't be read ({count})"
DAMAGED_FILES: Template = "damaged files ({count})"


def read_blocks(container: Container, stream: ByteStream, notes: ReadNotes) -> Iterator[RowBlock]:
    """Yield the rows of a JSON, CSV or text file; raises ProblemError when there are none."""
    if container.export and EXPORTS[container.export].convert is None:
        return group_rows(_read_export(container, stream, notes))
    match container.kind:
        case "json lines":
            return _read_lines(container, stream, notes)
        case "json list" | "json objects":
            return _read_items(container, stream, notes)
        case "json columns":
            return group_rows(_read_columns(container, stream, notes))
        case "json texts":
            return group_rows(_read_texts(container, stream, notes))
        case "csv":
            return group_rows(_read_table_rows(container, stream, notes))
        case _:
            return group_rows(_read_text_rows(container, stream, notes))


# --- JSON -----------------------------------------------------------------------------------------


def _read_lines(container: Container, stream: ByteStream, notes: ReadNotes) -> Iterator[RowBlock]:
    """Yield one row per line; skip empty lines."""
    judge = _Judge(container, stream, notes)
    rest, line, is_skipping = b"", 0, False
    for chunk in stream.iter_chunks():
        start = stream.offset - len(rest)
        *lines, rest = (rest + chunk).split(b"\n") if rest else chunk.split(b"\n")
        if not is_skipping and (block := judge.block_of_lines(lines, line, start)):
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
        if len(rest) > limits.ROW_BYTES:
            if not is_skipping:
                judge.add_raw(block, b"", line + 1, start, blocks.TOO_LARGE)
            rest, is_skipping = b"", True
        yield block
    if (stripped := rest.strip(_SPACE)) and not is_skipping:
        block = RowBlock()
        judge.add(block, stripped, line + 1, stream.offset - len(rest))
        yield block


def _read_items(container: Container, stream: ByteStream, notes: ReadNotes) -> Iterator[RowBlock]:
    """Yield the items of a list, or objects one after another."""
    assert container.shape is not None
    list_offset = container.shape.offset
    depth = 2 if list_offset else 1 if container.kind == "json list" else 0
    splitter: JsonSplitter | None = None
    judge = _Judge(container, stream, notes)
    seen = b""
    for chunk in stream.iter_chunks():
        if splitter is None:
            seen += chunk
            if len(seen) < list_offset:
                continue
            line = 1 + seen.count(b"\n", 0, list_offset)
            start = stream.offset + len(chunk) - len(seen) + list_offset
            splitter = JsonSplitter(depth, offset=start, line=line)
            chunk, seen = seen[list_offset:], b""
        yield from judge.iter_blocks(splitter, splitter.feed(chunk))
        if splitter.is_over:
            return
    if splitter is not None:
        yield from judge.iter_blocks(splitter, splitter.finish())


class _Judge:
    """Converts texts to rows; a text with nested questions becomes several rows."""

    def __init__(self, container: Container, stream: ByteStream, notes: ReadNotes) -> None:
        assert container.shape is not None
        self._encoding = container.encoding.title
        self._stream, self._notes = stream, notes
        self._is_nested = container.shape.is_nested
        self._about = dict(container.shape.about)
        self._convert = EXPORTS[container.export].convert if container.export else None
        self._is_inside = bool(self._is_nested or self._about or self._convert)
        # Rows have other columns than the articles that they are in.
        self._articles = ReadNotes(oddities=notes.oddities)

    def block_of_lines(self, lines: list[bytes], line: int, start: int) -> RowBlock | None:
        """Return the lines after line `line`, which begin at `start`, if every one is an object."""
        count = len(lines)
        if not count or self._is_inside:
            return None
        sizes = np.fromiter(map(len, lines), dtype=np.int64, count=count) + 1
        offsets = start + np.cumsum(sizes) - sizes if self._stream.is_exact else np.full(count, -1)
        raws = [text.strip(_SPACE) for text in lines] if lines[0].endswith(b"\r") else lines
        numbers = list(range(line + 1, line + 1 + count))
        return build_block(raws, numbers, offsets.tolist(), self._notes)

    def iter_blocks(self, splitter: JsonSplitter, items: list[JsonItem]) -> Iterator[RowBlock]:
        """Yield a splitter's items as rows, at least one block."""
        is_plain = not self._is_inside
        if items and is_plain and not any(item.is_loose or item.is_overlong for item in items):
            offsets = [item.offset if self._stream.is_exact else -1 for item in items]
            texts, lines = [item.text for item in items], [item.line for item in items]
            if block := build_block(texts, lines, offsets, self._notes):
                yield block
                return
        block = RowBlock()
        for item in items:
            if block.size > BLOCK_BYTES:  # nested rows repeat what they have in common
                yield block
                block = RowBlock()
            if item.is_loose:
                self._add_loose(block, item)
            elif item.is_overlong:
                self.add_raw(block, b"", item.line, item.offset, blocks.TOO_LARGE)
            else:
                self._add_item(block, splitter, item)
        yield block

    def add(self, block: RowBlock, text: bytes, line: int, offset: int) -> None:
        """Append the row in a text, or the rows nested in it."""
        self._add_judged(block, text, line, offset, *self._judge(block, text))

    def add_raw(
        self, block: RowBlock, raw: bytes, line: int, offset: int, fault: SkipReason | None = None
    ) -> None:
        """Append one row unchanged."""
        block.add(raw, line, offset if self._stream.is_exact else -1, fault)

    def _judge(self, block: RowBlock, text: bytes) -> JudgedRow:
        notes = self._articles if self._is_inside else self._notes
        return judge_row(text, self._get_next_number(block), notes, self._encoding)

    def _get_next_number(self, block: RowBlock) -> int:
        return self._notes.rows + len(block) + 1

    def _add_judged(
        self,
        block: RowBlock,
        text: bytes,
        line: int,
        offset: int,
        raw: bytes,
        fault: SkipReason | None,
    ) -> None:
        rows = unnest_rows(parse_values(raw)) if raw and self._is_nested else None
        if rows is None:
            if raw and self._is_inside:
                row = self._about | parse_values(raw)
                if self._convert is not None:
                    converted = self._convert(row)
                    if isinstance(converted, SkipReason):
                        self.add_raw(block, b"", line, offset, converted)
                        return
                    row = converted
                self._notes.add_columns(row)
                raw, fault = write_row(row)
            self.add_raw(block, raw, line, offset, fault)
            return
        starts = list(find_row_offsets(text))
        if len(starts) != len(rows):
            starts = [0] * len(rows)
        for values, start in zip(rows, starts, strict=True):
            at = line + text.count(b"\n", 0, start), offset + start
            if values is None:
                self.add_raw(block, b"", *at, blocks.NO_QUESTION)
                continue
            oddity = blocks.NESTED_QUESTIONS
            if "question" not in values:
                oddity = blocks.NESTED_INSTANCES
            elif values.keys() == {"question", "answer"}:
                oddity = blocks.NAMED_ANSWERS
            self._notes.add_columns(values)
            self._notes.add_oddity(oddity, self._get_next_number(block))
            is_full = block.size > _UNNESTED_BYTES
            raw, fault = (b"", blocks.REPEATS_TOO_MUCH) if is_full else write_row(values)
            self.add_raw(block, raw, *at, fault)

    def _add_item(self, block: RowBlock, splitter: JsonSplitter, item: JsonItem) -> None:
        text = item.text.strip(_SPACE)
        raw, fault = self._judge(block, text)
        pieces = splitter.salvage(item) if fault else []
        if len(pieces) < 2:
            self._add_judged(block, text, item.line, item.offset, raw, fault)
            return
        for piece in pieces:
            # The last piece may include the list's closing bracket; an object never ends with one.
            text = piece.text.strip(_SPACE + b",").rstrip(_SPACE + b",]")
            self.add(block, text, piece.line, piece.offset)

    def _add_loose(self, block: RowBlock, item: JsonItem) -> None:
        """Append what is between items: values other than objects, or something that isn't JSON."""
        text = item.text.strip(_SPACE + b",[]")
        try:
            values: list[Any] = orjson.loads(b"[" + text + b"]")
        except orjson.JSONDecodeError:
            self.add_raw(block, b"", item.line, item.offset, blocks.BETWEEN_ROWS)
            return
        for _ in values:
            self.add_raw(block, b"", item.line, item.offset, blocks.NOT_AN_OBJECT)


def _parse_document(container: Container, stream: ByteStream) -> Any:
    """Return a file that has to be parsed as a whole; raises ProblemError."""
    data, values = bytearray(), 0
    for chunk in stream.iter_chunks():
        data += chunk
        values += sum(map(chunk.count, (b",", b"[", b"{")))
        if len(data) > limits.DOCUMENT_BYTES or values > limits.DOCUMENT_VALUES:
            raise file_error(
                container.path,
                "dataset.too_large",
                "{name} is too large: a file with this layout has to be read into memory at once.",
                "Save the rows as JSON lines or Parquet.",
                name=container.name,
            )
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise file_error(
            container.path,
            "dataset.not_json",
            "{name} is not valid JSON: {error}.",
            "Correct that line, or write one JSON object per line.",
            line=error.lineno,
            name=container.name,
            error=error.msg,
        ) from error


def _read_texts(container: Container, stream: ByteStream, notes: ReadNotes) -> Iterator[LocatedRow]:
    """Yield the rows of a list of texts."""
    notes.columns |= {"text": None}
    for value in _parse_document(container, stream):
        raw, fault = write_row({"text": value})
        yield raw, 0, -1, fault


def _read_columns(
    container: Container, stream: ByteStream, notes: ReadNotes
) -> Iterator[LocatedRow]:
    """Yield the rows of an object with a list, or an object by row number, per column."""
    document = _parse_document(container, stream)
    lists = {
        name: list(value.values()) if isinstance(value, dict) else value
        for name, value in document.items()
        if isinstance(value, dict | list)
    }
    require_columns(container, len(lists))
    notes.columns |= dict.fromkeys(lists)
    for index in range(max(map(len, lists.values()), default=0)):
        if any(index >= len(values) for values in lists.values()):
            yield b"", 0, -1, blocks.SHORT_COLUMN
            continue
        raw, fault = write_row({name: values[index] for name, values in lists.items()})
        yield raw, 0, -1, fault


# --- files that other programs have exported ------------------------------------------------------


def _read_export(
    container: Container, stream: ByteStream, notes: ReadNotes
) -> Iterator[LocatedRow]:
    """Yield the rows of a file that has to be read as a whole; raises ProblemError."""
    export = EXPORTS[container.export]
    try:
        match export.content:
            case "document":
                content: Any = orjson.loads(_read_all(container, stream, limits.EXPORT_BYTES))
            case "table":
                content = _iter_table_values(container, stream, notes)
            case "database":
                content = _read_all(container, stream, limits.EXPORT_BYTES)
            case _:
                data = _read_all(container, stream, limits.PAGE_BYTES)
                content = data.decode("utf-8", "replace").replace("\r\n", "\n")
        assert export.read is not None
        yield from _write_rows(export.read(content, container.name, notes.left_out), notes)
    except (orjson.JSONDecodeError, InvalidContentError, csv.Error) as error:
        raise _damaged_export_error(container, error) from error


def read_parts(
    container: Container, notes: ReadNotes, check: Check, digest: hashlib._Hash
) -> Iterator[RowBlock]:
    """Yield the rows of an export with many files, whose bytes go into `digest`; raises ProblemError."""
    export, content, size = EXPORTS[container.export], [], 0
    assert export.read is not None
    for path, member in container.parts:
        check()
        with open_stream(path, member, check=check) as stream:
            data = _read_all(container, stream, limits.EXPORT_BYTES - size)
            digest.update(stream.compute_sha256().encode())
        size += len(data)
        try:
            content.append(orjson.loads(data))
        except orjson.JSONDecodeError:
            notes.left_out[DAMAGED_FILES] += 1
            content.append(None)
    rows = export.read(content, container.name, notes.left_out)
    yield from group_rows(_write_rows(rows, notes))


def _damaged_export_error(container: Container, error: Exception) -> ProblemError:
    """Return the error of an exported file that can't be read to its end."""
    line, reason = None, getattr(error, "reason", str(error))
    if isinstance(error, orjson.JSONDecodeError):
        line, reason = error.lineno, error.msg
    return file_error(
        container.path,
        "dataset.damaged_export",
        "{name} ({export}) is damaged: {reason}.",
        "Export it again. If you have changed the file, undo that.",
        line=line,
        name=container.name,
        export=EXPORTS[container.export].title,
        reason=reason,
    )


def _write_rows(rows: Iterable[ExportRow], notes: ReadNotes) -> Iterator[LocatedRow]:
    """Yield the rows of an export as JSON, and why others can't be used."""
    for row in rows:
        if isinstance(row, SkipReason):
            yield b"", 0, -1, row
            continue
        notes.add_columns(row)
        raw, fault = write_row(row)
        yield raw, 0, -1, fault


def _read_all(container: Container, stream: ByteStream, most: int) -> bytes:
    """Return the content of a file; raises ProblemError for one that is too large."""
    data, values = bytearray(), 0
    is_json = EXPORTS[container.export].content == "document"
    for chunk in stream.iter_chunks():
        data += chunk
        values += sum(map(chunk.count, (b",", b"[", b"{"))) if is_json else 0
        if len(data) > most or values > limits.EXPORT_VALUES:
            raise file_error(
                container.path,
                "dataset.export_too_large",
                "{name} is too large for a file that has to be read at once: the limit is {most:size}, or "
                "{values} values.",
                "Export fewer chats or a shorter time at once, and add each file.",
                name=container.name,
                most=most,
                values=limits.EXPORT_VALUES,
            )
    return bytes(data)


def _iter_table_values(
    container: Container, stream: ByteStream, notes: ReadNotes
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table by column; those that can't be read are counted."""
    assert container.dialect is not None
    names = csv_tables.get_column_names(container.dialect)
    size = 0
    for row in csv_tables.read_rows(stream, container.dialect):
        size += sum(map(len, row.cells))
        if size > limits.EXPORT_BYTES:
            raise InvalidContentError("it is larger than {most:size}", most=limits.EXPORT_BYTES)
        if row.fault:
            notes.left_out[UNREADABLE_LINES] += 1
        else:
            yield dict(zip(names, row.cells, strict=False))


# --- tables and text ------------------------------------------------------------------------------


def _read_table_rows(
    container: Container, stream: ByteStream, notes: ReadNotes
) -> Iterator[LocatedRow]:
    assert container.dialect is not None
    names = csv_tables.get_column_names(container.dialect)
    notes.columns |= dict.fromkeys(name for name in names if name)
    for row in csv_tables.read_rows(stream, container.dialect):
        offset = row.offset if stream.is_exact else -1
        if row.fault:
            yield b"", row.line, offset, row.fault
            continue
        values = dict(zip(names, row.cells, strict=False))
        values.pop("", None)
        try:
            yield orjson.dumps(values), row.line, offset, None
        except TypeError:  # bytes that the encoding doesn't have
            fault = blocks.invalid_encoding_reason(container.encoding.title)
            yield b"", row.line, offset, fault


def _read_text_rows(
    container: Container, stream: ByteStream, notes: ReadNotes
) -> Iterator[LocatedRow]:
    """Yield a document, or the parts of a large one; blank lines belong to the part before them."""
    notes.columns |= {"text": None}
    encoding = container.encoding.title
    buffer, start, line, is_over = b"", -1, 1, False
    chunks = stream.iter_chunks()
    while not is_over:
        if len(buffer) <= TEXT_ROW and (chunk := next(chunks, b"")):
            start = stream.offset if start < 0 else start
            buffer += chunk
            continue
        is_over = len(buffer) <= TEXT_ROW
        cut = len(buffer) if is_over else _end_of_part(buffer)
        yield from _read_text_row(buffer[:cut], line, start if stream.is_exact else -1, encoding)
        line += buffer.count(b"\n", 0, cut)
        buffer, start = buffer[cut:], start + cut


def _end_of_part(buffer: bytes) -> int:
    """Return where a part ends within the limit: after a blank line, else a line, word, character."""
    window = buffer[:TEXT_ROW]
    for separator in (b"\n\n", b"\r\n\r\n", b"\n", b" "):
        start = window.rfind(separator)
        if start > TEXT_ROW // 8:
            return start + len(separator)
    cut = TEXT_ROW
    while cut > TEXT_ROW - 4 and buffer[cut] & 0xC0 == 0x80:
        cut -= 1
    return cut


def _read_text_row(part: bytes, line: int, offset: int, encoding: str) -> Iterator[LocatedRow]:
    if not part.strip(_SPACE):
        return
    try:
        text = part.decode("utf-8")
    except UnicodeDecodeError:
        yield b"", line, offset, blocks.invalid_encoding_reason(encoding)
        return
    if "\0" in text:
        yield b"", line, offset, blocks.NUL_BYTE
        return
    yield json.dumps({"text": text}, ensure_ascii=False).encode(), line, offset, None
