"""JSON5 as people write it by hand becomes JSON: names without quotes, texts in single quotes."""

from __future__ import annotations

import json
import math
import re
from itertools import pairwise

#: Characters of a text that is looked at: each of its signs becomes an object of its own.
_LONGEST = 1_000_000

_PART = re.compile(
    r"""(?P<blank>\s+|//[^\n]*|/\*.*?\*/)
      | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<number>[+-]?(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|Infinity|NaN))(?![\w$.])
      | (?P<word>[^\W\d][\w$]*|\$[\w$]*)
      | (?P<sign>[{}\[\]:,])""",
    re.DOTALL | re.VERBOSE,
)
_ESCAPED = re.compile(r"""\\(\r\n|x[0-9a-fA-F]{2}|.)|"|[\x00-\x1f]""", re.DOTALL)
_WORDS = {"true": "true", "false": "false", "null": "null", "undefined": "null"}
_ESCAPES = {
    "v": r"\u000b",
    "0": r"\u0000",
    "\n": "",
    "\r": "",
    "\r\n": "",
    "\u2028": "",
    "\u2029": "",
}


def to_json(text: str) -> str | None:
    """The same values as JSON; None for what is neither."""
    parts: list[tuple[str, str]] = []
    place = 0
    while place < len(text):
        part = _PART.match(text, place) if len(text) <= _LONGEST else None
        if part is None:
            return None
        place = part.end()
        if part.lastgroup != "blank":
            parts.append((str(part.lastgroup), part[part.lastgroup or 0]))
    written: list[str] = []
    for (kind, value), (_, following) in pairwise([*parts, ("", "")]):
        is_name = following == ":" and kind in ("word", "number")
        spelt = json.dumps(value) if is_name else _spelt(kind, value)
        if spelt is None:
            return None
        if not (value == "," and following in ("]", "}")):
            written.append(spelt)
    return "".join(written)


def _spelt(kind: str, value: str) -> str | None:
    match kind:
        case "text":
            return f'"{_ESCAPED.sub(_escape, value[1:-1])}"'
        case "word":
            return _WORDS.get(value)
        case "number":
            return _number(value)
        case _:
            return value


def _escape(found: re.Match[str]) -> str:
    """An escape, a quote or a control character of a text as JSON has it."""
    sign = found[1]
    if sign is None:
        return json.dumps(found[0])[1:-1]
    if sign in _ESCAPES:
        return _ESCAPES[sign]
    if sign[0] == "x" and len(sign) == 3:
        return rf"\u00{sign[1:]}"
    return found[0] if sign in '"\\/bfnrtu' else json.dumps(sign, ensure_ascii=False)[1:-1]


def _number(value: str) -> str:
    value, minus = value.lstrip("+-"), "-" if value[0] == "-" else ""
    if value in ("NaN", "Infinity"):
        return "null"
    if value[:2].lower() == "0x":
        return f"{minus}{int(value, 16)}"
    if value.isdigit():
        return minus + (value.lstrip("0") or "0")
    number = float(value)
    return f"{minus}{number!r}" if math.isfinite(number) else "null"
