"""Blocks of rows, as all readers yield them: JSON text with lines, offsets and faults."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson

from lora_studio.core import limits
from lora_studio.core.dataset.formats.values import is_writable, parse_literal
from lora_studio.core.messages import Template, Text, text
from lora_studio.core.tasks.samples import UnusableKind, UnusableRow


@dataclass(frozen=True)
class SkipReason:
    """Why a row is skipped: `text` completes the sentence "Row 5 is skipped: …"."""

    text: Text
    kind: UnusableKind = UnusableKind.CONTENT

    @classmethod
    def from_error(cls, error: UnusableRow) -> SkipReason:
        """Return the reason that an exception carries."""
        return cls(error.reason, error.kind)

    def to_error(self) -> UnusableRow:
        """Return the exception to raise."""
        return UnusableRow(self.text, self.kind)

    def __str__(self) -> str:
        """Return the reason in English."""
        return str(self.text)


NO_FORMAT = SkipReason(Text(template="the format of the source is unknown"))


@lru_cache(maxsize=4096)
def dump_reason(reason: SkipReason) -> str:
    """Return a reason as one line of JSON: its kind, and its template with the values."""
    return json.dumps([reason.kind, reason.text.model_dump(exclude_defaults=True)], sort_keys=True)


@lru_cache(maxsize=4096)
def load_reason(line: str) -> SkipReason:
    """Return the reason that `dump_reason` wrote; raises ValueError for anything else."""
    kind, message = json.loads(line)
    return SkipReason(Text.model_validate(message), UnusableKind(kind))


#: Maximum rows and bytes of a block.
BLOCK_ROWS, BLOCK_BYTES = 8192, 4 * 1024 * 1024

#: A row as a JSON object, or b"" and why it is skipped.
JudgedRow = tuple[bytes, SkipReason | None]
#: A judged row with its line and offset: raw, line, offset, fault.
LocatedRow = tuple[bytes, int, int, SkipReason | None]

_TURN_KEYS = (({"role", "content"}, b'{"messages":'), ({"from", "value"}, b'{"conversations":'))
#: A string, or a comma that only a closing bracket follows.
_EXTRA_COMMA = re.compile(r'("(?:[^"\\]|\\.)*")|,(\s*[}\]])', re.DOTALL)


@dataclass
class RowBlock:
    """Consecutive rows: four lists of one length.

    `raws` are JSON objects, empty where `faults` says why the row is skipped. `lines` count from 1
    (0: unknown), `offsets` are bytes in the file (-1: unknown).
    """

    raws: list[bytes] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    faults: list[SkipReason | None] = field(default_factory=list)
    size: int = 0  # bytes of the rows that were added

    def add(self, raw: bytes, line: int, offset: int, fault: SkipReason | None = None) -> None:
        """Append one row."""
        self.size += len(raw)
        self.raws.append(raw)
        self.lines.append(line)
        self.offsets.append(offset)
        self.faults.append(fault)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.raws)


@dataclass
class ReadNotes:
    """Notes taken while reading a source: its columns in order, and unusual spellings.

    `oddities` maps a spelling to the number of rows that have it and the number of the first. `left_out`
    counts parts of exported files that no row contains, such as voice messages, by a template with `count`.
    """

    columns: dict[str, None] = field(default_factory=dict)
    oddities: dict[Text, tuple[int, int]] = field(default_factory=dict)
    left_out: Counter[Template] = field(default_factory=Counter)
    rows: int = 0

    def add_columns(self, values: dict[str, Any]) -> None:
        """Note the columns of one row, except names with a lone surrogate: those can't be written."""
        if not self.columns.keys() >= values.keys():
            self.columns |= dict.fromkeys(filter(is_writable, values))

    def add_oddity(self, oddity: Text, row: int) -> None:
        """Note that a row (from 1) has an unusual spelling."""
        count, first = self.oddities.get(oddity, (0, row))
        self.oddities[oddity] = (count + 1, first)


def parse_values(raw: bytes | str) -> dict[str, Any]:
    """Return the values of a usable row; escaped lone surrogates stay as Python reads them."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return json.loads(raw)


def judge_row(text: bytes, row: int, notes: ReadNotes, encoding: str = "UTF-8") -> JudgedRow:
    """Return a row's text as a JSON object, or b"" and the fault. `row` is its number, for the notes."""
    if len(text) > limits.ROW_BYTES:
        return b"", TOO_LARGE
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return _judge_leniently(text, error, row, notes, encoding)
    if fault := find_excess(text, value):
        return b"", fault
    if isinstance(value, dict):
        notes.add_columns(value)
        return text, None
    return _to_object(value, text, row, notes)


def find_excess(text: bytes, value: Any) -> SkipReason | None:
    """Return why a row is too large, None if it isn't; `value` is what its JSON text means.

    Few rows are long or have many brackets: only these are searched.
    """
    if len(text) > limits.ROW_BYTES:
        return TOO_LARGE
    brackets = text.count(b"{") + text.count(b"[")
    if brackets <= limits.ROW_DEPTH and len(text) < limits.ROW_VALUES:
        return None
    count, depth, level = 0, 0, [value]
    while level:
        count += len(level)
        depth += 1
        if count > limits.ROW_VALUES:
            return TOO_MANY_VALUES
        if depth > limits.ROW_DEPTH:
            return TOO_DEEP
        level = [
            item
            for parent in level
            if isinstance(parent, list | dict)
            for item in (parent.values() if isinstance(parent, dict) else parent)
        ]
    return None


def build_block(
    raws: list[bytes], lines: list[int], offsets: list[int], notes: ReadNotes
) -> RowBlock | None:
    """Return the rows if every one is a JSON object, else None: they have to be judged one by one.

    Nearly all blocks qualify. Without running Python code for each row, this takes half the time.
    """
    try:
        values = list(map(orjson.loads, raws))
    except orjson.JSONDecodeError:
        return None
    if set(map(type, values)) != {dict} or any(map(find_excess, raws, values)):
        return None
    if not notes.columns.keys() >= set().union(*values):
        for row in values:
            notes.add_columns(row)
    return RowBlock(raws, lines, offsets, [None] * len(raws))


def _judge_leniently(
    text: bytes, error: orjson.JSONDecodeError, row: int, notes: ReadNotes, encoding: str
) -> JudgedRow:
    """Handle a row that a strict parser refuses: return its fault, or read another program's spelling."""
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError:
        return b"", invalid_encoding_reason(encoding)
    if "\0" in decoded:
        return b"", NUL_BYTE
    if decoded.startswith("\ufeff"):  # files that were concatenated
        return judge_row(text[3:], row, notes, encoding)
    constants: list[str] = []
    try:
        value = json.loads(decoded, strict=False, parse_constant=constants.append)
    except RecursionError:
        return b"", TOO_DEEP
    except ValueError as fault:
        if "ecursion" in str(error):
            return b"", TOO_DEEP
        if "integer string" in str(fault):
            return b"", too_many_digits_reason(sys.get_int_max_str_digits())
        if not isinstance(value := _parse_loosely(decoded), dict):
            return b"", INVALID_JSON
        notes.add_oddity(LOOSE_SPELLING, row)
        return judge_row(json.dumps(value).encode(), row, notes)
    if excess := find_excess(text, value):
        return b"", excess
    if not isinstance(value, dict):
        return _to_object(value, text, row, notes)
    notes.add_columns(value)
    if constants:
        notes.add_oddity(NAN, row)
    elif _is_strict_json(decoded):
        # A lone surrogate, or a number with many digits: valid JSON for Python, so kept unchanged.
        return text, None
    else:
        notes.add_oddity(CONTROL_CHARACTERS, row)
    return json.dumps(value, ensure_ascii=True).encode(), None


def _parse_loosely(text: str) -> Any:
    """Return the value of JSON with extra commas or of a Python literal; None for anything else."""
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
    """Return JSON without the commas that only a closing bracket follows."""
    return _EXTRA_COMMA.sub(lambda match: match[1] or match[2], text)


def _is_strict_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _to_object(value: Any, text: bytes, row: int, notes: ReadNotes) -> JudgedRow:
    """Return a bare list of turns as a conversation; anything else than an object is a fault."""
    if isinstance(value, list) and value and all(isinstance(turn, dict) for turn in value):
        for keys, opening in _TURN_KEYS:
            if all(keys <= turn.keys() for turn in value):
                notes.add_oddity(BARE_TURNS, row)
                return judge_row(opening + text + b"}", row, notes)
    return b"", NOT_AN_OBJECT


def group_rows(rows: Iterable[LocatedRow]) -> Iterator[RowBlock]:
    """Yield rows as blocks that grow from a few rows to a few thousand, so that the first ones arrive soon."""
    block, size, limit = RowBlock(), 0, 64
    for raw, line, offset, fault in rows:
        block.add(raw, line, offset, fault)
        size += len(raw)
        if len(block) >= limit or size >= BLOCK_BYTES:
            yield block
            block, size, limit = RowBlock(), 0, min(limit * 4, BLOCK_ROWS)
    if len(block):
        yield block


def number_repeated_names(names: Iterable[str]) -> list[str]:
    """Return column names with repeated ones numbered: `a`, `a_2`, `a_3`."""
    distinct: dict[str, int] = {}  # with the last number that was tried
    for name in names:
        unique, number = name, distinct.get(name, 1)
        while unique in distinct:
            number += 1
            unique = f"{name}_{number}"
        distinct[name] = number
        distinct[unique] = 1
    return list(distinct)


def write_row(values: dict[str, Any]) -> JudgedRow:
    """Return the values of a row as JSON, or b"" and the fault."""
    try:
        raw = orjson.dumps(values, default=_to_text, option=_OPTIONS)
    except (TypeError, ValueError, RecursionError):
        try:
            raw = json.dumps(_to_plain(values)).encode()
        except (TypeError, ValueError, RecursionError):
            return b"", UNWRITABLE
    excess = find_excess(raw, values)
    return (b"", excess) if excess else (raw, None)


_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY


def _to_text(value: Any) -> Any:
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    return str(value)


def _to_plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else _to_text(value)


INVALID_JSON = SkipReason(text("the row is not valid JSON"))
NOT_AN_OBJECT = SkipReason(text("the row is not a JSON object"))
NUL_BYTE = SkipReason(text("the row contains a NUL byte"))
TOO_DEEP = SkipReason(text("the row is nested too deeply"))
TOO_LARGE = SkipReason(text("the row is larger than {limit:size}", limit=limits.ROW_BYTES))
TOO_MANY_VALUES = SkipReason(text("the row has more than {limit} values", limit=limits.ROW_VALUES))
UNWRITABLE = SkipReason(text("the row has a value that can't be written as JSON"))
UNREADABLE = SkipReason(text("the row has a value that can't be read"))
DAMAGED = SkipReason(text("this part of the file is damaged"))
FEWER_CELLS = SkipReason(text("the row has fewer cells than the header"))
MORE_CELLS = SkipReason(text("the row has more cells than the header"))
OPEN_QUOTES = SkipReason(text("a quotation mark is never closed"))
SHORT_COLUMN = SkipReason(text("one of the columns is shorter than the others"))
BETWEEN_ROWS = SkipReason(text("there is something other than JSON between the rows"))
REPEATS_TOO_MUCH = SkipReason(text("the rows of its article repeat too much text"))
NO_ANSWER = SkipReason(text("the card has no answer"), UnusableKind.NO_ANSWER)
NO_CARD = SkipReason(text("the card has no text"), UnusableKind.EMPTY)
NO_QUESTION = SkipReason(text("the paragraph has no question"))

#: Oddities complete the sentence "In 3 rows, starting with row 1: …".
NAN = text("NaN and Infinity, which JSON doesn't allow, are read as missing values")
CONTROL_CHARACTERS = text("a text contains unescaped control characters, which are kept")
LOOSE_SPELLING = text("the row is a Python literal or has extra commas; it is read anyway")
BARE_TURNS = text("the row is a bare list of turns, which is read as a conversation")
NESTED_QUESTIONS = text(
    "questions inside paragraphs become one row each, with their paragraph and its article"
)
NESTED_INSTANCES = text("instances inside instructions become one row each, with their instruction")

NAMED_ANSWERS = text("questions are the names of their answers; each becomes one row")


def invalid_encoding_reason(encoding: str) -> SkipReason:
    """Return the reason for bytes that the file's encoding doesn't have."""
    return SkipReason(text("the row is not valid {encoding}", encoding=encoding))


def too_many_digits_reason(limit: int) -> SkipReason:
    """Return the reason for a number that is too long to convert."""
    return SkipReason(text("the row has a number with more than {limit} digits", limit=limit))
