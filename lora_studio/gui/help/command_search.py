"""Rank settings, commands, pages and projects by how well they match what the user typed."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from lora_studio.core.project.search_terms import to_american
from lora_studio.gui.language import mark

Kind = Literal["command", "page", "setting", "project"]

KIND_TITLES: dict[Kind, str] = {
    "command": mark("Command"),
    "page": mark("Page"),
    "setting": mark("Setting"),
    "project": mark("Project"),
}


@dataclass(frozen=True)
class SearchEntry:
    """An entry that the search can find: a setting or page to show, or a command to run.

    `detail`, `page` and the synonyms in `terms` are searched too; `keys` is only shown.
    """

    kind: Kind
    title: str
    run: Callable[[], object]
    detail: str = ""
    page: str = ""
    keys: str = ""
    terms: str = ""


def find(entries: Iterable[SearchEntry], query: str) -> list[SearchEntry]:
    """Return the entries that match, best first; all of them for an empty query.

    Every word must match. Matches rank in this order: start of the title, start of a word in it,
    within the title, a synonym, the detail. If a word doesn't match, titles with all letters of the query in order
    also match. Among equal ranks, an exact title comes first, then the order of `entries`.
    """
    words = _normalize(query).split()
    if not words:
        return list(entries)
    costs = ((_rate_entry(entry, words), entry) for entry in entries)
    matches = [(cost, entry) for cost, entry in costs if cost is not None]
    return [entry for _, entry in sorted(matches, key=lambda item: item[0])]


def _rate_entry(entry: SearchEntry, words: list[str]) -> tuple[int, int] | None:
    title, detail = _normalize(entry.title), _normalize(f"{entry.detail} {entry.page}")
    terms = _normalize(entry.terms)
    total = 0
    for word in words:
        cost = _rate_word(word, title, terms, detail)
        if cost is None:
            letters = "".join(words)
            return (
                (100, len(title))
                if len(letters) > 2 and _has_letters_in_order(letters, title)
                else None
            )
        total += cost
    return (total, int(title != " ".join(words)))


def _rate_word(word: str, title: str, terms: str, detail: str) -> int | None:
    if title.startswith(word):
        return 0
    if _is_word_start(word, title):
        return 1
    if word in title:
        return 2
    if _is_word_start(word, terms):
        return 3
    if _is_word_start(word, detail):
        return 5
    return 8 if len(word) > 2 and (word in detail or word in terms) else None


def _is_word_start(word: str, text: str) -> bool:
    return any(part.startswith(word) for part in text.split())


def _has_letters_in_order(letters: str, title: str) -> bool:
    rest = iter(title)
    return all(letter in rest for letter in letters)


def _normalize(text: str) -> str:
    """Return text without case, accents and British spellings: "Größe" matches "grosse"."""
    parts = unicodedata.normalize("NFKD", text.casefold())
    return to_american("".join(part for part in parts if not unicodedata.combining(part)))
