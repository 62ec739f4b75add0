"""Columns with labels: classes of texts, votes on answers, which make KTO data, and ratings, which only warn.

Bad answers must never be trained as if they were good, so a column is a vote if its name or its
values say so, whatever else the row contains.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lora_studio.core.dataset.formats.column_names import (
    ANSWERS,
    CHOICE_ANSWERS,
    CLASSES,
    LABELS,
    TEXTS,
)
from lora_studio.core.dataset.formats.columns import (
    Columns,
    DataColumn,
    FormatCandidate,
    find_column,
    find_columns,
    find_free_texts,
)
from lora_studio.core.dataset.formats.values import (
    is_blank,
    normalize_name,
    parse_label,
    require_valid_text,
    to_text,
)
from lora_studio.core.dataset.samples import Sample, UnusableKind, UnusableRow
from lora_studio.core.dataset.spec import Message

Rows = Sequence[Mapping[str, Any]]

#: Parts of names of columns with votes, such as `is_correct` or `user_feedback`.
_VOTES = re.compile(
    r"vote|thumb|feedback|liked|^likes?$|correct|^(is)?valid$|^(is)?good|helpful|useful|accept|approv"
    r"|desirable|quality|verdict|^(is|has|tests?)?pass(ed|es)?$|success|satisf|csat|grade|judg|rating|score"
    r"|reward|reaction|evaluation|outcome|bewertung|^(is)?ok$|^(is)?right$"
)
#: Parts of names whose true values say that an answer is bad.
_FLAWS = re.compile(
    r"wrong|incorrect|^(is)?bad|reject|hallucinat|harmful|toxic|unsafe|flagged|refus|dislike|downvot"
)
#: Parts of names of columns with ratings on a scale.
_RATINGS = re.compile(
    r"rating|score|stars|reward|quality|csat|grade|bewertung|helpful|votes?$|likes$|karma|^rank(ing)?$"
)
#: Values that are votes under any name.
_UNMISTAKABLE = frozenset(
    (
        "thumbs down", "thumbsdown", "👎", "dislike", "disliked", "downvote", "downvoted", "rejected", "incorrect",
        "undesirable", "unhelpful", "not helpful", "unsatisfied", "dissatisfied", "unacceptable",
    )
)  # fmt: skip
#: Characters of a class; a longer text is not a name.
_LONGEST_LABEL = 200
_NEUTRAL = frozenset(("neutral", "none", "mixed", "unknown", "unrated", "skip", "skipped", "n/a"))


def find_votes(columns: Columns) -> DataColumn | None:
    """Return the column whose values say which answers are bad, None if there is none."""
    votes = [column for column in columns if _is_vote(column)]
    return min(votes, key=lambda column: (column.key not in LABELS, column.name), default=None)


def _is_vote(column: DataColumn) -> bool:
    if column.key in ANSWERS or (column.key in CHOICE_ANSWERS and column.key not in LABELS):
        return False
    if column.kind not in ("text", "number", "flag") or not column.words - _NEUTRAL:
        return False
    verdicts = {parse_label(word) for word in column.words - _NEUTRAL}
    if None in verdicts or False not in verdicts:
        return False
    is_named = bool(_VOTES.search(column.key)) and not _FLAWS.search(column.key)
    plain = {re.sub(r"[\s_-]+", " ", word).rstrip("\ufe0f") for word in column.words}
    return is_named or bool(plain & _UNMISTAKABLE)


def find_ratings(columns: Columns) -> DataColumn | None:
    """Return a column that rates answers, or flags bad ones, in a way that can't be read as votes."""
    for column in columns:
        is_rating = bool(_RATINGS.search(column.key) or _VOTES.search(column.key))
        is_scale = is_rating and column.kind == "number"
        is_digits = (
            is_rating
            and bool(column.words)
            and all(word.replace(".", "", 1).isdigit() for word in column.words)
        )
        is_flaw = bool(_FLAWS.search(column.key)) and column.is_label
        if (is_scale or is_digits or is_flaw) and len(column.words) != 1:
            return column
    return None


def find_nested_votes(rows: Rows) -> str | None:
    """Return the path of votes inside an object, such as `metadata.feedback`, None for none."""
    values: dict[str, set[bool | None]] = {}
    for path, value in _iter_nested(rows):
        values.setdefault(path, set()).add(parse_label(value))
    for path, verdicts in sorted(values.items()):
        key = normalize_name(path.partition(".")[2])
        if False in verdicts and None not in verdicts and _VOTES.search(key):
            return path
    return None


def _iter_nested(rows: Rows) -> Iterator[tuple[str, Any]]:
    for row in rows:
        for name, value in row.items():
            if isinstance(value, dict):
                for key, inner in list(value.items())[:50]:
                    if isinstance(inner, str | int | float):
                        yield f"{name}.{key}", inner


# --- classes of texts -------------------------------------------------------------------------


def find_labeled_candidates(columns: Columns) -> list[FormatCandidate]:
    """Return the reading of a text and its class; [] without a column for each.

    It isn't one of `find_candidates`: a column of that name may describe texts of another purpose.
    """
    classes = [
        item for item in find_columns(columns, CLASSES) if item.kind in ("text", "number", "flag")
    ]
    # Names of classes say more than their numbers.
    classes.sort(key=lambda item: item.kind != "text")
    if not classes:
        return []
    rest = [item for item in columns if item != classes[0]]
    phrased = sorted(find_free_texts(rest), key=lambda item: -item.phrased)
    text = find_column(rest, TEXTS, "text") or next(iter(phrased), None)
    text = text or next((item for item in rest if item.kind == "text"), None)
    if text is None:
        return []
    mapping = {"text": text.name, "label": classes[0].name}
    return [FormatCandidate("labeled_text", mapping, 0.2, 0.9)]


def convert_labeled_text(slots: Mapping[str, Any]) -> Sample:
    """Return a text and its class, as a question with its answer; raises UnusableRow."""
    label = slots.get("label")
    if is_blank(label):
        raise UnusableRow("there is no label", UnusableKind.EMPTY)
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    if not isinstance(label, str | int):
        raise UnusableRow("the label is neither text nor a whole number")
    content = to_text(slots.get("text"))
    if not content.strip():
        raise UnusableRow("the text is empty", UnusableKind.EMPTY)
    name = str(label).lower() if isinstance(label, bool) else require_valid_text(str(label).strip())
    if len(name) > _LONGEST_LABEL:
        raise UnusableRow("the label has more than {limit} characters", limit=_LONGEST_LABEL)
    turns = (Message(role="user", content=content), Message(role="assistant", content=name))
    return Sample("classification", turns)
