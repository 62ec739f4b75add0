"""Repairs of single rows, as recorded in `dataset.fixes`: pure and idempotent.

Repairs that need the whole dataset (duplicates, leakage, outliers) are in `engine.dataset.quality`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from lora_studio.core.dataset.faults import CONTROLS, MARKERS, Fault, fix_mojibake, has_fault
from lora_studio.core.dataset.personal_data import mask_personal_data
from lora_studio.core.dataset.spec import Repair
from lora_studio.core.messages import Text, text
from lora_studio.core.tasks.samples import Message, Sample, UnusableRow
from lora_studio.core.tasks.table import TASKS

#: Why a row is skipped, by the repair that skips it.
REASONS: dict[Repair, Text] = {
    "drop_duplicates": text("the row duplicates an earlier row"),
    "drop_near_duplicates": text("the row nearly duplicates an earlier row"),
    "drop_leaked": text("the row is also in the validation data"),
    "drop_empty_turns": text("a turn is empty"),
    "drop_role_order": text("the turns are out of order"),
    "drop_lost_characters": text("the text has lost characters"),
    "drop_refusals": text("an answer refuses or claims to be another model"),
    "remove_markers": text("a turn contains markers of a chat template"),
    "drop_contradictions": text("the row contradicts itself or another row"),
    "drop_minority_schema": text("the row's columns differ from those of most rows"),
    "drop_outliers": text("the row is extremely long"),
    "drop_identical_pairs": text("the query and the passage are the same"),
}

#: Faults of a single row for which the recorded repair skips the row.
_DROPS: dict[Repair, Fault] = {
    "drop_empty_turns": "empty_turn",
    "drop_role_order": "role_order",
    "drop_lost_characters": "lost_characters",
    "remove_markers": "markers",
    "drop_refusals": "refusal",
    "drop_contradictions": "same_pair",
    "drop_identical_pairs": "identical_pair",
}

_FIRST_MARKER = re.compile(rf"\s*(?:{MARKERS.pattern})")
_LAST_MARKER = re.compile(rf"(?:{MARKERS.pattern})\Z")
#: Length of the longest marker in characters.
_LONGEST_MARKER = 44


def repair(sample: Sample, fixes: Collection[Repair]) -> Sample:
    """Return the row after the single-row repairs in `fixes`; raises UnusableRow if one of them
    skips it.
    """
    changes = [change for fix, change in _TEXT_CHANGES.items() if fix in fixes]
    if changes:
        sample = _with_texts(sample, changes)
    if "merge_turns" in fixes:
        sample = _with_merged_turns(sample)
    if "merge_labels" in fixes and TASKS[sample.task].has_classes:
        *before, answer = sample.messages
        label = answer.model_copy(update={"content": fold_label(answer.content)})
        sample = replace(sample, messages=(*before, label))
    for fix, fault in _DROPS.items():
        if fix in fixes and has_fault(sample, fault):
            raise UnusableRow(REASONS[fix])
    return sample


def fold_label(label: str) -> str:
    """Return what labels have in common that differ only in case or spaces."""
    return " ".join(label.lower().split())


def repair_encoding(text: str) -> str:
    """Return the text without control characters and with misread UTF-8 decoded again."""
    return CONTROLS.sub("", fix_mojibake(text))


def remove_markers(text: str) -> str:
    """Return the text without chat template markers and white space at its ends.

    Markers are removed one at a time, from the ends inwards: a pattern for all of them at once
    would backtrack at every position in a long run of blanks.
    """
    start, end = 0, len(text)
    while first := _FIRST_MARKER.match(text, start):
        start = _skip_blanks(text, first.end())
    while last := _LAST_MARKER.search(text, *_find_tail(text, start, end)):
        end = last.start()
    if end < len(text):
        end = _find_tail(text, start, end)[1]
    return text[start:end]


def _skip_blanks(text: str, start: int) -> int:
    while start < len(text) and text[start].isspace():
        start += 1
    return start


def _find_tail(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the end of the text that a marker could occupy, without trailing blanks."""
    while end > start and text[end - 1].isspace():
        end -= 1
    return max(start, end - _LONGEST_MARKER), end


def merge_turns(turns: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return the turns with neighbors of one role merged, separated by a blank line.

    Tool results stay separate. A merged turn trains only if both of its parts did.
    """
    merged: list[Message] = []
    for turn in turns:
        if merged and merged[-1].role == turn.role != "tool":
            merged[-1] = _merge_messages(merged[-1], turn)
        else:
            merged.append(turn)
    return tuple(merged)


def _merge_messages(one: Message, other: Message) -> Message:
    def both(first: str, second: str) -> str:
        return "\n\n".join(part for part in (first, second) if part.strip())

    content = both(one.content, other.content)
    shift = len(content) - len(other.content) if other.content.strip() else 0
    behind = tuple((begin + shift, end + shift) for begin, end in other.untrained)
    return one.model_copy(
        update={
            "content": content,
            "untrained": (one.untrained if one.content.strip() else ()) + behind,
            "thinking": both(one.thinking, other.thinking),
            "tool_calls": one.tool_calls + other.tool_calls,
            "trained": one.trained and other.trained,
        }
    )


def _with_texts(sample: Sample, changes: Sequence[Callable[[str], str]]) -> Sample:
    def change(text: str) -> str:
        # Each step may reveal work for the others: a control character within a marker, a
        # line that decodes once the marker is gone. Every change leaves less to change.
        before = None
        while text != before:
            before = text
            for step in changes:
                text = step(text)
        return text

    def change_unmasked(text: str, untrained: Sequence[tuple[int, int]] | None) -> str:
        if untrained and change(text) != text:
            raise UnusableRow("a repair would shift the masked parts of an answer")
        return change(text)

    def change_turns(turns: tuple[Message, ...]) -> tuple[Message, ...]:
        return tuple(
            turn.model_copy(
                update={
                    "content": change_unmasked(turn.content, turn.untrained),
                    "thinking": change(turn.thinking),
                }
            )
            for turn in turns
        )

    return replace(
        sample,
        messages=change_turns(sample.messages),
        text=change_unmasked(sample.text, sample.untrained),
        chosen=change_turns(sample.chosen),
        rejected=change_turns(sample.rejected),
    )


def _with_merged_turns(sample: Sample) -> Sample:
    return replace(
        sample,
        messages=merge_turns(sample.messages),
        chosen=merge_turns(sample.chosen),
        rejected=merge_turns(sample.rejected),
    )


_TEXT_CHANGES: dict[Repair, Callable[[str], str]] = {
    "repair_encoding": repair_encoding,
    "remove_markers": remove_markers,
    "mask_personal_data": mask_personal_data,
}
