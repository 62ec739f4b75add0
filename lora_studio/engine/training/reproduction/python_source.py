"""Format values as Python source, in the layout of common formatters."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

#: Maximum columns of a line, the default of formatters.
WIDTH = 88

#: Maximum columns of a list within a line; a longer one gets a line for each item.
_INLINE = 48


def format_literal(value: Any, indent: int = 0) -> str:
    """Return the Python literal of a value; items on lines of their own are indented from `indent`.

    Raises ValueError for values that have no literal.
    """
    match value:
        case None | bool() | int() | float():
            return repr(value)
        case str():
            return _format_text(value)
        case list() | tuple():
            ends = "[]" if isinstance(value, list) else "()"
            return _format_bracketed(
                ends, [format_literal(item, indent + 4) for item in value], indent
            )
        case dict():
            items = [
                f"{format_literal(k)}: {format_literal(v, indent + 4)}" for k, v in value.items()
            ]
            return _format_bracketed("{}", items, indent)
    raise ValueError(f"{type(value).__name__} has no Python literal")


def format_call(head: str, arguments: Iterable[str], indent: int = 0, end: int = 0) -> str:
    """Return a call on one line, with all arguments on the next, or with a line for each of them.

    `head` is everything before the opening parenthesis. Further lines are indented from `indent`; the
    first one has room for `end` columns after it.
    """
    items, pad = list(arguments), " " * indent
    joined = ", ".join(items)
    if "\n" not in joined:
        if len(inline := f"{head}({joined})") + end <= WIDTH:
            return inline
        if indent + 4 + len(joined) <= WIDTH:
            return f"{head}(\n{pad}    {joined}\n{pad})"
    return f"{head}(\n" + "".join(f"{pad}    {item},\n" for item in items) + f"{pad})"


def _format_text(value: str) -> str:
    """Return the literal of a text, in the quotes that need fewer backslashes."""
    quoted = json.dumps(value, ensure_ascii=False)
    if value.count('"') <= value.count("'"):
        return quoted
    inner = quoted[1:-1].replace('\\"', '"').replace("'", "\\'")
    return f"'{inner}'"


def format_assignment(name: str, value: Any) -> str:
    """Return the right-hand side of `name = value`, in parentheses if it doesn't fit without them."""
    text = format_literal(value)
    if len(name) + 3 + len(text) > WIDTH >= 4 + len(text):
        return f"(\n    {text}\n)"
    return text


def _format_bracketed(ends: str, items: list[str], indent: int) -> str:
    inline = ", ".join(items)
    if len(items) == 1 and ends == "()":
        inline += ","
    if len(inline) <= _INLINE and "\n" not in inline:
        return f"{ends[0]}{inline}{ends[1]}"
    pad = " " * indent
    lines = "".join(f"{pad}    {item},\n" for item in items)
    return f"{ends[0]}\n{lines}{pad}{ends[1]}"
