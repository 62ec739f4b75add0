"""Jinja's sandbox with limits on time and memory, for templates from anybody.

The sandbox keeps a template from Python's internals, but not from doubling a string until memory
ends or from looping for hours. Here each rendering has a budget of steps, of seconds, and of
characters. Constructs that build strings or repeat work are counted before they do so.
"""

from __future__ import annotations

import contextlib
import contextvars
import copy
import functools
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import BuiltinMethodType
from typing import Any, TypeVar, cast

import jinja2
from jinja2 import nodes
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from lora_studio.core import limits

#: Steps between two looks at the clock, and the length of a text that counts as so many.
_CLOCK_STEPS, _LONG = 1024, 100_000

#: Texts that one expression may write without counting them first.
_WRITTEN = 4
_PLAIN_TEXT = {str}

_NodeT = TypeVar("_NodeT", bound=nodes.Node)

#: Number in a format string that is too large for a width.
_WIDTH = re.compile(r"\d{6,}")


class TemplateLimitError(jinja2.TemplateError):
    """Raised by a template that would take too much time or memory."""


class _Budget:
    """What is left for one rendering."""

    def __init__(self) -> None:
        self._steps, self._total = 0, 0
        self._deadline = time.monotonic() + limits.TEMPLATE_SECONDS

    def take_steps(self, count: int) -> None:
        before, self._steps = self._steps, self._steps + count
        if before // _CLOCK_STEPS != self._steps // _CLOCK_STEPS:
            self.check_clock()

    def build(self, length: int) -> None:
        self._total += length
        if length > limits.TEMPLATE_LENGTH or self._total > limits.TEMPLATE_TOTAL:
            raise TemplateLimitError("the chat template builds a text that is too long")
        if length > _LONG:
            self.check_clock()

    def check_clock(self) -> None:
        if self._steps > limits.TEMPLATE_STEPS or time.monotonic() > self._deadline:
            raise TemplateLimitError("the chat template takes too long")


_budget: contextvars.ContextVar[_Budget] = contextvars.ContextVar("budget")


@contextlib.contextmanager
def limit_rendering() -> Iterator[None]:
    """Give the renderings inside one budget."""
    token = _budget.set(_Budget())
    try:
        yield
    finally:
        _budget.reset(token)


def _build(length: int) -> None:
    """Count a text or list before it is built; constants are folded outside of renderings."""
    (_budget.get(None) or _Budget()).build(length)


def _measure(value: object) -> int:
    return len(value) if isinstance(value, str | bytes | list | tuple | dict) else 0


def _count_rounds(items: Any) -> Any:
    """Pass on the items of a loop, and take a step for each."""
    budget = _budget.get(None)
    if budget is None or isinstance(items, Undefined):
        return items
    if type(items) in (list, tuple, dict, str) and len(items) <= _CLOCK_STEPS:
        budget.take_steps(len(items))  # ten times as fast as one by one
        return items
    return _step(items, budget)


def _step(items: Iterable[Any], budget: _Budget) -> Iterator[Any]:
    for item in items:
        budget.take_steps(1)
        yield item


def _concatenate(parts: Iterable[Any]) -> str:
    """Join the parts of a text; ends as soon as they are too long."""
    texts: list[str] = []
    length = 0
    for part in parts:
        text = part if isinstance(part, str) else str(part)
        texts.append(text)
        length += len(text)
        if length > limits.TEMPLATE_LENGTH:
            break
    _build(length)
    return "".join(texts)


def _add(*operands: Any) -> Any:
    """Return the sum of all operands, and check its size."""
    if len(operands) <= _WRITTEN and set(map(type, operands)) == _PLAIN_TEXT:
        text = "".join(operands)
        _build(len(text))
        return text
    total, *others = operands
    for other in others:
        _build(_measure(total) + _measure(other))
        total = total + other
    return total


def _modulo(left: Any, right: Any) -> Any:
    """Return a remainder, or a formatted text after checking its size."""
    if type(left) is not int:
        _limit_formatted(left)
    return left % right


def _count_output(part: Any) -> Any:
    """Count a part of a text that is collected before it is joined, as in a macro."""
    _build(_measure(part))
    return part


class _Counting(NodeTransformer):
    """Lets the loops, sums and concatenations of a template be counted.

    What is only written at once isn't counted when it is computed: no expression can use it again,
    and `_concatenate` counts it. Nearly all sums of chat templates are of that kind.
    """

    def __init__(self) -> None:
        self._collectors = 0  # blocks around the node whose text is a value

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802 - jinja calls it
        node = self._collect(node) if node.recursive else self._visit_children(node)
        node.iter = _filter(node.iter, "_count_rounds")
        return node

    def visit_Output(self, node: nodes.Output) -> nodes.Output:  # noqa: N802 - likewise
        if self._collectors:
            self.generic_visit(node)
            node.nodes = [
                part if isinstance(part, nodes.TemplateData) else _filter(part, "_count_output")
                for part in node.nodes
            ]
        else:
            node.nodes = [
                self._visit_written(part)
                if _count_variables(part) <= _WRITTEN
                else self.visit(part)
                for part in node.nodes
            ]
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802 - likewise
        self.generic_visit(node)
        return _filter(nodes.List(node.nodes, lineno=node.lineno), "_concatenate")

    def visit_Add(self, node: nodes.Add) -> nodes.Filter:  # noqa: N802 - likewise
        operands: list[nodes.Expr] = []
        first: nodes.Expr = node
        while isinstance(first, nodes.Add):
            operands.append(first.right)
            first = first.left
        first, *others = [self.visit(operand) for operand in (first, *reversed(operands))]
        return _filter(first, "_add", others)

    def visit_Mod(self, node: nodes.Mod) -> nodes.Filter:  # noqa: N802 - likewise
        return _filter(self.visit(node.left), "_modulo", [self.visit(node.right)])

    def _visit_written(self, node: Any) -> Any:
        """Visit what is only written: its sums stay as they are."""
        if isinstance(node, nodes.Add):
            node.left, node.right = self._visit_written(node.left), self._visit_written(node.right)
        elif isinstance(node, nodes.Concat):
            node.nodes = [self._visit_written(part) for part in node.nodes]
        else:
            return self.visit(node)
        return node

    def _collect(self, node: _NodeT) -> _NodeT:
        self._collectors += 1
        try:
            return self._visit_children(node)
        finally:
            self._collectors -= 1

    # Named as jinja calls them.
    visit_Macro = visit_CallBlock = visit_FilterBlock = visit_AssignBlock = _collect  # noqa: N815

    def _visit_children(self, node: _NodeT) -> _NodeT:
        self.generic_visit(node)
        return node


def _count_variables(node: nodes.Node) -> int:
    """Return how many operands of sums and concatenations aren't constant."""
    if isinstance(node, nodes.Add):
        return _count_variables(node.left) + _count_variables(node.right)
    if isinstance(node, nodes.Concat):
        return sum(map(_count_variables, node.nodes))
    return 0 if isinstance(node, nodes.Const) else 1


def _filter(node: nodes.Node, name: str, arguments: Sequence[nodes.Expr] = ()) -> nodes.Filter:
    expression = cast(nodes.Expr, node)
    return nodes.Filter(expression, name, list(arguments), [], None, None, lineno=node.lineno)


def _limit_repeated(left: Any, right: Any) -> None:
    for value, times in ((left, right), (right, left)):
        if isinstance(times, int):
            _build(_measure(value) * max(0, times))


def _limit_formatted(template: Any, *_: Any, **__: Any) -> None:
    if isinstance(template, str):
        if _WIDTH.search(template) or "*" in template:
            raise TemplateLimitError("the chat template formats with a width that is too large")
        _build(len(template))


def _limit_power(base: Any, exponent: Any) -> None:
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * exponent > 4096:
        raise TemplateLimitError("the chat template computes a number that is too large")


_OPERATORS: dict[str, Callable[[Any, Any], None]] = {
    "*": _limit_repeated, "**": _limit_power,
}  # fmt: skip


def _limit_replaced(text: Any, old: Any = "", new: Any = "", *_: Any, **__: Any) -> None:
    text, old, new = str(text), str(old), str(new)
    if len(new) <= len(old) and len(text) <= _LONG:
        return
    times = text.count(old) if old else len(text) + 1
    _build(len(text) + times * max(0, len(new) - len(old)))


def _limit_joined(separator: Any, parts: Any = (), *_: Any, **__: Any) -> None:
    if isinstance(parts, list | tuple):
        _build(sum(_measure(part) + _measure(separator) for part in parts))


def _limit_width(_: Any, width: Any = 0, *__: Any, **named: Any) -> None:
    width = named.get("width", named.get("linecount", named.get("slices", width)))
    _build(width if isinstance(width, int) else _measure(width))


def _limit_tabs(text: Any, width: Any = 8, *_: Any, **named: Any) -> None:
    width = named.get("tabsize", named.get("width", width))
    breaks = str(text).count("\t") + str(text).count("\n") + 1
    _build(_measure(text) + breaks * (width if isinstance(width, int) else _measure(width)))


#: Methods of strings, and filters, whose result can be much longer than the string.
_METHODS: dict[str, Callable[..., None]] = {
    "center": _limit_width, "ljust": _limit_width, "rjust": _limit_width, "zfill": _limit_width,
    "replace": _limit_replaced, "join": _limit_joined, "expandtabs": _limit_tabs,
    "format": _limit_formatted, "format_map": _limit_formatted,
}  # fmt: skip
#: Methods of strings whose result is never longer, and that call nothing else.
_SHORTENING = frozenset(("strip", "lstrip", "rstrip", "startswith", "endswith", "lower", "upper"))
#: What jinja passes to every call inside of a loop or block.
_JINJA_VARIABLES = {"_loop_vars", "_block_vars"}
_FILTERS: dict[str, Callable[..., None]] = {
    "center": _limit_width, "batch": _limit_width, "slice": _limit_width,
    "replace": _limit_replaced, "indent": _limit_tabs, "format": _limit_formatted,
}  # fmt: skip


def _limited(original: Callable[..., Any], limit: Callable[..., None]) -> Callable[..., Any]:
    """Return a filter that checks the size of its result first."""
    skipped = 1 if hasattr(original, "jinja_pass_arg") else 0  # a context before the value

    @functools.wraps(original)
    def checked(*arguments: Any, **named: Any) -> Any:
        limit(*arguments[skipped:], **named)
        return original(*arguments, **named)

    return checked


def _limited_join(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def checked(context: Any, value: Iterable[Any], d: str = "", attribute: Any = None) -> Any:
        parts = list(_count_rounds(value))
        if attribute is None:
            _limit_joined(d, parts)
        return original(context, parts, d, attribute)

    return checked


class LimitedEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox whose templates have a budget; render inside `limit_rendering`."""

    intercepted_binops = frozenset(_OPERATORS)
    concat = staticmethod(_concatenate)

    def __init__(self, **settings: Any) -> None:
        """Create the environment with Jinja's settings."""
        super().__init__(**settings)
        del self.globals["lipsum"]
        self.filters |= {
            "_count_rounds": _count_rounds, "_concatenate": _concatenate, "_add": _add,
            "_modulo": _modulo, "_count_output": _count_output,
        }  # fmt: skip
        self.filters |= {
            name: _limited(self.filters[name], limit) for name, limit in _FILTERS.items()
        }
        self.filters["join"] = _limited_join(self.filters["join"])
        self.filters["tojson"] = to_json

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute a binary operator after checking the size of its result."""
        _OPERATORS[operator](left, right)
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, function: Any, /, *arguments: Any, **named: Any) -> Any:
        """Call a function after taking a step and checking the size of its result."""
        if (budget := _budget.get(None)) is not None:
            budget.take_steps(1)
        if type(function) is BuiltinMethodType and type(text := function.__self__) is str:
            if (name := function.__name__) in _SHORTENING and named.keys() <= _JINJA_VARIABLES:
                return function(*arguments)
            if (limit := _METHODS.get(name)) is not None:
                limit(text, *arguments, **named)
        return super().call(context, function, *arguments, **named)

    def _generate(self, source: nodes.Template, *others: Any, **named: Any) -> Any:
        return super()._generate(_Counting().visit(copy.deepcopy(source)), *others, **named)


def to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Return JSON as transformers' filter `tojson` writes it, which doesn't escape HTML."""
    if _measure(indent) > limits.TEMPLATE_INDENT or (
        isinstance(indent, int) and indent > limits.TEMPLATE_INDENT
    ):
        raise TemplateLimitError("the chat template indents JSON too much")
    written = json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
    _build(len(written))
    return written
