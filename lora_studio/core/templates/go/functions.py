"""Values of a Go template and its built-in functions, with Go's semantics.

A Go string is a Python `bytes` (UTF-8), nil is None, a map is a dict, a slice a list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar

Value = Any  # None | bool | int | float | bytes | list[Value] | dict[str, Value]


class Struct(dict[str, Value]):
    """A Go struct: accessing an unknown field is an error, not an empty value.

    `tags` are the JSON names of its fields in order; one that ends in ? is omitted from JSON if
    empty. A struct with tags prints itself as JSON, one without cannot be printed.
    """

    tags: ClassVar[Mapping[str, str]] = {}

    def tagged(self) -> list[tuple[str, Value]]:
        """Return the fields that JSON shows, in order."""
        return [
            (tag.rstrip("?"), self.get(name))
            for name, tag in self.tags.items()
            if self.get(name) or not tag.endswith("?")
        ]


class JsonMap(dict[str, Value]):
    """A map that prints itself as JSON, as the arguments of a tool call do."""


class JsonList(list[Value]):
    """A slice that prints itself as JSON, as the list of tools does."""


class CallError(ValueError):
    """A function that was called with invalid arguments."""


def from_python(value: object) -> Value:
    """Convert plain Python data to Go values, recursively: str becomes UTF-8 bytes."""
    match value:
        case str():
            return value.encode("utf-8", "surrogateescape")
        case dict():
            return type(value)((str(key), from_python(item)) for key, item in value.items())
        case list() | tuple():
            items = [from_python(item) for item in value]
            return JsonList(items) if isinstance(value, JsonList) else items
        case None | bool() | int() | float() | bytes():
            return value
    raise TypeError(f"no Go value for {type(value).__name__}")


def is_true(value: Value) -> bool:
    """Return Go's truth of a value: false, 0, nil and empty values are false; a struct is always
    true.
    """
    return True if isinstance(value, Struct) else bool(value)


# --------------------------------------------------------------------------- len, index, slice


def length(value: Value) -> int:
    """Return the number of bytes of a string, or of items of a slice or map."""
    if isinstance(value, Struct) or not isinstance(value, bytes | list | dict):
        raise CallError(f"len of {type_name(value)}")
    return len(value)


def _place(index: Value, limit: int) -> int:
    if isinstance(index, bool) or not isinstance(index, int):
        raise CallError(f"cannot index with {type_name(index)}")
    if not 0 <= index <= limit:
        raise CallError(f"index out of range: {index}")
    return index


def index(item: Value, *indexes: Value) -> Value:
    """Return item[i][j]…; a missing key of a map is nil, any other index out of range is an error."""
    for key in indexes:
        if isinstance(item, dict) and not isinstance(item, Struct):
            if not isinstance(key, bytes):
                raise CallError(f"value has type {type_name(key)}; should be string")
            item = item.get(key.decode(errors="replace"))
        elif isinstance(item, bytes | list):
            item = item[_place(key, len(item) - 1)]
        else:
            raise CallError(f"can't index item of {type_name(item)}")
    return item


def slice_(item: Value, *indexes: Value) -> Value:
    """Return item[i:j]; offsets into a string count bytes."""
    if not isinstance(item, bytes | list):
        raise CallError(f"can't slice item of {type_name(item)}")
    if len(indexes) > (2 if isinstance(item, bytes) else 3):
        raise CallError("too many slice indexes")
    places = [_place(index, len(item)) for index in indexes]
    start, stop = (*places, 0, len(item))[:2] if not places else (*places, len(item))[:2]
    if start > stop or (len(places) == 3 and stop > places[2]):
        raise CallError(f"invalid slice index: {start} > {stop}")
    return item[start:stop]


# --------------------------------------------------------------------------------- comparisons


def type_name(value: Value) -> str:
    """Return Go's name of the type, for messages."""
    if isinstance(value, bool):
        return "bool"
    names: dict[type, str] = {int: "int", float: "float64", bytes: "string", type(None): "nil"}
    for kind, name in names.items():
        if isinstance(value, kind):
            return name
    return "struct" if isinstance(value, Struct) else "map" if isinstance(value, dict) else "slice"


def eq(first: Value, *others: Value) -> bool:
    """Return whether `first` equals any of the others; different kinds are an error, nil is not."""
    if not others:
        raise CallError("missing argument for comparison")
    for other in others:
        if first is None or other is None:
            if first is other or (isinstance(first or other, list | dict) and not (first or other)):
                return first is other
            continue
        if type_name(first) != type_name(other):
            raise CallError(
                f"incompatible types for comparison: {type_name(first)} and {type_name(other)}"
            )
        if isinstance(first, list | dict):
            raise CallError(f"non-comparable type {type_name(first)}")
        if first == other:
            return True
    return False


def less(first: Value, second: Value) -> bool:
    """Return first < second for numbers of one kind and for strings (byte order)."""
    kinds = {type_name(first), type_name(second)}
    if not kinds <= {"int", "float64", "string"}:
        raise CallError("invalid type for comparison")
    if len(kinds) > 1:
        raise CallError(
            f"incompatible types for comparison: {type_name(first)} and {type_name(second)}"
        )
    return bool(first < second)


# ------------------------------------------------------------------------------------ printing


def format_float(number: float, *, exponent_from: int = 6) -> str:
    """Return the shortest digits that parse back equal; exponents below -4 and from `exponent_from`
    on.
    """
    if number != number or number in (float("inf"), float("-inf")):
        return {"inf": "+Inf", "-inf": "-Inf"}.get(repr(number), "NaN")
    sign, digits, exponent = Decimal(repr(number)).as_tuple()
    text = "".join(map(str, digits)).rstrip("0") or "0"
    point = len(digits) + int(exponent) if text != "0" else 1
    minus = "-" if sign else ""
    if point - 1 < -4 or point - 1 >= exponent_from:
        power = point - 1
        mantissa = text[0] + (f".{text[1:]}" if len(text) > 1 else "")
        return f"{minus}{mantissa}e{'-' if power < 0 else '+'}{abs(power):02d}"
    if point <= 0:
        return f"{minus}0.{'0' * -point}{text}"
    whole, fraction = text[:point].ljust(point, "0"), text[point:]
    return f"{minus}{whole}{f'.{fraction}' if fraction else ''}"


def show(value: Value) -> bytes:
    """Return the value as fmt's %v prints it."""
    match value:
        case None:
            return b"<nil>"
        case bytes():
            return value
        case bool():
            return b"true" if value else b"false"
        case int():
            return str(value).encode()
        case float():
            return format_float(value).encode()
        case JsonMap() | JsonList():
            return to_json(value)
        case Struct():
            if value.tags:
                return to_json(value)
            raise CallError("printing a whole struct is not supported here")
        case dict():
            pairs = (key.encode() + b":" + show(item) for key, item in sorted_items(value))
            return b"map[" + b" ".join(pairs) + b"]"
        case list():
            return b"[" + b" ".join(map(show, value)) + b"]"
    raise CallError(f"cannot print {type(value).__name__}")


def sorted_items(mapping: dict[str, Value]) -> list[tuple[str, Value]]:
    """Return a map's items in the order in which Go iterates and prints them: by the keys' bytes."""
    return sorted(mapping.items(), key=lambda pair: pair[0].encode())


def print_(*values: Value) -> bytes:
    """Return what fmt.Sprint returns: a blank between neighbors of which neither is a string."""
    text = b""
    for index, value in enumerate(values):
        if index and not isinstance(value, bytes) and not isinstance(values[index - 1], bytes):
            text += b" "
        text += show(value)
    return text


#: Go treats a larger width as an error.
_WIDEST = 1_000_000
_VERB = re.compile(
    rb"%(?P<flags>[-+# 0]*)(?P<width>\*|\d*)(?:\.(?P<precision>\d*))?(?P<verb>.)", re.S
)


def printf(pattern: Value, *values: Value) -> bytes:
    """Return what fmt.Sprintf returns for the verbs v s d q t c x X e f g and %, with width and
    precision.
    """
    if not isinstance(pattern, bytes):
        raise CallError(f"wrong type for value; expected string; got {type_name(pattern)}")
    rest = list(values)
    padding = 0

    def expand(match: re.Match[bytes]) -> bytes:
        nonlocal padding
        if match["verb"] == b"%":
            return b"%"
        if len(rest) < 1 + (match["width"] == b"*"):
            raise CallError(f"missing argument for {match.group().decode(errors='replace')}")
        width = match["width"].decode()
        padding += 10 ** len(width) if width != "*" else _WIDEST
        if padding > 16 * _WIDEST:
            raise CallError("the text is too long")
        return _verb(match, _width(rest.pop(0)) if width == "*" else width, rest.pop(0))

    text = _VERB.sub(expand, pattern)
    if rest:
        raise CallError("more arguments than verbs")
    return text


def _width(value: Value) -> str:
    """Return the width that a `*` takes from an argument."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _WIDEST:
        raise CallError(f"bad width: {type_name(value)}")
    return str(value)


def _verb(match: re.Match[bytes], width: str, value: Value) -> bytes:
    flags, verb = match["flags"].decode(), match["verb"].decode(errors="replace")
    precision = match["precision"]
    if any(len(digits) > 7 or int(digits or 0) > _WIDEST for digits in (width, precision or b"")):
        raise CallError("bad width or precision")
    kind = type_name(value)
    spec = f"%{flags}{width}"
    spec += f".{precision.decode() or 0}" if precision is not None else ""
    match verb, kind:
        case ("d", "int") | ("f" | "e", "float64"):
            return str.__mod__(f"{spec}{verb}", value).encode()
        case ("x" | "X", "int") if "#" not in flags:
            return str.__mod__(f"{spec}{verb}", value).encode()
        case "x" | "X", "string" if not flags and precision is None:
            text = str(value.hex()) if verb == "x" else str(value.hex()).upper()
        case ("v", _) | ("s", "string") | ("t", "bool") if flags in ("", "-"):
            text = show(value).decode("utf-8", "surrogateescape")
            text = text[: int(precision or 0)] if precision is not None else text
        case "q", "string" if flags in ("", "-") and precision is None:
            text = quote(value)
        case "c", "int" if not flags and precision is None:
            is_character = 0 <= value < 0x110000 and not 0xD800 <= value < 0xE000
            text = chr(value) if is_character else "\ufffd"
        case "g", "float64" if not flags and precision is None:
            text = format_float(value)
        case _:
            raise CallError(f"%{flags}{verb} of {kind} is not supported here")
    text = text.ljust(int(width or 0)) if "-" in flags else text.rjust(int(width or 0))
    return text.encode("utf-8", "surrogateescape")


_QUOTED = dict(zip('\a\b\f\n\r\t\v\\"', 'abfnrtv\\"', strict=True))


def quote(text: bytes) -> str:
    """Return a Go string literal in double quotes (strconv.Quote)."""
    pieces = []
    for character in text.decode("utf-8", "surrogateescape"):
        code = ord(character)
        if character in _QUOTED:
            pieces.append("\\" + _QUOTED[character])
        elif character.isprintable():
            pieces.append(character)
        elif 0xDC80 <= code <= 0xDCFF:
            pieces.append(f"\\x{code - 0xDC00:02x}")
        elif code < 0x80:
            pieces.append(f"\\x{code:02x}")
        else:
            pieces.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return f'"{"".join(pieces)}"'


# ---------------------------------------------------------------------------------------- json

_JSON_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b"}
_JSON_ESCAPES |= {"\f": "\\f"} | {c: f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def to_json(value: Value) -> bytes:
    """Return JSON as encoding/json writes it: no blanks, keys of maps sorted, <, > and & escaped."""
    match value:
        case None:
            return b"null"
        case bytes():
            return _json_string(value.decode(errors="replace"))
        case float():
            text = format_float(value, exponent_from=21)
            if value != value or text.endswith("Inf"):
                raise CallError("JSON has no such number")
            # JSON uses plain notation down to 1e-6, fmt only to 1e-4.
            if re.search(r"e-0[56]$", text):
                return f"{Decimal(text):f}".encode()
            return re.sub(r"e-0(\d)$", r"e-\1", text).encode()
        case bool() | int():
            return show(value)
        case Struct(tags=tags) if tags:
            return _object(value.tagged())
        case dict():
            return _object(sorted_items(value))
        case list() | tuple():
            return b"[" + b",".join(map(to_json, value)) + b"]"
    raise CallError(f"no JSON for {type(value).__name__}")


def _object(items: list[tuple[str, Value]]) -> bytes:
    pairs = (_json_string(key) + b":" + to_json(item) for key, item in items)
    return b"{" + b",".join(pairs) + b"}"


def _json_string(text: str) -> bytes:
    pieces = (_JSON_ESCAPES.get(c) or (c if ord(c) >= 0x20 else f"\\u{ord(c):04x}") for c in text)
    return f'"{"".join(pieces)}"'.encode()


def call_builtin(name: str, arguments: Sequence[Value]) -> Value:
    """Call a function that needs only its arguments; raises CallError."""
    exact = {"not": 1, "len": 1, "json": 1, "ne": 2, "lt": 2, "le": 2, "gt": 2, "ge": 2}
    least = {"index": 1, "slice": 1, "eq": 1, "printf": 1}
    expected = exact.get(name, least.get(name, 0))
    if len(arguments) < expected or (name in exact and len(arguments) != expected):
        more = "" if name in exact else "at least "
        raise CallError(
            f"wrong number of args for {name}: want {more}{expected} got {len(arguments)}"
        )
    match name:
        case "not":
            return not is_true(arguments[0])
        case "len":
            return length(arguments[0])
        case "json":
            return to_json(arguments[0])
        case "index":
            return index(*arguments)
        case "slice":
            return slice_(*arguments)
        case "print":
            return print_(*arguments)
        case "println":
            return b" ".join(map(show, arguments)) + b"\n"
        case "printf":
            return printf(*arguments)
        case "eq":
            return eq(*arguments)
        case "ne":
            return not eq(*arguments)
        case "lt":
            return less(*arguments)
        case "ge":
            return not less(*arguments)
        case "le":
            return less(*arguments) or eq(*arguments)
        case "gt":
            return not (less(*arguments) or eq(*arguments))
    raise CallError(f"function {name!r} not defined")
