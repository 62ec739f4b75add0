"""Finds among everything that the window has: settings, commands, pages, projects; by what was typed."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from lora_studio.gui.language import mark

Kind = Literal["command", "page", "setting", "project"]

KIND_WORDS: dict[Kind, str] = {
    "command": mark("Command"),
    "page": mark("Page"),
    "setting": mark("Setting"),
    "project": mark("Project"),
}


@dataclass(frozen=True)
class SearchEntry:
    """One thing to go to or to do. `detail` is searched too, `place` and `keys` are only shown."""

    kind: Kind
    title: str
    go: Callable[[], object]
    detail: str = ""
    place: str = ""
    keys: str = ""


def find(entries: Iterable[SearchEntry], typed: str) -> list[SearchEntry]:
    """What fits, the best first; everything in its own order while nothing is typed.

    Every word has to be found. One that begins a word of the title counts most, then one within the
    title, then one in the detail; for a title that has all letters in order there is a last chance.
    Of equals, the one that is named so and no longer comes first, then what comes first in `entries`.
    """
    words = _plain(typed).split()
    if not words:
        return list(entries)
    scored = ((_cost(entry, words), entry) for entry in entries)
    found = [(cost, entry) for cost, entry in scored if cost is not None]
    return [entry for _, entry in sorted(found, key=lambda item: item[0])]


def _cost(entry: SearchEntry, words: list[str]) -> tuple[int, int] | None:
    title, detail = _plain(entry.title), _plain(f"{entry.detail} {entry.place}")
    total = 0
    for word in words:
        cost = _word_cost(word, title, detail)
        if cost is None:
            letters = "".join(words)
            return (100, len(title)) if len(letters) > 2 and _in_order(letters, title) else None
        total += cost
    return (total, int(title != " ".join(words)))


def _word_cost(word: str, title: str, detail: str) -> int | None:
    if title.startswith(word):
        return 0
    if any(part.startswith(word) for part in title.split()):
        return 1
    if word in title:
        return 2
    if any(part.startswith(word) for part in detail.split()):
        return 5
    return 8 if len(word) > 2 and word in detail else None


def _in_order(letters: str, title: str) -> bool:
    rest = iter(title)
    return all(letter in rest for letter in letters)


def _plain(text: str) -> str:
    """Without case and accents: "Größe" is found by "grosse" and by "größe"."""
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(part for part in parts if not unicodedata.combining(part))
