"""Multiple-choice questions: choices in one column or one column each, and the choice an answer
means.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lora_studio.core.dataset.formats.columns import Columns, DataColumn
from lora_studio.core.dataset.formats.values import parse_literal, to_answer, to_text
from lora_studio.core.dataset.samples import UnusableRow

Choices = list[tuple[str, str]]

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#: Names of columns that hold one choice each: A, optionB, op3, ending0.
_CHOICE = re.compile(r"(|option|choice|answer|op|sol|ending|alternative|opción)([a-j]|\d)")
#: The fewest choice columns: two columns named like answers may be a preference pair.
_FEWEST = {"answer": 3}


def find_choices_template(columns: Columns, answer: DataColumn) -> str:
    """Return a template of the columns that hold one choice each, labeled the way the answers refer
    to them.

    Returns "" without such columns, or if the answers do not identify a choice.
    """
    stems: dict[str, dict[str, DataColumn]] = {}
    for column in columns:
        match = _CHOICE.fullmatch(column.key)
        if match and column is not answer and column.kind in ("text", "number"):
            stems.setdefault(match[1], {})[match[2]] = column
    for stem, by_suffix in sorted(stems.items()):
        suffixes = sorted(by_suffix)
        has_enough = len(suffixes) >= _FEWEST.get(stem, 2)
        if not (
            has_enough and _is_consecutive(suffixes) and _is_referred_to(answer, stem, suffixes)
        ):
            continue
        labels = _list_labels(answer, suffixes)
        return r"\n".join(
            f"{label}. {{{by_suffix[suffix].name}}}"
            for label, suffix in zip(labels, suffixes, strict=True)
        )
    return ""


def _is_consecutive(suffixes: Sequence[str]) -> bool:
    """Return whether the labels are a, b, c … or consecutive numbers."""
    first = suffixes[0]
    row = range(int(first), 10) if first.isdigit() else "abcdefghij"
    return list(suffixes) == [str(one) for one in row][: len(suffixes)]


def _is_referred_to(answer: DataColumn, stem: str, suffixes: Sequence[str]) -> bool:
    """Return whether answers refer to these columns by letter or number.

    Columns whose names contain "choice" are accepted regardless of the answers.
    """
    numbers = {str(number) for number in range(len(suffixes) + 1)}
    letters = set("abcdefghij"[: len(suffixes)])
    is_label = bool(answer.words) and all(
        word in numbers or set(re.sub(r"[\W_]", "", word)) <= letters for word in answer.words
    )
    return is_label or bool(stem)


def _list_labels(answer: DataColumn, suffixes: Sequence[str]) -> list[str]:
    """Return the labels of choices: letters, or numbers if the answers count from 0 or 1."""
    count = len(suffixes)
    numbers = {int(word) for word in answer.words if word.isdecimal()}
    if numbers and len(numbers) == len(answer.words):
        first = 0 if 0 in numbers else 1 if count in numbers or suffixes[0] == "1" else 0
        if suffixes[0].isdigit() or first:
            return [str(first + offset) for offset in range(count)]
    return list(_LETTERS[:count])


def read_choices(value: Any) -> Choices:
    """Return choices with their labels: a list, {"text": […], "label": […]} or {"A": …}; raises
    UnusableRow.
    """
    value = parse_literal(value)
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        labels, texts = value.get("label"), value["text"]
        if not isinstance(labels, list) or len(labels) != len(texts):
            labels = _list_letters(len(texts))
        return [(to_text(a), to_text(b)) for a, b in zip(labels, texts, strict=True)]
    if isinstance(value, dict):
        return [(to_text(label), to_text(text)) for label, text in value.items()]
    if not isinstance(value, list | tuple):
        return []
    if value and all(isinstance(item, dict) and {"label", "text"} <= set(item) for item in value):
        return [(to_text(item["label"]), to_text(item["text"])) for item in value]
    labels, texts = _list_letters(len(value)), [to_answer(item) for item in value]
    prefixes = [
        re.match(rf"\(?{label}\s*[).:]\s*", text) for label, text in zip(labels, texts, strict=True)
    ]
    if all(prefixes):  # "A) …", "(B) …"
        texts = [text[mark.end() :] for text, mark in zip(texts, prefixes, strict=True) if mark]
    return list(zip(labels, texts, strict=True))


def _list_letters(count: int) -> Sequence[str]:
    """Return A, B, C …; raises UnusableRow if there are more choices than letters.

    Numbers would be ambiguous: an answer 3 could be a label or a position.
    """
    if count > len(_LETTERS):
        raise UnusableRow("there are more than {most} choices without labels", most=len(_LETTERS))
    return _LETTERS[:count]


def resolve_choice(choices: Choices, answer: Any) -> Any:
    """Return the choice that a label, a 0-based position, or a text means; the answer itself if
    none.
    """
    text = to_text(answer).strip()
    chosen = next((item for item in choices if text in (item[0], item[1].strip())), None)
    if chosen is None:
        chosen = next((item for item in choices if text.casefold() == item[0].casefold()), None)
    if chosen is None and text.isascii() and text.isdigit() and int(text[:9]) < len(choices):
        chosen = choices[int(text[:9])]
    return f"{chosen[0]}. {chosen[1]}" if chosen and text else answer
