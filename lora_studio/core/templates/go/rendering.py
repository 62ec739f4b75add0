"""Render the subset of Go's text/template that a Modelfile TEMPLATE uses, as Go renders it.

Strings are UTF-8 bytes inside (`len` and `slice` count bytes). Unsupported constructs (html, js,
call, complex numbers, methods) raise an error with their position; they never render differently.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, ClassVar

from lora_studio.core import limits
from lora_studio.core.templates.go.parsing import (
    ActionNode,
    BranchNode,
    CallNode,
    ChainNode,
    CommandNode,
    ConstantNode,
    DotNode,
    FieldNode,
    FunctionNode,
    GoTemplateError,
    JumpNode,
    NilNode,
    Node,
    Operand,
    PipeNode,
    RangeNode,
    TemplateTree,
    TextNode,
    VariableNode,
    parse,
)

# Values of a Go template and its built-in functions, with Go's semantics.
#
# A Go string is a Python `bytes` (UTF-8), nil is None, a map is a dict, a slice a list.

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


__all__ = ["GoTemplate", "GoTemplateError", "JsonList", "JsonMap", "Struct", "render"]

#: Steps between two looks at the clock.
_CLOCK_STEPS = 1024


class GoTemplate:
    """A parsed template that can be rendered many times."""

    def __init__(self, source: str | TemplateTree) -> None:
        """Parse `source`, unless it is a tree; raises GoTemplateError with line and column."""
        self.tree = parse(source) if isinstance(source, str) else source
        self._memory = RenderMemory(self.tree)

    def render(self, data: Mapping[str, object], *, today: date | None = None) -> str:
        """Return the text for `data`; invalid UTF-8 (a cut character) becomes U+FFFD."""
        return self.render_bytes(data, today=today).decode(errors="replace")

    def render_bytes(self, data: Mapping[str, object], *, today: date | None = None) -> bytes:
        """Return the output as Go writes it; `today` is what currentDate prints."""
        run = _Run(self.tree, today or date.today(), self._memory)
        try:
            run.invoke(_TailCall(self.tree.root, from_python(dict(data)), 0))
        except RecursionError:
            raise GoTemplateError(
                "templates call each other too deeply", self.tree.source, 0
            ) from None
        return b"".join(run.output)


def render(source: str, data: Mapping[str, object], *, today: date | None = None) -> str:
    """Parse a template and render it."""
    return GoTemplate(source).render(data, today=today)


@dataclass(frozen=True, slots=True)
class _TailCall:
    """A {{template}} that is the last action of its caller.

    Go templates loop by calling themselves once per character, which is the only way to trim a
    string: returning the call instead of nesting it keeps Python's stack flat.
    """

    body: tuple[Node, ...]
    dot: Value
    depth: int


class _Jump(Exception):  # noqa: N818 - control flow of the template, not an error
    def __init__(self, breaks: bool) -> None:
        self.breaks = breaks


_NOTHING = object()  # "no value comes down the pipeline", which is not the same as nil


class _Run:
    """One rendering: the output so far and the variables in scope, innermost last."""

    def __init__(self, tree: TemplateTree, today: date, memory: RenderMemory) -> None:
        self.tree = tree
        self.memory = memory
        self.today = today
        self.output: list[bytes] = []
        self.variables: list[tuple[str, Value]] = []
        self.depth = 0
        self.inside_recursion = False
        self.steps = self.length = 0
        self.deadline = time.monotonic() + limits.GO_SECONDS

    def fail(self, what: str, position: int) -> GoTemplateError:
        return GoTemplateError(what, self.tree.source, position)

    def invoke(self, call: _TailCall | None) -> None:
        """Run a template and its tail calls, each with its own variables."""
        outer, outer_depth = self.variables, self.depth
        while call is not None:
            self.variables = [("", call.dot)]
            self.depth = call.depth
            call = self.walk(call.body, call.dot)
        self.variables, self.depth = outer, outer_depth

    def walk(self, nodes: tuple[Node, ...], dot: Value) -> _TailCall | None:
        call = None
        for node in nodes:
            if call is not None:
                self.invoke(call)
            call = self.step(node, dot)
        return call

    def step(self, node: Node, dot: Value) -> _TailCall | None:
        self.steps += 1
        if self.steps % _CLOCK_STEPS == 0 and time.monotonic() > self.deadline:
            raise self.fail("the template takes too long", 0)
        match node:
            case TextNode(text):
                self.append(text)
            case ActionNode(pipe):
                value = self.pipeline(pipe, dot)
                if not pipe.declares:
                    self.write(value, pipe.position)
            case BranchNode():
                return self.branch(node, dot)
            case RangeNode():
                return self.loop(node, dot)
            case CallNode():
                return self.call(node, dot)
            case JumpNode(breaks):
                raise _Jump(breaks)
        return None

    def append(self, text: bytes) -> None:
        """Write a text; what a cached template wrote is counted once more when it is added."""
        self.length += len(text)
        if self.length > limits.GO_OUTPUT:
            raise self.fail("the template writes a text that is too long", 0)
        self.output.append(text)

    def write(self, value: Value, position: int) -> None:
        try:
            self.append(b"<no value>" if value is None else show(value))
        except CallError as error:
            raise self.fail(str(error), position) from None

    def branch(self, node: BranchNode, dot: Value) -> _TailCall | None:
        scope = len(self.variables)
        value = self.pipeline(node.pipe, dot)
        if is_true(value):
            call = self.walk(node.then, value if node.moves_dot else dot)
        else:
            call = self.walk(node.otherwise, dot)
        del self.variables[scope:]
        return call

    def loop(self, node: RangeNode, dot: Value) -> _TailCall | None:
        scope = len(self.variables)
        items = self.iterate(node.pipe, self.pipeline(node.pipe, dot))
        inner = len(self.variables)
        try:
            for key, item in items:
                self.bind(node.pipe, key, item, scope)
                try:
                    self.invoke_here(self.walk(node.body, item))
                except _Jump as jump:
                    if jump.breaks:
                        break
                finally:
                    del self.variables[inner:]
            return None if items else self.walk(node.otherwise, dot)
        finally:
            del self.variables[scope:]

    def invoke_here(self, call: _TailCall | None) -> None:
        if call is not None:
            self.invoke(call)

    def iterate(self, pipe: PipeNode, value: Value) -> list[tuple[Value, Value]]:
        if value is None:
            return []
        if isinstance(value, list):
            return list(enumerate(value))
        if isinstance(value, dict) and not isinstance(value, Struct):
            return [(key.encode(), item) for key, item in sorted_items(value)]
        if isinstance(value, int) and not isinstance(value, bool):
            if len(pipe.declares) > 1:
                raise self.fail(
                    f"can't use {value} to iterate over more than one variable", pipe.position
                )
            if value > limits.GO_COUNT:
                raise self.fail(f"range counts to more than {limits.GO_COUNT}", pipe.position)
            return [(None, number) for number in range(value)]
        raise self.fail(f"range can't iterate over {type_name(value)}", pipe.position)

    def bind(self, pipe: PipeNode, key: Value, item: Value, scope: int) -> None:
        names = pipe.declares
        for index, value in enumerate((key, item) if len(names) == 2 else (item,)):
            if index >= len(names):
                break
            if pipe.assigns:
                self.assign(names[index], value)
            else:
                self.variables[scope + index] = (names[index], value)

    def assign(self, name: str, value: Value) -> None:
        for index in range(len(self.variables) - 1, -1, -1):
            if self.variables[index][0] == name:
                self.variables[index] = (name, value)
                return

    def call(self, node: CallNode, dot: Value) -> _TailCall | None:
        body = self.tree.defined.get(node.name)
        if body is None:
            raise self.fail(f'template "{node.name}" not defined', node.position)
        if self.depth >= limits.GO_DEPTH:
            raise self.fail(f"exceeded maximum template depth ({limits.GO_DEPTH})", node.position)
        value = self.pipeline(node.pipe, dot) if node.pipe else None
        call = _TailCall(body, value, self.depth + 1)
        calls_itself = node.name in self.memory.recursive
        if not isinstance(value, bytes) or (calls_itself and self.inside_recursion):
            return call
        written = self.memory.get(node.name, value, self.today)
        if written is None:
            start, outer = len(self.output), self.inside_recursion
            # Cache a recursive template where others call it; caching its own calls would nest.
            self.inside_recursion = outer or calls_itself
            self.invoke(call)
            self.inside_recursion = outer
            written = b"".join(self.output[start:])
            del self.output[start:]
            self.memory.put(node.name, value, self.today, written)
        self.append(written)
        return None

    # ---------------------------------------------------------------------------- expressions

    def pipeline(self, pipe: PipeNode, dot: Value) -> Value:
        value: Value = _NOTHING
        for command in pipe.commands:
            value = self.command(command, dot, value)
        for name in pipe.declares:
            if pipe.assigns:
                self.assign(name, value)
            else:
                self.variables.append((name, value))
        return value

    def command(self, command: CommandNode, dot: Value, piped: Value) -> Value:
        first, *others = command.operands
        if isinstance(first, FunctionNode):
            return self.function(first.name, others, dot, piped, command.position)
        if others or piped is not _NOTHING:
            raise self.fail("can't give argument to non-function", command.position)
        if isinstance(first, NilNode):
            raise self.fail("nil is not a command", command.position)
        return self.operand(first, dot, command.position)

    def function(
        self, name: str, operands: list[Operand], dot: Value, piped: Value, position: int
    ) -> Value:
        if name in ("and", "or"):
            return self.short_circuit(name, operands, dot, piped, position)
        arguments = [self.operand(operand, dot, position) for operand in operands]
        if piped is not _NOTHING:
            arguments.append(piped)
        if name in ("currentDate", "yesterdayDate"):
            if not all(isinstance(argument, bytes) for argument in arguments):
                raise self.fail(f"{name} takes strings only", position)
            return (self.today - timedelta(days=name == "yesterdayDate")).isoformat().encode()
        try:
            result = call_builtin(name, arguments)
            if isinstance(result, bytes) and len(result) > limits.GO_TEXT:
                raise CallError("the text is too long")
            return result
        except CallError as error:
            raise self.fail(f"error calling {name}: {error}", position) from None

    def short_circuit(
        self, name: str, operands: list[Operand], dot: Value, piped: Value, position: int
    ) -> Value:
        if not operands and piped is _NOTHING:
            raise self.fail(f"wrong number of args for {name}: want at least 1 got 0", position)
        value = None
        for operand in operands:
            value = self.operand(operand, dot, position)
            if is_true(value) == (name == "or"):
                return value
        return value if piped is _NOTHING else piped

    def operand(self, operand: Operand, dot: Value, position: int) -> Value:
        match operand:
            case ConstantNode(value):
                return value
            case NilNode():
                return None
            case DotNode():
                return dot
            case FieldNode(names):
                return self.fields(dot, names, position)
            case VariableNode(name, names):
                return self.fields(self.lookup(name, position), names, position)
            case FunctionNode(name):
                return self.function(name, [], dot, _NOTHING, position)
            case ChainNode(start, names):
                return self.fields(self.operand(start, dot, position), names, position)
            case PipeNode():
                return self.pipeline(operand, dot)

    def lookup(self, name: str, position: int) -> Value:
        for known, value in reversed(self.variables):
            if known == name:
                return value
        raise self.fail(f"undefined variable: ${name}", position)  # in its own declaration

    def fields(self, value: Value, names: tuple[str, ...], position: int) -> Value:
        for index, name in enumerate(names):
            if value is None:
                if index:
                    raise self.fail(f"nil pointer evaluating interface {{}}.{name}", position)
            elif isinstance(value, Struct) and name not in value:
                raise self.fail(f"can't evaluate field {name}", position)
            elif isinstance(value, dict):
                value = value.get(name)
            elif isinstance(value, JsonList) and name == "String":
                value = to_json(value)
            else:
                raise self.fail(f"can't evaluate field {name} in type {type_name(value)}", position)
        return value


class RenderMemory:
    """The output of templates for the string they were called with, which is their only input.

    A TEMPLATE walks JSON and texts character by character, and a proof renders the same ones
    repeatedly, in one TEMPLATE after another. Definitions that are equal in several TEMPLATEs share
    their results.
    """

    LARGEST = 20_000
    _numbers: ClassVar[dict[object, int]] = {}
    _known: ClassVar[dict[tuple[int, bytes, date], bytes]] = {}

    def __init__(self, tree: TemplateTree) -> None:
        self._calls = {name: set(_called(body)) for name, body in tree.defined.items()}
        self._shapes = {name: _shape(body) for name, body in tree.defined.items()}
        self._own: dict[str, int] = {}
        self.recursive = {name for name in self._calls if _reaches(name, name, self._calls)}

    def number(self, name: str) -> int:
        """Return the number shared by all templates with the same source, including the templates
        they call.
        """
        if name not in self._own:
            needed = sorted(
                other
                for other in self._calls
                if other == name or _reaches(name, other, self._calls)
            )
            shape = name, tuple((other, self._shapes[other]) for other in needed)
            self._own[name] = self._numbers.setdefault(shape, len(self._numbers))
        return self._own[name]

    def get(self, name: str, value: bytes, today: date) -> bytes | None:
        return self._known.get((self.number(name), value, today))

    def put(self, name: str, value: bytes, today: date, written: bytes) -> None:
        if len(self._known) >= self.LARGEST:
            self._known.clear()
        self._known[self.number(name), value, today] = written


def _shape(node: object) -> object:
    """Return a part of a tree without source positions, to compare it with others."""
    if isinstance(node, tuple):
        return tuple(map(_shape, node))
    if not is_dataclass(node) or isinstance(node, type):
        # without the type, True would equal 1
        return type(node).__name__, node
    inner = (
        _shape(getattr(node, field.name)) for field in fields(node) if field.name != "position"
    )
    return type(node).__name__, *inner


def _called(nodes: tuple[Node, ...]) -> Iterator[str]:
    for node in nodes:
        match node:
            case CallNode():
                yield node.name
            case BranchNode():
                yield from _called(node.then + node.otherwise)
            case RangeNode():
                yield from _called(node.body + node.otherwise)


def _reaches(start: str, goal: str, calls: Mapping[str, set[str]]) -> bool:
    seen: set[str] = set()
    todo = [*calls.get(start, ())]
    while todo:
        name = todo.pop()
        if name == goal:
            return True
        if name not in seen:
            seen.add(name)
            todo += calls.get(name, ())
    return False
