"""Columns that belong together: two answers of which a third column prefers one, and a query with the text to
find.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from lora_studio.core.dataset.formats import column_names
from lora_studio.core.dataset.formats.columns import (
    Columns,
    DataColumn,
    FormatCandidate,
    find_answers,
    find_column,
    find_columns,
    find_contexts,
    find_questions,
)
from lora_studio.core.dataset.formats.ranking import is_tie, parse_side
from lora_studio.core.dataset.formats.turns import build_message
from lora_studio.core.dataset.formats.values import to_answer
from lora_studio.core.dataset.samples import Sample, UnusableKind, UnusableRow

#: Names of paired columns: response_0 and response_1, answer_a and answer_b.
_SIDE = re.compile(
    r"(response|answer|output|completion|humanref|conversation|summary|generation|candidate|reply|"
    r"chat|messages)(a|b|0|1|2)"
)
#: Columns that name the preferred answer, the most explicit first.
_POINTERS = (
    "betterresponseid", "betterid", "better", "preferred", "preferredresponse", "preference", "winner",
    "comparison", "pairwise", "choice", "chosen", "chosenid", "chosenindex", "selected", "overallpreference", "label", "labels",
)  # fmt: skip
_SCORES = (
    "score", "rating", "reward", "overallscore", "winnermodel", "votes", "upvotes", "likes", "points", "stars",
)  # fmt: skip
#: A query, the text that it should find, and a text that it should not, as sentence-transformers' triplets
#: and pairs name them.
_QUERIES = ("anchor", "query", "queries", "question", "frage", "anfrage")
_POSITIVES = (
    "positive", "pos", "positives", "positivepassage", "positivepassages", "positivedocument", "positivetext",
    "relevant",
)  # fmt: skip
_NEGATIVES = (
    "negative", "neg", "negatives", "hardnegative", "hardnegatives", "negative1", "negativepassage",
    "negativepassages", "negativedocument", "negativetext",
)  # fmt: skip
#: Texts to find in a collection; questions often stand beside one that only helps to answer them.
_PASSAGES = ("passage", "passages", "document", "documents", "doc")
#: Columns that say how similar both texts of a pair are: some of those pairs don't belong together.
_SIMILARITIES = ("score", "label", "labels", "similarity", "similarityscore", "isduplicate")


def find_search_pairs(columns: Columns) -> list[FormatCandidate]:
    """Return the reading of a query with the text to find, whose names say so; a negative is optional."""
    query, positive = find_column(columns, _QUERIES), find_column(columns, _POSITIVES)
    if positive is None and query is not None and not find_answers(columns):
        is_search = (
            query.key in ("query", "queries") or find_column(columns, _NEGATIVES) is not None
        )
        positive = find_column(columns, _PASSAGES) if is_search else None
    if query is None or positive is None or find_columns(columns, _SIMILARITIES):
        return []
    sure = 0.98 if query.key in ("anchor", "query") else 0.9
    return [FormatCandidate("search_pairs", _map_pair(columns, query, positive), 1.0, sure)]


def find_chosen_search_pairs(columns: Columns) -> list[FormatCandidate]:
    """Return the reading of columns as pairs for search where the user chose that format.

    It isn't one of `find_candidates`: a question with its answer or its context usually trains answers.
    """
    if named := find_search_pairs(columns):
        return named
    by_key = {column.key: column for column in columns}
    for one, other in column_names.COMPARED:
        if one in by_key and other in by_key:
            mapping = _map_pair(columns, by_key[one], by_key[other])
            return [FormatCandidate("search_pairs", mapping, 0.2, 0.7)]
    query = find_column(columns, _QUERIES) or next(iter(find_questions(columns)), None)
    others = [column for column in columns if column != query]
    named_positive = find_column(others, _POSITIVES)
    answers = (
        [named_positive] if named_positive else [*find_answers(others), *find_contexts(others)]
    )
    if query is None or not answers:
        return []
    return [FormatCandidate("search_pairs", _map_pair(columns, query, answers[0]), 0.2, 0.7)]


def _map_pair(columns: Columns, query: DataColumn, positive: DataColumn) -> dict[str, str]:
    mapping = {"query": query.name, "positive": positive.name}
    if (negative := find_column(columns, _NEGATIVES)) is not None:
        mapping["negative"] = negative.name
    return mapping


def read_search_pair(slots: Mapping[str, Any]) -> Sample:
    """Return a query with its positive and, if there is one, its negative; of lists the first item.

    Raises UnusableRow.
    """
    query, positive, negative = (
        to_answer(slots.get(slot)) for slot in ("query", "positive", "negative")
    )
    for slot, value in (("query", query), ("positive", positive)):
        if not value.strip():
            raise UnusableRow("“{slot}” is empty", UnusableKind.EMPTY, slot=slot)
    return Sample(
        "embedding",
        (build_message("user", query),),
        chosen=(build_message("assistant", positive).model_copy(update={"trained": False}),),
        rejected=(build_message("assistant", negative).model_copy(update={"trained": False}),)
        if negative.strip()
        else (),
    )


def find_compared_answers(columns: Columns) -> Iterator[dict[str, str]]:
    """Yield the slots `chosen`, `rejected` and `better` for two columns that a third compares."""
    for (one, first), (other, second) in find_column_pairs(columns):
        if scores := _find_scores(columns, one, other):
            yield {"chosen": first.name, "rejected": second.name, "better": scores}
        elif pointer := _find_pointer(columns, one + other):
            if one == "0":  # 1 is the second one
                first, second = second, first
            yield {"chosen": first.name, "rejected": second.name, "better": pointer.name}


def find_column_pairs(
    columns: Columns,
) -> Iterator[tuple[tuple[str, DataColumn], tuple[str, DataColumn]]]:
    """Yield pairs of columns whose names differ only in a final letter or number, with these
    endings.
    """
    stems: dict[str, dict[str, DataColumn]] = {}
    for column in columns:
        match = _SIDE.fullmatch(column.key)
        if match and column.kind in ("text", "turns", "turn", "texts"):
            stems.setdefault(match[1], {})[match[2]] = column
    for _, by_suffix in sorted(stems.items()):
        if "".join(sorted(by_suffix)) in ("ab", "01", "12"):
            one, other = sorted(by_suffix.items())
            yield one, other


def _find_scores(columns: Columns, one: str, other: str) -> str:
    """Return a comparison of two score columns with these endings, "" if there are none."""
    numbers = {column.key: column for column in columns if _is_numeric(column)}
    for name in _SCORES:
        if name + one in numbers and name + other in numbers:
            return f"{{{numbers[name + one].name}}} > {{{numbers[name + other].name}}}"
    return ""


def _is_numeric(column: DataColumn) -> bool:
    """Return whether a column has numbers; those of a CSV file are texts without letters."""
    return column.kind in ("number", "flag") or (column.kind == "text" and not column.worded)


def _find_pointer(columns: Columns, suffixes: str) -> DataColumn | None:
    """Return the column that names the better side, if its values are unambiguous."""
    for name in _POINTERS:
        column = next((item for item in columns if item.key == name and item.words), None)
        if column is None:
            continue
        sides = {word for word in column.words if not is_tie(word)}
        if _is_side_column(column) if suffixes == "ab" else sides <= set(suffixes):
            return column
        if suffixes == "ab" and sides == {"1", "2"}:
            return column
        if suffixes == "12" and _is_side_column(column):
            return column
    return None


def _is_side_column(column: DataColumn) -> bool:
    """Return whether a column's values mean a or b, in any spelling."""
    sides = [word for word in column.words if not is_tie(word)]
    return bool(sides) and all(map(parse_side, sides))
