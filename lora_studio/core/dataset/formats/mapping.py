"""Which column or template fills each slot of a format, and its value for one row.

A value that equals a column's name is that column, with its type. In any other value, the names in
braces are columns, substituted in one pass into text: `{question}\\n{context}`, where `\\n` and
`\\t` may be written as escapes. Braces in the data are kept, as are braces of a template that
enclose other braces. A dot selects a field of an object: `translation.en`. If a value is missing or
empty, the blanks of the template that join it to the others are dropped. A slot mapped to "" stays
empty. Choices in one column each are a template with the label before each of them. The slot `speaker` is
the exception: its value is the name of a person, not of a column.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Container, Iterable, Mapping
from typing import Any

from lora_studio.core.dataset.formats.values import (
    is_blank,
    is_missing,
    parse_label,
    parse_literal,
    to_text,
)
from lora_studio.core.dataset.spec import FORMATS, RowFormat
from lora_studio.core.messages import Text, counted, text
from lora_studio.core.problems import Problem
from lora_studio.core.tasks.samples import dataset_error, quote_names

_PLACE = re.compile(r"\{([^{}]+)\}")
_MOST_NAMES = 30
#: The slot for the name of the person whose messages are the answers.
SPEAKER = "speaker"


def list_slots(row_format: RowFormat) -> tuple[str, ...]:
    """Return the slots of a format by name."""
    return tuple(slot.rstrip("*") for slot in FORMATS[row_format].slots)


def list_required_slots(row_format: RowFormat) -> tuple[str, ...]:
    """Return the slots that must be filled."""
    return tuple(slot.rstrip("*") for slot in FORMATS[row_format].slots if slot.endswith("*"))


def fill_slots(values: Mapping[str, Any], mapping: Mapping[str, str]) -> dict[str, Any]:
    """Return the value of each slot of a row, without missing ones; raises UnusableRow."""
    slot_values = {}
    for slot, source in mapping.items():
        value = (
            _get_labeled_choices(values, source)
            if slot == "choices"
            else _get_true_names(values, source)
            if slot == "label"
            else source or None
            if slot == SPEAKER
            else _get_value(values, source)
        )
        if not is_missing(value):
            slot_values[slot] = value
    return slot_values


def check_mapping(
    row_format: RowFormat, mapping: Mapping[str, str], columns: Iterable[str]
) -> list[Problem]:
    """Return the problems of a mapping that the user wrote: unknown slots and columns."""
    names, problems = list(columns), []
    for slot, source in mapping.items():
        if slot not in list_slots(row_format):
            problems.append(
                dataset_error(
                    "unknown_slot",
                    "This format has no slot “{slot}”.",
                    "Its slots are {slots}.",
                    slot=slot,
                    slots=quote_names(list_slots(row_format)),
                )
            )
            continue
        if slot == SPEAKER:
            continue
        missing = [name for name in find_column_names(source, names) if not has_column(name, names)]
        if missing:
            problems.append(
                dataset_error(
                    "unknown_column",
                    counted(
                        len(missing),
                        "The column {names}, mapped to “{slot}”, doesn't exist.",
                        "The columns {names}, mapped to “{slot}”, don't exist.",
                        names=quote_names(missing),
                        slot=slot,
                    ),
                    text(
                        "The columns are: {columns}. Enter one of them, or a template such as {example}.",
                        columns=_shorten_names(names),
                        example=r"{question}\n{context}",
                    ),
                )
            )
    return problems


def find_column_names(source: str, columns: Iterable[str] = ()) -> list[str]:
    """Return the columns that a mapping's value refers to."""
    if not source:
        return []
    if source in columns:
        return [source]
    return _PLACE.findall(source) or [source]


def prefix_names(source: str, prefix: str) -> str:
    """Return a mapping's value with its columns as fields of an object in the column `prefix`."""
    if not _PLACE.search(source):
        return f"{prefix}.{source}"
    return _PLACE.sub(lambda place: f"{{{prefix}.{place[1]}}}", source)


def list_columns(mapping: Mapping[str, str], columns: Collection[str] = ()) -> list[str]:
    """Return the columns that fill the slots of a mapping, each once."""
    sources = [source for slot, source in mapping.items() if slot != SPEAKER]
    names = (name for source in sources for name in find_column_names(source, columns))
    return list(dict.fromkeys(names))


def has_column(name: str, columns: Container[str]) -> bool:
    """Return whether a name is a column, or with a dot a field of one."""
    return name in columns or ("." in name and name.split(".", 1)[0] in columns)


def _get_value(values: Mapping[str, Any], source: str) -> Any:
    if source in values:
        return values[source]
    parts = _split_template(source)
    if len(parts) == 1:
        return get_column(values, source)
    return _render_template(values, parts)


@functools.lru_cache(maxsize=256)
def _split_template(template: str) -> tuple[str, ...]:
    """Return alternating text and column names, starting with text; a single piece has no column."""
    pieces = _PLACE.split(template)
    pieces[0::2] = [text.replace(r"\n", "\n").replace(r"\t", "\t") for text in pieces[0::2]]
    return tuple(pieces)


def _get_labeled_choices(values: Mapping[str, Any], source: str) -> Any:
    """Return choices in one column each, by the label before each in the template: `A. {A}\\nB. {B}`."""
    parts = _split_template(source)
    if source in values or len(parts) < 5:
        return _get_value(values, source)
    labels = [text.strip().strip("().:") for text in parts[0:-1:2]]
    choices = zip(labels, [get_column(values, name) for name in parts[1::2]], strict=True)
    labeled = [(label, value) for label, value in choices if not is_blank(value)]
    is_named = all(labels) and len(set(labels)) == len(labels)
    return (dict(labeled) if is_named else [value for _, value in labeled]) or None


def _get_true_names(values: Mapping[str, Any], source: str) -> Any:
    """Return the names of the true columns of a template that only lists columns: `{toxic} {insult}`.

    Several names are separated by commas, and “none” stands for no name. The value of any other source is
    returned as usual. Returns None if a column has no value, or -1 for an unknown one.
    """
    parts = _split_template(source)
    if source in values or len(parts) < 5 or any(text.strip() for text in parts[::2]):
        return _get_value(values, source)
    columns = {name: get_column(values, name) for name in parts[1::2]}
    if any(is_blank(value) or str(value) in ("-1", "-1.0") for value in columns.values()):
        return None  # one of the labels isn't known
    flags = {name: parse_label(value) for name, value in columns.items()}
    if None in flags.values():
        return _get_value(values, source)
    return ", ".join(name for name, flag in flags.items() if flag) or "none"


def get_column(values: Mapping[str, Any], name: str) -> Any:
    """Return the value of a column, or with dots of a field of one; None without it."""
    if name in values or "." not in name:
        return values.get(name)
    first, rest = name.split(".", 1)
    inner = parse_literal(values.get(first))
    return get_column(inner, rest) if isinstance(inner, dict) else None


def _render_template(values: Mapping[str, Any], pieces: tuple[str, ...]) -> str | None:
    """Return the text of a template; None if every column in it is missing."""
    columns = [get_column(values, name) for name in pieces[1::2]]
    if all(is_missing(value) for value in columns):
        return None
    texts = [to_text(value) for value in columns]
    between = list(pieces[0::2])
    for index, given_text in enumerate(texts):
        # Drop the blanks before an empty value; for the first value, the blanks after it.
        side = index if index else index + 1
        if not given_text and not between[side].strip():
            between[side] = ""
    return between[0] + "".join(
        text + after for text, after in zip(texts, between[1:], strict=True)
    )


def _shorten_names(columns: list[str]) -> Text:
    names = tuple(text("{name}", name=name) for name in columns[:_MOST_NAMES])
    if not names:
        return text("none")
    if len(columns) > _MOST_NAMES:
        return text("{names} and {count} more", names=names, count=len(columns) - _MOST_NAMES)
    return text("{names}", names=names)
