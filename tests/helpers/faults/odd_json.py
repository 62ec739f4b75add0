"""JSON documents in which one value is of a wrong type, missing, or absurd."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

#: A path of keys and indexes in a document.
JsonPath = tuple[str | int, ...]

#: Values that may take the position of any other.
ODD_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 2**31, 2**32 - 1, 2**63, 10**400, 1e308, 0.5, float("nan"), "", "x", "\ud800",
    "\0", "Ä" * 5000, "(((", "(a+)+$", "../../etc", [], [None], [[1, "a"]], ["<s>", 3], {}, {"": ""},
    {"type": "BPE"}, {"content": 7}, {"(": 1}, {"__type": "AddedToken", "content": ["a"]},
)  # fmt: skip


def list_paths(content: Any, limit: int = 12) -> list[JsonPath]:
    """Return the paths of all values, with at most `limit` of one list or object."""
    paths: list[JsonPath] = []

    def visit(value: Any, path: JsonPath) -> None:
        items: list[tuple[str | int, Any]] = []
        if isinstance(value, dict):
            items = list(value.items())
        elif isinstance(value, list):
            items = list(enumerate(value))
        for key, inner in items[:limit]:
            paths.append((*path, key))
            visit(inner, (*path, key))

    visit(content, ())
    return paths


def replace_value(content: Any, path: JsonPath, value: Any) -> Any:
    """Return a copy of a document with another value at a path."""
    changed = copy.deepcopy(content)
    _get(changed, path[:-1])[path[-1]] = copy.deepcopy(value)
    return changed


def remove_value(content: Any, path: JsonPath) -> Any:
    """Return a copy of a document without the value at a path."""
    changed = copy.deepcopy(content)
    del _get(changed, path[:-1])[path[-1]]
    return changed


def iter_odd(content: Any, limit: int = 12) -> Iterator[tuple[str, Any]]:
    """Yield every combination of one path and one odd value: its description, and the document."""
    for path in list_paths(content, limit):
        name = ".".join(map(str, path))
        yield f"without {name}", remove_value(content, path)
        for value in ODD_VALUES:
            yield f"{name} = {str(value)[:30]!r}", replace_value(content, path, value)


def _get(content: Any, path: JsonPath) -> Any:
    for key in path:
        content = content[key]
    return content
