"""Limits of the methods, filters, and operators of a chat template, by the size of their results."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from lora_studio.core.templates.rendering_budget import (
    LONG,
    TemplateLimitError,
    build,
    check_searched,
    measure,
    measure_deep,
)

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
