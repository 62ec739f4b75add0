"""Rows inside of others: questions in the paragraphs of articles, as SQuAD has them, and instances of
instructions, as Self-Instruct has them. Each becomes a row of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

#: What files of such articles and of such instructions have in their beginning.
_MARKS = (
    (re.compile(rb'"qas"\s*:\s*\['), re.compile(rb'"context"\s*:')),
    (re.compile(rb'"instances"\s*:\s*\[\s*\{'), re.compile(rb'"instruction"\s*:\s*"')),
)
_LISTS = (b'"qas"', b'"instances"')
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)

NO_QUESTIONS = "it has no question"


def are_in(head: bytes) -> bool:
    """Whether the beginning of a file shows questions inside paragraphs, or instances."""
    return any(all(mark.search(head) for mark in marks) for marks in _MARKS)


def questions_of(article: dict[str, Any]) -> list[dict[str, Any] | None] | None:
    """Each question with what stands about it, None for a paragraph without one.

    None alone where the object is no article and no paragraph. Fields of a question win over those
    of its paragraph, and these over those of the article.
    """
    if "instruction" in article and isinstance(given := article.get("instances"), list):
        about = _without(article, "instances")
        return [about | one if isinstance(one, dict) else None for one in given or [None]]
    paragraphs = article.get("paragraphs", [article] if "qas" in article else None)
    if not isinstance(paragraphs, list):
        return None
    above = {} if "qas" in article else _without(article, "paragraphs")
    found: list[dict[str, Any] | None] = []
    for paragraph in paragraphs or [None]:
        asked = paragraph.get("qas") if isinstance(paragraph, dict) else None
        if not isinstance(asked, list) or not asked:
            found.append(None)
            continue
        about = above | _without(paragraph, "qas")
        found += [about | one if isinstance(one, dict) else None for one in asked]
    return found


def places_of(text: bytes) -> Iterator[int]:
    """Where the objects begin that are in lists of questions or of instances."""
    is_list: list[bool] = []  # of every open bracket, whether it is such a list
    key = b""
    for token in _TOKEN.finditer(text):
        sign = token[0]
        if sign == b"{":
            if is_list and is_list[-1]:
                yield token.start()
            is_list.append(False)
        elif sign == b"[":
            is_list.append(key in _LISTS)
        elif sign in b"}]":
            del is_list[-1:]
        key = sign


def _without(values: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}
