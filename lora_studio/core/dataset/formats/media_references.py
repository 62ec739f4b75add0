"""References to images, audio, and video in rows that are otherwise text: columns, nested values, links."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lora_studio.core.dataset.formats.values import is_blank, is_media_name, names_media_file

#: Images inside a text, as Markdown, HTML, or data.
_EMBEDDED = re.compile(r"!\[[^\]\n]{0,200}\]\([^)\s]|<img\s|data:image/")
#: The most rows to look at, characters of a text, and values of a row.
_ROWS, _CHARACTERS, _VALUES = 100, 20_000, 200
#: The share of rows that must have a reference; single ones are no reason to warn.
_SHARE = 0.1


def find_media_references(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the paths of values that refer to media in at least a tenth of the rows, such as `meta.media.url`."""
    sample = rows[:: max(1, len(rows) // _ROWS)]
    counts: dict[str, int] = {}
    for row in sample:
        for path in {path for path, name, value in _iter_values(row) if _is_reference(name, value)}:
            counts[path] = counts.get(path, 0) + 1
    return sorted(path for path, count in counts.items() if count >= _SHARE * len(sample))


def _is_reference(name: str, value: Any) -> bool:
    if isinstance(value, bool) or is_blank(value):
        return False
    if isinstance(value, str):
        is_named = is_media_name(name) and not any(sign.isspace() for sign in value.strip())
        return is_named or names_media_file(value) or bool(_EMBEDDED.search(value[:_CHARACTERS]))
    return isinstance(value, int | bytes) and is_media_name(name)


def _iter_values(row: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield path, name, and value of the simple values of a row; list items have the path of their list."""
    pending: list[tuple[str, str, Any]] = [(str(name), str(name), row[name]) for name in row]
    for _ in range(_VALUES):
        if not pending:
            return
        path, name, value = pending.pop()
        if isinstance(value, dict):
            pending += [(f"{path}.{key}", str(key), inner) for key, inner in value.items()]
        elif isinstance(value, list | tuple):
            pending += [(path, name, inner) for inner in value[:_VALUES]]
        else:
            yield path, name, value
