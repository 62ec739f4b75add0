"""Detect from the beginning of a file how its rows are written as JSON."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import orjson

from lora_studio.core import limits
from lora_studio.core.dataset.formats.column_names import CONVERSATIONS
from lora_studio.core.dataset.formats.columns import count_known_names
from lora_studio.engine.dataset.files import nested_rows
from lora_studio.engine.dataset.files.blocks import without_extra_commas
from lora_studio.engine.dataset.files.json_splitter import JsonSplitter

JsonKind = Literal["json lines", "json list", "json objects", "json columns", "json texts"]

_START = re.compile(rb'\s*(?:\{\s*["}]|\[\s*[\[{"\]\dtfn-])')
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]:]', re.DOTALL)
_JSON_NAME = re.compile(r"\.(jsonl?|ndjson|jl|jsonc|json5)\b", re.IGNORECASE)
_LINES_NAME = re.compile(r"\.(jsonl|ndjson|jl)\b", re.IGNORECASE)
#: Bytes that are split at once: their brackets and quotes need ten times as many.
_PIECE = 1024 * 1024
_INSTANCES = "Instances"
#: Names of lists of turns, which are one conversation and not rows.
_TURNS = frozenset(CONVERSATIONS) - {"data"}
#: Lines that are inspected.
_LINES = 20


@dataclass(frozen=True)
class JsonShape:
    """How rows are written as JSON. Rows of a list in an object begin at `offset`, after its bracket.

    `lists` are the object's other lists of rows, or all of them where it isn't known which is meant.
    `is_nested`: the rows are questions, inside of paragraphs and articles, or instances of
    instructions, or the names of their answers. `about` are names and texts that belong to every row. `is_readable` is False for
    layouts that are recognized only to refuse them.
    """

    kind: JsonKind
    offset: int = 0
    lists: tuple[str, ...] = ()
    is_nested: bool = False
    about: tuple[tuple[str, str], ...] = ()
    is_readable: bool = True


def is_named_json(name: str) -> bool:
    """Return whether a file's name says that it is some kind of JSON."""
    return bool(_JSON_NAME.search(name))


def can_be_json(start: bytes) -> bool:
    """Return whether a text may be JSON, by its first characters."""
    return bool(_START.match(start))


def is_unended_object(head: bytes) -> bool:
    """Return whether a text begins with an object that does not end in it."""
    start = head.lstrip(b" \t\r\n")
    return start[:1] == b"{" and _find_first_value(start, 0) is None


def detect_shape(head: bytes, name: str, *, is_whole: bool, split: str) -> JsonShape | None:
    """Return the shape of a file that begins with `head`, or None if it is not JSON.

    Where the file's name says JSON, faults are tolerated. `split` names the list that is meant in an
    object with several.
    """
    shape = _detect_shape(head, name, is_whole=is_whole, split=split)
    if shape is None or shape.kind in ("json columns", "json texts"):
        return shape
    is_nested = nested_rows.has_nested_rows(head) or (
        not shape.offset and nested_rows.has_answer_maps(head)
    )
    return replace(shape, is_nested=is_nested)


def _detect_shape(head: bytes, name: str, *, is_whole: bool, split: str) -> JsonShape | None:
    named = is_named_json(name)
    start = head.lstrip(b" \t\r\n")
    if not named and not can_be_json(start) and not _get_share_of_lines(head, is_whole=is_whole):
        return None
    first = _find_first_value(start, 0)
    if _is_lines(start, first, name, is_whole=is_whole):
        return JsonShape("json lines")
    if start[:1] == b"[":
        if first is not None and _is_list_of(try_parse(first), str):
            return JsonShape("json texts")
        return JsonShape("json list") if named or _is_list(start, first) else None
    if start[:1] != b"{":
        return None
    if first is None or not start[len(first) :].strip(b" \t\r\n\0"):
        return (
            _detect_object_shape(head, first, split)
            if named or first is None or is_json(first)
            else None
        )
    return JsonShape("json objects") if named or is_json(first) else None


def _is_list(start: bytes, first: bytes | None) -> bool:
    """Return whether a text that begins with a bracket is a list of rows, of which some may have faults.

    A chat log begins with a time in brackets, notes with a number.
    """
    if (item := _find_first_value(start, 1)) is not None:
        return is_json(item)
    return first is None or (is_json(first) and not start[len(first) :].strip(b" \t\r\n\0"))


def is_json(text: bytes) -> bool:
    """Return whether a text is JSON, also with NaN as Python writes it, or with extra commas."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            json.loads(without_extra_commas(text.decode("utf-8", "replace")), strict=False)
        except (ValueError, RecursionError):
            return False
    return True


def _is_lines(start: bytes, first: bytes | None, name: str, *, is_whole: bool) -> bool:
    """Return whether every line is a row of its own."""
    share = _get_share_of_lines(start, is_whole=is_whole)
    if start[:1] == b"[":
        # The items of a list may be on a line each; then the last line parses on its own.
        return share > 0.5 and is_json(start.split(b"\n", 1)[0])
    if share >= 0.5:
        return True
    if start[:1] != b"{":
        return is_named_json(name) and share > 0
    is_meant = share > 0 or bool(_LINES_NAME.search(name))
    return is_meant and (first is None or not is_json(first))


def _get_share_of_lines(head: bytes, *, is_whole: bool) -> float:
    """Return the share of the first lines that are whole objects or lists; 0 for a single line."""
    lines = [line for line in head.split(b"\n", 5 * _LINES) if line.strip()]
    if not is_whole or len(lines) > _LINES:
        lines = lines[:-1][:_LINES]
    if len(lines) < 2:
        return 0.0
    good = sum(line.lstrip()[:1] in (b"{", b"[") and is_json(line) for line in lines)
    return good / len(lines)


def _find_first_value(start: bytes, depth: int) -> bytes | None:
    """Return the first object or list at a depth, None when it does not end here."""
    splitter, begin, size = JsonSplitter(depth), 0, 4096
    while begin < len(start):
        items = splitter.feed(start[begin : begin + size])
        if item := next((item for item in items if not item.is_loose), None):
            return None if item.is_overlong else item.text
        begin, size = begin + size, min(size * 16, _PIECE)
    return None


# --- one object -----------------------------------------------------------------------------------


def _detect_object_shape(head: bytes, whole: bytes | None, split: str) -> JsonShape:
    """Return what a lone object is: a list of rows in it, its columns, or a row itself."""
    document = _try_parse_object(whole)
    if document is not None and _is_columns(document):
        return JsonShape("json columns")
    if document is not None and _is_pandas_table(document):
        return JsonShape("json columns", is_readable=False)
    lists = list(itertools.islice(_iter_lists(head), limits.COLUMNS))
    rows = {
        name: offset
        for name, offset in lists
        if _is_list_of_rows(name, head[offset : offset + 65536])
    }
    if not rows and (offset := _find_inner_list(head, document)):
        return JsonShape("json list", offset)
    if not rows:
        # An object too large to parse here has columns if it has any list.
        is_columns = document is None and whole is None and bool(lists)
        return JsonShape("json columns" if is_columns else "json objects")
    if document is not None:
        rows = {name: offset for name, offset in rows.items() if name in document}
    if _INSTANCES in rows and (about := _get_definition(document)):
        return JsonShape("json list", rows[_INSTANCES], about=about)
    if split in rows or len(rows) == 1:
        name = split if split in rows else next(iter(rows))
        others = tuple(other for other in rows if other != name)
        return JsonShape("json list", rows[name], others)
    return JsonShape("json objects", lists=tuple(rows))


def _find_inner_list(head: bytes, document: dict[str, Any] | None) -> int | None:
    """Return the offset of the only list of rows in an object inside the outer one, as servers answer.

    An example is `{"data": {"items": [{…}, …]}}`. Returns None for several such lists or objects.
    """
    objects = [value for value in (document or {}).values() if isinstance(value, dict)]
    if len(objects) > 1:
        return None
    rows = [
        offset
        for name, offset in itertools.islice(_iter_lists(head, 2), limits.COLUMNS)
        if name not in _TURNS and _is_list_of_rows(name, head[offset : offset + 65536])
    ]
    return rows[0] if len(rows) == 1 else None


def _get_definition(document: dict[str, Any] | None) -> tuple[tuple[str, str], ...]:
    """Return the instruction that all instances of a Natural Instructions file share."""
    definition = (document or {}).get("Definition")
    definition = definition[0] if isinstance(definition, list) and definition else definition
    return (("Definition", definition),) if isinstance(definition, str) else ()


def try_parse(text: bytes | None) -> Any:
    """Return the value of JSON, None for anything else."""
    try:
        return orjson.loads(text) if text else None
    except orjson.JSONDecodeError:
        return None


def _try_parse_object(text: bytes | None) -> dict[str, Any] | None:
    value = try_parse(text)
    return value if isinstance(value, dict) else None


def _iter_lists(head: bytes, level: int = 1) -> Iterator[tuple[str, int]]:
    """Yield the name of every list directly in an object, with the offset after its bracket.

    A `level` of 2 are the lists in objects inside the outer one.
    """
    depth, key, is_value = 0, b"", False
    for token in _TOKEN.finditer(head):
        sign = token[0]
        if sign[:1] == b'"':
            key = sign if depth == level and not is_value else key
            is_value = False
        elif sign == b":":
            is_value = depth == level
        elif sign in b"{[":
            if depth == level and sign == b"[" and is_value and (name := _parse_text(key)):
                yield name, token.end()
            depth, is_value = depth + 1, False
        else:
            depth, is_value = depth - 1, False


def _parse_text(spelt: bytes) -> str:
    """Return the text of a JSON string, "" for anything else."""
    try:
        return str(json.loads(spelt, strict=False))
    except ValueError:
        return ""


def _is_list_of_rows(name: str, start: bytes) -> bool:
    """Return whether a list holds rows, not the turns of one conversation or pieces of one text."""
    if start.lstrip()[:1] != b"{":
        return False
    turn = _try_parse_object(_find_first_value(start, 0))
    if turn is None:
        return True
    is_piece = name == "segments" and {"text", "label"} <= turn.keys()
    is_turn = {"role", "content"} <= turn.keys() or {"from", "value"} <= turn.keys()
    return not (is_piece or is_turn)


def _is_columns(document: dict[str, Any]) -> bool:
    """Return whether an object has a column per key: lists, or pandas' objects with a key per row.

    Lists have to be of one length or under usual names, at least one of them without objects.
    """
    values = list(document.values())
    if values and all(isinstance(value, list) for value in values):
        is_plain = any(not isinstance(item, dict) for value in values for item in value[:5])
        is_even = len({len(value) for value in values}) == 1 or count_known_names(document) > 1
        return is_plain and is_even and all(values)
    if values and all(isinstance(value, dict) for value in values):
        keys = list(values[0])
        return (
            bool(keys)
            and all(key.isdigit() for key in keys)
            and all(list(value) == keys for value in values)
        )
    return False


def _is_pandas_table(document: dict[str, Any]) -> bool:
    """Return whether an object is what pandas writes as `split`, or as `index`: a key for each row."""
    if _is_list_of(document.get("columns"), str) and _is_list_of(document.get("data"), list):
        return True
    rows = list(document.values())
    if not _is_list_of(rows, dict) or len(rows) < 2 or count_known_names(document):
        return False
    return count_known_names(set(rows[0]).intersection(*rows)) > 0


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, kind) for item in value)
