"""Render the subset of Go's text/template that a Modelfile TEMPLATE uses, as Go renders it.

Strings are UTF-8 bytes inside (`len` and `slice` count bytes). Unsupported constructs (html, js,
call, complex numbers, methods) raise an error with their position; they never render differently.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, timedelta
from typing import ClassVar

from lora_studio.core import limits
from lora_studio.core.templates.go.functions import (
    CallError,
    JsonList,
    JsonMap,
    Struct,
    Value,
    call_builtin,
    from_python,
    is_true,
    show,
    sorted_items,
    to_json,
    type_name,
)
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
