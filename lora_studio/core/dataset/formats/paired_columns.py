"""Two answer columns with a third column that says which answer is preferred."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lora_studio.core.dataset.formats.columns import Columns, DataColumn
from lora_studio.core.dataset.formats.ranking import is_tie, parse_side

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
        if suffixes == "12" and sides and sides <= {"left", "right"}:
            return column
    return None


def _is_side_column(column: DataColumn) -> bool:
    """Return whether a column's values mean a or b, in any spelling."""
    sides = [word for word in column.words if not is_tie(word)]
    return bool(sides) and all(map(parse_side, sides))
