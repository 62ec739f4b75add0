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
    METADATA,
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
#: Words for ratings of the whole answer, the likeliest first; others rate one side of it.
_OVERALL = (
    "overall",
    "score",
    "rating",
    "quality",
    "reward",
    "bewertung",
    "grade",
    "helpful",
    "correct",
)
_HIGHEST = 10
#: Values that are votes under any name.
_UNMISTAKABLE = frozenset(
    (
        "thumbs down", "thumbsdown", "👎", "dislike", "disliked", "downvote", "downvoted", "rejected", "incorrect",
        "undesirable", "unhelpful", "not helpful", "unsatisfied", "dissatisfied", "unacceptable",
    )
)  # fmt: skip
#: Values of a column that says whether a text has a label; -1 is for texts without a verdict.
_FLAGS = frozenset(("0", "1", "true", "false", "-1"))
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


def find_ratings(columns: Columns) -> list[DataColumn]:
    """Return the columns that rate answers, or flag bad ones, in a way that can't be read as votes.

    Next to a rating, other numbers on a small scale are ratings too. The one that is likeliest to rate the
    whole answer is the first.
    """
    ratings = [column for column in columns if _is_rating(column)]
    if any(column.high > column.low for column in ratings):
        ratings += [
            column
            for column in columns
            if column not in ratings and column.key not in METADATA and _is_on_scale(column)
        ]
    return sorted(ratings, key=_rank_rating)


def _rank_rating(column: DataColumn) -> int:
    ranks = [rank for rank, word in enumerate(_OVERALL) if word in column.key]
    return min(ranks, default=len(_OVERALL))


def _is_on_scale(column: DataColumn) -> bool:
    """Return whether a column has a few whole numbers from 0 to 10."""
    is_whole = bool(column.words) and all(word.isdecimal() for word in column.words)
    return is_whole and column.high <= _HIGHEST and len(column.words) > 1


def _is_rating(column: DataColumn) -> bool:
    is_rating = bool(_RATINGS.search(column.key) or _VOTES.search(column.key))
    is_scale = is_rating and column.kind == "number"
    is_digits = (
        is_rating
        and bool(column.words)
        and all(word.replace(".", "", 1).isdigit() for word in column.words)
    )
    is_flaw = bool(_FLAWS.search(column.key)) and (column.is_label or column.kind == "number")
    return (is_scale or is_digits or is_flaw) and len(column.words) != 1


def write_limit(rating: DataColumn) -> str:
    """Return a label that is good for ratings above the middle of the scale, or flaws below it, as a template."""
    middle = (rating.low + rating.high) / 2
    is_flaw = bool(_FLAWS.search(rating.key))
    return f"{middle:.4g} > {{{rating.name}}}" if is_flaw else f"{{{rating.name}}} > {middle:.4g}"


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
        item
        for item in find_columns(columns, CLASSES)
        if (item.kind in ("text", "number", "flag") and not item.fractions)
        or (item.key in LABELS and item.kind in ("numbers", "texts"))
    ]
    # Names of classes say more than their numbers.
    classes.sort(key=lambda item: item.kind != "text")
    if not classes:
        return _find_flagged_texts(columns)
    if classes[0] in _find_flags(columns) and (flagged := _find_flagged_texts(columns)):
        return flagged
    text = _find_classified_text([item for item in columns if item != classes[0]])
    if text is None:
        return []
    mapping = {"text": text.name, "label": classes[0].name}
    rivals = tuple(item.name for item in classes[1:] if item.kind == classes[0].kind)
    return [FormatCandidate("labeled_text", mapping, 0.2, 0.9, "label", rivals)]


def find_classified_texts(columns: Columns) -> list[FormatCandidate]:
    """Return the reading of a table of texts and their classes, which has no other columns but IDs."""
    if flagged := _find_flagged_texts(columns):
        return flagged
    rest = [item for item in columns if item.filled and not _is_id(item)]
    classes = [item for item in find_columns(rest, CLASSES) if _is_repeated(item)]
    if len(rest) != 2 or len(classes) != 1:
        return []
    text = _find_classified_text([item for item in rest if item not in classes])
    if text is None or _is_repeated(text):
        return []
    mapping = {"text": text.name, "label": classes[0].name}
    return [FormatCandidate("labeled_text", mapping, 0.55, 0.9)]


def pick_text_and_class(texts: Sequence[DataColumn]) -> tuple[DataColumn, DataColumn] | None:
    """Return the text and the class of two columns with unknown names, None if they are something else."""
    for text, label in (texts, texts[::-1]):
        is_class = _is_repeated(label) and 2 * label.phrased <= label.filled
        if is_class and 2 * text.phrased > text.filled and not _is_repeated(text):
            return text, label
    return None


def _find_flagged_texts(columns: Columns) -> list[FormatCandidate]:
    """Return the reading of a text with a column of zeros and ones for each label."""
    flags = _find_flags(columns)
    texts = [item for item in find_free_texts(columns) if item not in flags]
    others = [item for item in columns if item.filled and item not in (*flags, *texts)]
    # The flags of a corpus, such as `is_generated`, describe texts that have a path or an address, too.
    is_corpus = all(item.key.startswith(("is", "has")) for item in flags)
    known = [item for item in others if _is_id(item) or (item.key in METADATA and not is_corpus)]
    if not flags or len(texts) != 1 or known != others:
        return []
    if not any(len(item.words) > 1 for item in flags):
        return []
    label = " ".join(f"{{{item.name}}}" for item in flags) if len(flags) > 1 else flags[0].name
    mapping = {"text": texts[0].name, "label": label}
    return [FormatCandidate("labeled_text", mapping, 0.55, 0.9)]


def _find_flags(columns: Columns) -> list[DataColumn]:
    """Return columns that are 0 or 1 in every row."""
    return [
        item
        for item in columns
        if item.words
        and item.words <= _FLAGS
        and item.kind in ("text", "number", "flag")
        and item.key not in METADATA
    ]


def _find_classified_text(columns: Sequence[DataColumn]) -> DataColumn | None:
    phrased = sorted(find_free_texts(columns), key=lambda item: -item.phrased)
    text = find_column(columns, TEXTS, "text") or next(iter(phrased), None)
    return text or next((item for item in columns if item.kind == "text"), None)


def _is_id(column: DataColumn) -> bool:
    return column.key.endswith("id") or column.key in ("idx", "index", "unnamed0", "split", "uuid")


def _is_repeated(column: DataColumn) -> bool:
    """Return whether a column has at least two values, each of them about three times, as classes do."""
    return column.distinct > 1 and 3 * column.distinct <= column.filled


def convert_labeled_text(slots: Mapping[str, Any]) -> Sample:
    """Return a text and its class, as a question with its answer; raises UnusableRow."""
    label = slots.get("label")
    if isinstance(label, list) and len(label) == 1:
        label = label[0]
    if is_blank(label):
        raise UnusableRow("there is no label", UnusableKind.EMPTY)
    if isinstance(label, list):
        raise UnusableRow(
            "the row has several labels, so its label is neither text nor a whole number"
        )
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
