"""Which of several answers is better: by a column that says so, by ranks, or by scores."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lora_studio.core.dataset.formats.values import (
    has_text,
    is_missing,
    normalize_name,
    parse_label,
    to_answer,
    to_text,
)
from lora_studio.core.tasks.samples import UnusableKind, UnusableRow

_TIES = frozenset(
    ("tie", "ties", "tied", "tiebothbad", "bothbad", "both", "neither", "equal", "same", "none")
)
_NUMBER = r"([-+]?[\d.]+(?:e[-+]?\d+)?|true|false)"
_COMPARISON = re.compile(rf"\s*{_NUMBER}\s*>\s*{_NUMBER}\s*")
_SIDES = {"left": "a", "right": "b", "first": "a", "second": "b"}
_SIDE_NAME = r"(?:model|response|answer|output|completion|assistant|candidate)[\s_-]?"
_LETTER = re.compile(rf"(?:{_SIDE_NAME})?([ab])|{_SIDE_NAME}([12])")

#: Fields that rank an answer in a list: 1 is the best, or the highest value is.
_RANKS = ("rank", "ranking")
_RATED = ("overall_score", "pm_score", "score", "rating", "reward")

#: Why two answers do not form a pair.
_NO_PREFERENCE = "neither answer is preferred"


def is_tie(word: str) -> bool:
    """Return whether a word says that both answers are equally good."""
    return normalize_name(word) in _TIES


def parse_side(word: str) -> str:
    """Return the side that a word names, a or b; "" for neither. Left is a."""
    word = word.strip().casefold()
    match = _LETTER.fullmatch(word)
    if match:
        return match[1] or {"1": "a", "2": "b"}[match[2]]
    return _SIDES.get(word, "")


def read_label(value: Any) -> bool | None:
    """Return whether a label means good (True) or bad (False); None if it is neither.

    It may compare a score with a limit: `4 > 2.5`.
    """
    compared = _COMPARISON.fullmatch(value) if isinstance(value, str) else None
    if compared is None:
        return parse_label(value)
    try:
        one, other = (_read_operand(side) for side in compared.groups())
    except UnusableRow:
        return None
    return one > other


def is_first_better(value: Any) -> bool:
    """Return whether a preference names the first answer; raises UnusableRow.

    True, 1 and a mean the first; false, 0, 2 and b the second. `3 > 2` compares scores.
    """
    text = to_text(value).strip().casefold()
    if compared := _COMPARISON.fullmatch(text):
        one, other = (_read_operand(side) for side in compared.groups())
        if one == other:
            raise UnusableRow(_NO_PREFERENCE, UnusableKind.NO_PREFERENCE)
        return one > other
    if not text or is_tie(text):
        raise UnusableRow(_NO_PREFERENCE, UnusableKind.NO_PREFERENCE)
    if text in ("1", "1.0", "2", "2.0"):
        return text.startswith("1")
    if letter := parse_side(text):
        return letter == "a"
    if (truth := parse_label(value)) is None:
        raise UnusableRow("the row doesn't say which answer is preferred")
    return truth


def _read_operand(text: str) -> float:
    """Return the number on one side of a comparison; raises UnusableRow for anything else, such as
    "1.2.3".
    """
    try:
        return float({"true": "1", "false": "0"}.get(text, text))
    except ValueError:
        raise UnusableRow(_NO_PREFERENCE, UnusableKind.NO_PREFERENCE) from None


def is_ranked_list(value: Any) -> bool:
    """Return whether a value is a list of answers with a rank or a score each."""
    value = list_answers(value)
    return (
        isinstance(value, list)
        and len(value) > 1
        and all(isinstance(item, dict) and _read_score(item) is not None for item in value)
        and all(map(has_text, value))
    )


def list_answers(value: Any) -> Any:
    """Return answers in parallel lists, {"text": […], "score": […]}, as a list; others unchanged."""
    if not isinstance(value, dict) or not value:
        return value
    lists = list(value.values())
    if not all(isinstance(item, list) for item in lists) or len(set(map(len, lists))) != 1:
        return value
    return [dict(zip(value, items, strict=True)) for items in zip(*lists, strict=True)]


def is_pair(value: Any) -> bool:
    """Return whether a value is two different answers."""
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(isinstance(text, str) and text.strip() for text in value)
        and value[0] != value[1]
    )


def pick_best_and_worst(answers: list[Any]) -> tuple[str, str]:
    """Return the best and the worst answer by ranks or scores; raises UnusableRow."""
    rated = [(score, item) for item in answers if (score := _read_score(item)) is not None]
    best = max(rated, key=lambda entry: entry[0], default=None)
    worst = min(rated, key=lambda entry: entry[0], default=None)
    if best is None or worst is None or best[0] == worst[0]:
        raise UnusableRow(_NO_PREFERENCE, UnusableKind.NO_PREFERENCE)
    return to_answer(best[1]), to_answer(worst[1])


def pick_by_ratings(answers: Sequence[str], ratings: Any) -> tuple[str, str]:
    """Return the best and the worst answer by the ratings in another column; raises UnusableRow.

    Of two answers, the ratings may also be the position of the better one, from 0.
    """
    if len(answers) == 2 and (position := parse_number(ratings)) in (0, 1):
        return answers[int(position or 0)], answers[1 - int(position or 0)]
    if not isinstance(ratings, list | tuple) or len(ratings) != len(answers):
        raise UnusableRow("the number of ratings differs from the number of answers")
    rated = zip(answers, ratings, strict=True)
    return pick_best_and_worst([{"text": text, "score": rating} for text, rating in rated])


def read_rank(item: Mapping[str, Any]) -> float | None:
    """Return the rank of an answer among the replies to a turn, the best lowest; None without a
    rank.
    """
    return parse_number(item.get("rank"))


def _read_score(item: dict[str, Any]) -> float | None:
    """Return the score of an answer, higher is better; None if it has no score."""
    for names, sign in ((_RANKS, -1.0), (_RATED, 1.0)):
        for name in names:
            if (value := parse_number(item.get(name))) is not None:
                return sign * value
    about = item.get("annotations")
    rated = (
        [one.get("Rating") for one in about.values() if isinstance(one, dict)]
        if isinstance(about, dict)
        else []
    )
    ratings = [value for one in rated if (value := parse_number(one)) is not None]
    return sum(ratings) / len(ratings) if ratings else None


def parse_number(value: Any) -> float | None:
    """Return a number, which may be written as text; None for anything else."""
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,3}(\.\d{1,9})?", value):
        return float(value)
    if not isinstance(value, int | float) or isinstance(value, bool) or is_missing(value):
        return None
    with contextlib.suppress(OverflowError):  # JSON has integers of any length
        return float(value)
    return None
