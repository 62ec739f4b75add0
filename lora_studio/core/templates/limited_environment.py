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
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from types import BuiltinMethodType
from typing import Any, TypeVar, cast

import jinja2
from jinja2 import nodes
from jinja2.runtime import Context, Macro, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from lora_studio.core import limits

#: A number that is too large for a width, or a width that is a value, in a text with fields as `%s`.
_PERCENT_WIDTH = re.compile(r"\d{6,}|%(\([^)]*\))?[-+ #0]*\d*\.?\*")
#: The same in a text with fields as `{}`.
_BRACE_WIDTH = re.compile(r"\d{6,}|\{[^{}]*:[^{}]*\{")


def _limit_repeated(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        _limit_power(2, left.bit_length() + right.bit_length())
    for value, times in ((left, right), (right, left)):
        if isinstance(times, int):
            build(measure_deep(value) * max(0, times) if measure(value) else 0)


def limit_percent_format(template: Any, *values: Any, **named: Any) -> None:
    """Check the size of a text with fields as `%s`, for the operator `%` and the filter `format`."""
    if isinstance(template, str):
        _limit_format(_PERCENT_WIDTH, template, template.count("%"), (*values, *named.values()))


def limit_brace_format(template: str, *values: Any, **named: Any) -> None:
    """Check the size of a text with fields as `{}`, for the methods `format` and `format_map`."""
    plain = template.replace("{{", "")
    _limit_format(_BRACE_WIDTH, plain, plain.count("{"), (*values, *named.values()))


def _limit_format(
    width: re.Pattern[str], template: str, fields: int, values: tuple[Any, ...]
) -> None:
    if width.search(template):
        raise TemplateLimitError("the chat template formats with a width that is too large")
    build(len(template) + fields * max(map(measure_deep, values), default=0))


def _limit_power(base: Any, exponent: Any) -> None:
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * exponent > 16384:
        raise TemplateLimitError("the chat template computes a number that is too large")


def _limit_rounded(_: Any, precision: Any = 0, *__: Any, **___: Any) -> None:
    _limit_power(10, precision)


def _limit_sum(_: Any, attribute: Any = None, start: Any = 0) -> None:
    if not isinstance(start, int | float):
        raise TemplateLimitError("the chat template adds lists with “sum”")


def _limit_slow(text: Any, *_: Any, **__: Any) -> None:
    if measure_deep(text) > LONG:
        raise TemplateLimitError("the chat template takes too long")


def limit_searched(_: Any, items: Any = ()) -> None:
    check_searched(items)


OPERATORS: dict[str, Callable[[Any, Any], None]] = {
    "*": _limit_repeated, "**": _limit_power,
}  # fmt: skip


def _limit_replaced(text: Any, old: Any = "", new: Any = "", *_: Any, **__: Any) -> None:
    text, old, new = str(text), str(old), str(new)
    if len(new) <= len(old) and len(text) <= LONG:
        return
    times = text.count(old) if old else len(text) + 1
    build(len(text) + times * max(0, len(new) - len(old)))


def limit_joined(separator: Any, parts: Any = (), *_: Any, **__: Any) -> None:
    if isinstance(parts, list | tuple):
        build(sum(measure_deep(part) + measure(separator) for part in parts))


def _limit_width(_: Any, width: Any = 0, *__: Any, **named: Any) -> None:
    width = named.get("width", named.get("linecount", named.get("slices", width)))
    build(width if isinstance(width, int) else measure(width))


def _limit_tabs(text: Any, width: Any = 8, *_: Any, **named: Any) -> None:
    width = named.get("tabsize", named.get("width", width))
    breaks = str(text).count("\t") + str(text).count("\n") + 1
    build(measure(text) + breaks * (width if isinstance(width, int) else measure(width)))


#: Methods of strings, and filters, whose result can be much longer than the string.
METHODS: dict[str, Callable[..., None]] = {
    "center": _limit_width, "ljust": _limit_width, "rjust": _limit_width, "zfill": _limit_width,
    "replace": _limit_replaced, "join": limit_joined, "expandtabs": _limit_tabs,
}  # fmt: skip
#: Methods of strings whose result is never longer, and that call nothing else.
SHORTENING = frozenset(("strip", "lstrip", "rstrip", "startswith", "endswith", "lower", "upper"))
FILTERS: dict[str, Callable[..., None]] = {
    "center": _limit_width, "batch": _limit_width, "slice": _limit_width,
    "replace": _limit_replaced, "indent": _limit_tabs, "format": limit_percent_format,
    "round": _limit_rounded, "sum": _limit_sum,
    "pprint": _limit_slow, "striptags": _limit_slow, "title": _limit_slow, "urlencode": _limit_slow,
    "urlize": _limit_slow, "wordcount": _limit_slow, "wordwrap": _limit_slow, "xmlattr": _limit_slow,
}  # fmt: skip
#: Methods that make bytes, of which nothing is counted, or texts of any length; templates need none.
UNCOUNTED = frozenset(("encode", "maketrans", "to_bytes", "translate"))


#: Texts that one expression may write without counting them first.
_WRITTEN = 4
_PLAIN_TEXT = {str}

_NodeT = TypeVar("_NodeT", bound=nodes.Node)


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
    build(length)
    return "".join(texts)


def _add(*operands: Any) -> Any:
    """Return the sum of all operands, and check its size."""
    if len(operands) <= _WRITTEN and set(map(type, operands)) == _PLAIN_TEXT:
        text = "".join(operands)
        build(len(text))
        return text
    total, *others = operands
    for other in others:
        build(measure(total) + measure(other))
        total = total + other
    return check_value(total)


def _modulo(left: Any, right: Any) -> Any:
    """Return a remainder, or a formatted text after checking its size."""
    if type(left) is not int:
        limit_percent_format(left, right)
    return left % right


def _count_output(part: Any) -> Any:
    """Count a part of a text that is collected before it is joined, as in a macro."""
    build(measure(part))
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

    def visit_List(self, node: Any) -> nodes.Expr:  # noqa: N802 - likewise
        self.generic_visit(node)
        is_constant = isinstance(node, nodes.List | nodes.Tuple) and all(
            isinstance(item, nodes.Const) for item in node.items
        )
        is_read = getattr(node, "ctx", "load") == "load"  # else the names that a loop assigns
        return _filter(node, "_check_value") if is_read and not is_constant else node

    visit_Tuple = visit_Dict = visit_List  # noqa: N815

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Expr:  # noqa: N802 - likewise
        self.generic_visit(node)
        return _filter(node, "_check_copy") if isinstance(node.arg, nodes.Slice) else node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Compare:  # noqa: N802 - likewise
        self.generic_visit(node)
        for operand in node.ops:
            if operand.op in ("in", "notin") and not isinstance(
                operand.expr, nodes.List | nodes.Tuple
            ):
                operand.expr = _filter(operand.expr, "_check_searched")
        return node

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


#: What jinja passes to every call inside of a loop or block.
_JINJA_VARIABLES = {"_loop_vars", "_block_vars"}
#: Filters that yield an item for each one that they get.
_ITEM_FILTERS = (
    "batch", "map", "reject", "rejectattr", "select", "selectattr", "slice", "unique",
)  # fmt: skip


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
        parts = list(count_rounds(value))
        if attribute is None:
            limit_joined(d, parts)
        return original(context, parts, d, attribute)

    return checked


def _limited_list(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def checked(context: Any, value: Iterable[Any]) -> Any:
        return check_value(original(context, count_rounds(value)))

    return checked


def _stepping(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter of items that takes a step for each."""

    @functools.wraps(original)
    def stepping(*arguments: Any, **named: Any) -> Any:
        return count_rounds(original(*arguments, **named))

    return stepping


def _checking_copy(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter whose results are counted if they are long."""

    @functools.wraps(original)
    def checking(*arguments: Any, **named: Any) -> Any:
        return check_copy(original(*arguments, **named))

    return checking


class _Namespace(Namespace):
    """A namespace that doesn't write its values, which may be long."""

    def __repr__(self) -> str:
        return "<Namespace>"


class LimitedEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox whose templates have a budget; render inside `limit_rendering`."""

    intercepted_binops = frozenset(OPERATORS)
    concat = staticmethod(_concatenate)

    def __init__(self, **settings: Any) -> None:
        """Create the environment with Jinja's settings."""
        super().__init__(**settings)
        del self.globals["lipsum"]
        self.globals["namespace"] = _Namespace
        for name, limit in FILTERS.items():
            self.filters[name] = _limited(self.filters[name], limit)
        for name in _ITEM_FILTERS:
            self.filters[name] = _stepping(self.filters[name])
        self.filters["list"] = _limited_list(self.filters["list"])
        self.filters["join"] = _limited_join(self.filters["join"])
        self.filters = {name: _checking_copy(each) for name, each in self.filters.items()}
        self.filters |= {
            "_count_rounds": count_rounds, "_concatenate": _concatenate, "_add": _add,
            "_modulo": _modulo, "_count_output": _count_output, "_check_value": check_value,
            "_check_copy": check_copy, "_check_searched": check_searched, "tojson": to_json,
        }  # fmt: skip
        self.tests["in"] = _limited(cast(Callable[..., Any], self.tests["in"]), limit_searched)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Return whether a template may use an attribute."""
        return attr not in UNCOUNTED and super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Return a function for a method `format` of a text that checks the size first, else None."""
        if (original := super().wrap_str_format(value)) is None:
            return None
        return _limited(original, functools.partial(limit_brace_format, value.__self__))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute a binary operator after checking the size of its result."""
        OPERATORS[operator](left, right)
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, function: Any, /, *arguments: Any, **named: Any) -> Any:
        """Call a function after taking a step and checking the size of its result."""
        take_steps(1)
        if type(function) is BuiltinMethodType and type(text := function.__self__) is str:
            if (name := function.__name__) in SHORTENING and named.keys() <= _JINJA_VARIABLES:
                return (
                    check_copy(function(*arguments)) if len(text) > LONG else function(*arguments)
                )
            self._limit_method(text, name, arguments, named)
        elif isinstance(text := getattr(function, "__self__", None), str):  # Markup
            self._limit_method(text, str(function.__name__), arguments, named)
        elif type(function) is Macro:
            check_value([*arguments, *(named[name] for name in named.keys() - _JINJA_VARIABLES)])
        result = super().call(context, function, *arguments, **named)
        return check_value(result) if type(result) in (dict, list) else check_copy(result)

    @staticmethod
    def _limit_method(
        text: str, name: str, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> None:
        if len(text) > LONG:
            check_clock()
        if (limit := METHODS.get(name)) is not None:
            limit(text, *arguments, **named)

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
    if measure(indent) > limits.TEMPLATE_INDENT or (
        isinstance(indent, int) and indent > limits.TEMPLATE_INDENT
    ):
        raise TemplateLimitError("the chat template indents JSON too much")
    written = json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
    build(len(written))
    return written


#: Steps between two looks at the clock, and the length of a text that counts as so many.
_CLOCK_STEPS, LONG = 1024, 100_000

#: Items of a collection that are measured in the time of about a step.
_ITEMS_PER_STEP = 16

#: Values that contain no others, and the usual ones that do.
PLAIN = frozenset((str, int, float, bool, type(None)))
_COLLECTIONS = frozenset((list, tuple, dict))


def measure(value: object) -> int:
    """Return the length of a text or collection, 0 for anything else."""
    return len(value) if isinstance(value, str | bytes | list | tuple | dict) else 0


def measure_deep(value: Any) -> int:
    """Return about how long a value is as text, a length beyond the limit for anything longer.

    A list may contain another one twice, that one a third one twice, and so on: each level doubles the
    text, the JSON, and the time to compare, and none of them takes memory before.
    """
    if type(value) in PLAIN:
        return _measure_plain(value)
    return (_budget.get(None) or _Budget()).measure(value)


def _is_collection(value: object) -> bool:
    kind = type(value)
    if kind in PLAIN or kind in _COLLECTIONS:  # many times as fast as the general case
        return kind in _COLLECTIONS
    return isinstance(value, Collection) and not isinstance(value, str)


def _list_parts(collection: Any) -> list[Any]:
    return [*collection, *collection.values()] if isinstance(collection, dict) else [*collection]


def _measure_plain(value: object) -> int:
    if isinstance(value, str):
        return len(value)
    return value.bit_length() // 3 if isinstance(value, int) else 8


class TemplateLimitError(jinja2.TemplateError):
    """Raised by a template that would take too much time or memory."""


class _Budget:
    """What is left for one rendering."""

    def __init__(self) -> None:
        self._steps, self._total = 0, 0
        self._deadline = time.monotonic() + limits.TEMPLATE_SECONDS
        # Collections inside of measured ones, such as messages, by their ID, and their length. Templates
        # can't change them.
        self._measured: dict[int, tuple[object, int]] = {}
        self._measured_length = 0

    def take_steps(self, count: int) -> None:
        before, self._steps = self._steps, self._steps + count
        if before // _CLOCK_STEPS != self._steps // _CLOCK_STEPS:
            self.check_clock()

    def build(self, length: int) -> None:
        self._total += length
        if length > limits.TEMPLATE_LENGTH or self._total > limits.TEMPLATE_TOTAL:
            raise TemplateLimitError("the chat template builds a text that is too long")
        if length > LONG:
            self.check_clock()

    def measure(self, value: Any) -> int:
        """Return the length of a collection with everything inside of it, or beyond the limit."""
        if not _is_collection(value):
            return _measure_plain(value)
        parts = _list_parts(value)
        self.take_steps(len(parts) // _ITEMS_PER_STEP)
        length = 2 + len(value)
        for part in parts:
            known = self._measured.get(id(part))
            length += self._measure_part(part) if known is None else known[1]
            if length > limits.TEMPLATE_LENGTH:
                break
        return length

    def _measure_part(self, part: Any) -> int:
        if not _is_collection(part):
            return 2 + _measure_plain(part)
        length, visited, pending = 0, 0, [part]
        while pending and length <= limits.TEMPLATE_LENGTH:
            item = pending.pop()
            visited += 1
            if not _is_collection(item):
                length += 2 + _measure_plain(item)
                continue
            length += 2 + len(item)
            if length <= limits.TEMPLATE_LENGTH:
                pending += _list_parts(item)
        self.take_steps(visited // _ITEMS_PER_STEP)
        self._measured_length += length
        if self._measured_length > limits.TEMPLATE_LENGTH:  # they can't be freed meanwhile
            self._measured.clear()
            self._measured_length = length
        self._measured[id(part)] = part, length
        return length

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


def take_steps(count: int) -> None:
    """Count steps, such as calls and rounds of loops."""
    if (budget := _budget.get(None)) is not None:
        budget.take_steps(count)


def check_clock() -> None:
    """Raise TemplateLimitError if the rendering has taken too long."""
    if (budget := _budget.get(None)) is not None:
        budget.check_clock()


def build(length: int) -> None:
    """Count a text or list before it is built; constants are folded outside of renderings."""
    (_budget.get(None) or _Budget()).build(length)


def check_value(value: Any) -> Any:
    """Pass on a value that was built of others, after checking its size with everything inside of it."""
    if type(value) not in PLAIN:
        length = measure_deep(value)
        if length > limits.TEMPLATE_LENGTH:
            raise TemplateLimitError("the chat template builds a list that is too long")
    return value


def check_copy(value: Any) -> Any:
    """Pass on a result that may be a copy of a long text or list, and count it."""
    if (length := measure(value)) > LONG:
        build(length)
    return value


def check_searched(value: Any) -> Any:
    """Pass on what is searched or compared, and take steps for its items; a dictionary is searched at once."""
    if isinstance(value, str | list | tuple) and len(value) > 64:
        if len(value) > LONG:
            check_clock()
        take_steps(len(value) // (4096 if isinstance(value, str) else 64))
    return value


def count_rounds(items: Any) -> Any:
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
