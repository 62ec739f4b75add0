"""Prompts that the model answers itself, for rewards: rows without an answer, or with a reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lora_studio.core.dataset.formats import column_names
from lora_studio.core.dataset.formats import columns as formats_columns
from lora_studio.core.dataset.formats.columns import (
    Columns,
    FormatCandidate,
    find_column,
    find_optional_column,
)
from lora_studio.core.dataset.formats.mapping import list_columns
from lora_studio.core.dataset.formats.row_shapes import find_shapes
from lora_studio.core.dataset.formats.values import is_blank, to_answer, to_text
from lora_studio.core.dataset.samples import Sample, UnusableKind, UnusableRow
from lora_studio.core.dataset.spec import Message

#: Columns with the answer to compare with.
_REFERENCES = (
    "reference", "referenceanswer", "references", "groundtruth", "expectedanswer", "finalanswer",
    "answer", "solution", "answers", "target", "output", "response", "completion",
)  # fmt: skip


def find_prompts(columns: Columns) -> list[FormatCandidate]:
    """Return the reading of columns as prompts with an optional reference.

    Of these, only prompts with an answer to compare are in `find_candidates`: where rows have other answers,
    training on them is the usual choice.
    """
    if verifiable := [item for item in find_shapes(columns) if item.format == "prompts"]:
        return verifiable
    questions = formats_columns.find_questions(columns)
    questions.sort(key=lambda item: item.key not in column_names.PROMPTS)
    talks = formats_columns.find_conversations(columns)
    prompt = next(iter((*questions, *talks)), None)
    if prompt is None:
        return []
    mapping = {"prompt": prompt.name}
    others = [item for item in columns if item != prompt]
    if (reference := find_column(others, _REFERENCES)) is not None:
        mapping["reference"] = reference.name
    if (system := find_optional_column(others, column_names.SYSTEMS, "text")) is not None:
        mapping["system"] = system.name
    sure = 0.9 if prompt.key in (*column_names.PROMPTS, *column_names.QUESTIONS) else 0.6
    return [FormatCandidate("prompts", mapping, 0.2, sure)]


def has_short_references(columns: Columns) -> bool:
    """Return whether prompts have answers of single words or numbers, which rewards can compare with."""
    names = {item.mapping.get("reference") for item in find_prompts(columns)}
    return any(
        item.name in names and item.kind in ("text", "number") and 10 * item.phrased <= item.filled
        for item in columns
    )


def split(turns: Sequence[Message], reference: Any) -> Sample:
    """Return a conversation up to its last answer as a prompt; that answer is the reference without another."""
    prompt = list(turns)
    if prompt and prompt[-1].role == "assistant":
        last = prompt.pop()
        reference = last.content if is_blank(reference) else reference
    if not any(turn.role in ("user", "tool") and turn.content.strip() for turn in prompt):
        raise UnusableRow("the prompt is empty", UnusableKind.EMPTY)
    expected = None if is_blank(reference) else str(to_answer(reference))
    return Sample("grpo", tuple(prompt), reference=expected)


def add_columns(sample: Sample, values: Mapping[str, Any], mapping: Mapping[str, str]) -> Sample:
    """Return the sample with the columns of its row that fill no slot, as text."""
    used = list_columns(mapping, values)
    kept = ((name, value) for name, value in values.items() if name not in used)
    columns = tuple((str(name), str(to_text(value))) for name, value in kept if not is_blank(value))
    return replace(sample, columns=columns)
