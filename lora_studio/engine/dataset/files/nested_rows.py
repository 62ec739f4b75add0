"""Unnest rows: the questions in SQuAD's articles, the instances of Self-Instruct's tasks, questions that are
the names of their answers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

#: What the beginning of such files contains.
_MARKS = (
    (re.compile(rb'"qas"\s*:\s*\['), re.compile(rb'"context"\s*:')),
    (re.compile(rb'"instances"\s*:\s*\[\s*\{'), re.compile(rb'"instruction"\s*:\s*"')),
)
#: Ends of questions in several scripts; a name with more words than this is a sentence.
_QUESTION_MARKS, _NAME_WORDS = ("?", "？", "؟", "՞", ";"), 3
#: Names that are looked at.
_NAMES = 40
_LISTS = (b'"qas"', b'"instances"')
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)


def has_nested_rows(head: bytes) -> bool:
    """Return whether the beginning of a file shows questions in paragraphs, or instances."""
    return any(all(mark.search(head) for mark in marks) for marks in _MARKS)


def has_answer_maps(head: bytes) -> bool:
    """Return whether the beginning of a file shows objects whose names are questions, each a different one."""
    names: list[str] = []
    decoder, text = (
        json.JSONDecoder(strict=False),
        head.decode("utf-8", "ignore").lstrip(" \t\r\n["),
    )
    position = 0
    try:
        while text[position : position + 1] == "{" and len(names) < _NAMES:
            position = _skip(text, position + 1)
            while text[position] != "}" and len(names) < _NAMES:
                name, position = decoder.raw_decode(text, position)
                position = _skip(text, position)
                answer, position = decoder.raw_decode(text, _skip(text, position + 1))
                position = _skip(text, position)
                names.append(name)
                if not is_question(names[0]) or not _is_answer(answer):
                    return False
            position = _skip(text, position + 1)
    except (ValueError, IndexError, RecursionError):
        pass  # the beginning ends inside of an answer
    return 1 < len(names) == len(set(names)) and _has_questions(names)


def _skip(text: str, position: int) -> int:
    """Return the position after blanks and commas."""
    while text[position : position + 1] in (" ", "\t", "\r", "\n", ","):
        position += 1
    return position


def is_question(name: Any) -> bool:
    """Return whether the name of a value is a question or a sentence, not the name of a column."""
    return isinstance(name, str) and (
        name.rstrip()[-1:] in _QUESTION_MARKS or len(name.split()) > _NAME_WORDS
    )


def _has_questions(names: Collection[str]) -> bool:
    """Return whether nearly all names are questions; a few may be topics."""
    return bool(names) and sum(map(is_question, names)) >= 0.8 * len(names)


def _is_answer(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(item, str) for item in value)
    return isinstance(value, str | int | float)


def unnest_rows(article: dict[str, Any]) -> list[dict[str, Any] | None] | None:
    """Return a row for each question, with its paragraph and article; None for an empty paragraph.

    Returns None if the object is neither an article nor a paragraph nor a map of answers. Fields of a question take
    precedence over those of its paragraph, and these over those of the article.
    """
    if "instruction" in article and isinstance(instances := article.get("instances"), list):
        about = _without(article, "instances")
        return [about | one if isinstance(one, dict) else None for one in instances or [None]]
    if _has_questions(article) and all(map(_is_answer, article.values())):
        return [{"question": name, "answer": answer} for name, answer in article.items()]
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
