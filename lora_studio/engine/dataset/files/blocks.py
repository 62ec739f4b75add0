"""What readers hand on: some rows at a time, as JSON text with their places and faults."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from lora_studio.core.dataset.formats.values import is_writable, parse_literal

#: Rows and bytes after which a block is handed on.
BLOCK_ROWS, BLOCK_BYTES = 8192, 4 * 1024 * 1024

_NAN = "NaN or Infinity, which JSON does not have, is read as a missing value"
_CONTROL = "control characters stand unescaped inside a text, which is read as it stands"
_LOOSE = (
    "the row is spelt as Python or JavaScript prints it, or with a comma too many, and is read as it is "
    "meant"
)
_LISTED = "a row is a list of turns alone, which is read as its conversation"
_TURN_KEYS = (({"role", "content"}, b'{"messages":'), ({"from", "value"}, b'{"conversations":'))
#: A text, or a comma with nothing behind it.
_COMMA_TOO_MANY = re.compile(r'("(?:[^"\\]|\\.)*")|,(\s*[}\]])', re.DOTALL)


@dataclass
class RowBlock:
    """Rows that follow one another: four lists of one length.

    `raws` are JSON objects, empty where `faults` says why a row is unusable. `lines` count from 1
    (0: none), `offsets` are bytes in the file (-1: none).
    """

    raws: list[bytes] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def add(self, raw: bytes, line: int, offset: int, fault: str = "") -> None:
        """Takes one row."""
        self.raws.append(raw)
        self.lines.append(line)
        self.offsets.append(offset)
        self.faults.append(fault)

    def __len__(self) -> int:
        """How many rows it has."""
        return len(self.raws)


@dataclass
class ReadNotes:
    """What was met while reading: columns in order, and odd spellings that were read all the same.

    `oddities` maps what it is to the number of rows and the number of the first.
    """

    columns: dict[str, None] = field(default_factory=dict)
    oddities: dict[str, tuple[int, int]] = field(default_factory=dict)
    rows: int = 0

    def meet(self, values: dict[str, Any]) -> None:
        """Notes the columns of one row, but for names with half a character: they are no text."""
        if not self.columns.keys() >= values.keys():
            self.columns |= dict.fromkeys(filter(is_writable, values))

    def odd(self, what: str, row: int) -> None:
        """Notes that a row (from 1) is spelt oddly."""
        count, first = self.oddities.get(what, (0, row))
        self.oddities[what] = (count + 1, first)


def values_of(raw: bytes | str) -> dict[str, Any]:
    """The values of a usable row; escapes of half a character are kept as Python reads them."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return json.loads(raw)


def judged(text: bytes, row: int, notes: ReadNotes, encoding: str = "UTF-8") -> tuple[bytes, str]:
    """The row as a JSON object, or b"" and the fault. `row` is its number, for the notes."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return _judged_again(text, error, row, notes, encoding)
    if isinstance(value, dict):
        notes.meet(value)
        return text, ""
    return _object_of(value, text, row, notes)


def sound(
    raws: list[bytes], lines: list[int], offsets: list[int], notes: ReadNotes
) -> RowBlock | None:
    """The rows if every one is an object; None where one is not, and has to be looked at alone.

    Nearly all blocks are sound. Without a step in Python for each row, these take half the time.
    """
    try:
        values = list(map(orjson.loads, raws))
    except orjson.JSONDecodeError:
        return None
    if set(map(type, values)) != {dict}:
        return None
    if not notes.columns.keys() >= set().union(*values):
        for row in values:
            notes.meet(row)
    return RowBlock(raws, lines, offsets, [""] * len(raws))


def _judged_again(
    text: bytes, error: orjson.JSONDecodeError, row: int, notes: ReadNotes, encoding: str
) -> tuple[bytes, str]:
    """What a strict parser refuses: faults by name, and spellings of other programs."""
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError:
        return b"", f"it is not valid {encoding}"
    if "\0" in decoded:
        return b"", "it holds a NUL byte"
    if decoded.startswith("\ufeff"):  # files that were put together
        return judged(text[3:], row, notes, encoding)
    odd: list[str] = []
    try:
        value = json.loads(decoded, strict=False, parse_constant=odd.append)
    except RecursionError:
        return b"", "it is nested too deeply"
    except ValueError as fault:
        if "ecursion" in str(error):
            return b"", "it is nested too deeply"
        if "integer string" in str(fault):
            return b"", f"it has a number of more than {sys.get_int_max_str_digits()} digits"
        if not isinstance(value := _loosely(decoded), dict):
            return b"", "it is not valid JSON"
        notes.odd(_LOOSE, row)
        return judged(json.dumps(value).encode(), row, notes)
    if not isinstance(value, dict):
        return _object_of(value, text, row, notes)
    notes.meet(value)
    if odd:
        notes.odd(_NAN, row)
    elif _is_strict(decoded):
        # Half of a character, or a number of many digits: JSON for Python, and kept as it is.
        return text, ""
    else:
        notes.odd(_CONTROL, row)
    return json.dumps(value, ensure_ascii=True).encode(), ""


def _loosely(text: str) -> Any:
    """What a text is meant to spell that other programs than those for JSON have written."""
    if not text.startswith("{") or not text.endswith("}"):
        return None
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(without_extra_commas(text), strict=False)
    value = parse_literal(text)
    if isinstance(value, str):
        return None
    with contextlib.suppress(ValueError, TypeError):  # a set, or a number that JSON cannot write
        return json.loads(json.dumps(value))
    return None


def without_extra_commas(text: str) -> str:
    """JSON without commas that nothing follows before a bracket closes."""
    return _COMMA_TOO_MANY.sub(lambda found: found[1] or found[2], text)


def _is_strict(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _object_of(value: Any, text: bytes, row: int, notes: ReadNotes) -> tuple[bytes, str]:
    """A row that is no object: cells under a header, the turns of a conversation, a prompt with its
    completion. All else has no one meaning and is a fault."""
    if not isinstance(value, list) or not value:
        return b"", "the row is not an object"
    if all(isinstance(turn, dict) for turn in value):
        for keys, opening in _TURN_KEYS:
            if all(keys <= turn.keys() for turn in value):
                notes.odd(_LISTED, row)
                return judged(opening + text + b"}", row, notes)
    return b"", "the row is not an object"


def in_blocks(rows: Iterable[tuple[bytes, int, int, str]]) -> Iterator[RowBlock]:
    """Rows that come one by one, as blocks that grow from a few rows to a few thousand."""
    block, size, limit = RowBlock(), 0, 64
    for raw, line, offset, fault in rows:
        block.add(raw, line, offset, fault)
        size += len(raw)
        if len(block) >= limit or size >= BLOCK_BYTES:
            yield block
            block, size, limit = RowBlock(), 0, min(limit * 4, BLOCK_ROWS)
    if len(block):
        yield block


def distinct(names: Iterable[str]) -> list[str]:
    """Names of columns, each once: those that were there before are numbered."""
    found: list[str] = []
    for name in names:
        while name in found:
            name += "_2"
        found.append(name)
    return found


def written(values: dict[str, Any]) -> tuple[bytes, str]:
    """Values of a table's row as JSON, or b"" and the fault."""
    try:
        return orjson.dumps(values, default=_as_text, option=_OPTIONS), ""
    except (TypeError, ValueError, RecursionError):
        pass
    try:
        return json.dumps(_plain(values)).encode(), ""
    except (TypeError, ValueError, RecursionError):
        return b"", "it holds a value that cannot be written as JSON"


_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY


def _as_text(value: Any) -> Any:
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    return str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else _as_text(value)
