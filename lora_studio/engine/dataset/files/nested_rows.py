"""Unnest rows: the questions in SQuAD's articles, the instances of Self-Instruct's tasks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

#: What the beginning of such files contains.
_MARKS = (
    (re.compile(rb'"qas"\s*:\s*\['), re.compile(rb'"context"\s*:')),
    (re.compile(rb'"instances"\s*:\s*\[\s*\{'), re.compile(rb'"instruction"\s*:\s*"')),
)
_LISTS = (b'"qas"', b'"instances"')
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)


def has_nested_rows(head: bytes) -> bool:
    """Return whether the beginning of a file shows questions in paragraphs, or instances."""
    return any(all(mark.search(head) for mark in marks) for marks in _MARKS)


def unnest_rows(article: dict[str, Any]) -> list[dict[str, Any] | None] | None:
    """Return a row for each question, with its paragraph and article; None for an empty paragraph.

    Returns None if the object is neither an article nor a paragraph. Fields of a question take
    precedence over those of its paragraph, and these over those of the article.
    """
    if "instruction" in article and isinstance(instances := article.get("instances"), list):
        about = _without(article, "instances")
        return [about | one if isinstance(one, dict) else None for one in instances or [None]]
    paragraphs = article.get("paragraphs", [article] if "qas" in article else None)
    if not isinstance(paragraphs, list):
        return None
    above = {} if "qas" in article else _without(article, "paragraphs")
    rows: list[dict[str, Any] | None] = []
    for paragraph in paragraphs or [None]:
        questions = paragraph.get("qas") if isinstance(paragraph, dict) else None
        if not isinstance(questions, list) or not questions:
            rows.append(None)
            continue
        about = above | _without(paragraph, "qas")
        rows += [about | one if isinstance(one, dict) else None for one in questions]
    return rows


def find_row_offsets(text: bytes) -> Iterator[int]:
    """Yield where the objects in lists of questions or of instances begin."""
    is_list: list[bool] = []  # for every open bracket, whether it is such a list
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
