"""Values as Python source, laid out as formatters do."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

#: Columns of a line, as formatters have them by default.
WIDTH = 88

#: Columns that a list may take within a line; a longer one gets a line for each of its items.
_INLINE = 48


def literal(value: Any, indent: int = 0) -> str:
    """A plain value as it is written in Python; what stands on lines of its own is indented from
    `indent`. Raises ValueError for values that have no literal."""
    match value:
        case None | bool() | int() | float():
            return repr(value)
        case str():
            return json.dumps(value, ensure_ascii=False)
        case list() | tuple():
            ends = "[]" if isinstance(value, list) else "()"
            return _bracketed(ends, [literal(item, indent + 4) for item in value], indent)
        case dict():
            items = [f"{literal(k)}: {literal(v, indent + 4)}" for k, v in value.items()]
            return _bracketed("{}", items, indent)
    raise ValueError(f"{type(value).__name__} is no plain value")


def call(head: str, arguments: Iterable[str]) -> str:
    """A call on one line, with all arguments on the next, or with a line for each of them; `head` is
    what stands before it."""
    given = list(arguments)
    together = ", ".join(given)
    if "\n" not in together:
        if len(inline := f"{head}({together})") <= WIDTH:
            return inline
        if 4 + len(together) <= WIDTH:
            return f"{head}(\n    {together}\n)"
    return f"{head}(\n" + "".join(f"    {argument},\n" for argument in given) + ")"


def assignment(name: str, value: Any) -> str:
    """What stands behind `NAME = `; in brackets where that is what makes it fit its line."""
    text = literal(value)
    if len(name) + 3 + len(text) > WIDTH >= 4 + len(text):
        return f"(\n    {text}\n)"
    return text


def _bracketed(ends: str, items: list[str], indent: int) -> str:
    inline = ", ".join(items)
    if len(items) == 1 and ends == "()":
        inline += ","
    if len(inline) <= _INLINE and "\n" not in inline:
        return f"{ends[0]}{inline}{ends[1]}"
    pad = " " * indent
    lines = "".join(f"{pad}    {item},\n" for item in items)
    return f"{ends[0]}\n{lines}{pad}{ends[1]}"
