"""Rows that programs export inside other objects, and how to get them out.

- The dataset viewer of the hub: `{"row_idx": 0, "row": {…}, "truncated_cells": []}`.
- Label Studio: the data of a task with what its first annotation says, under the names of the fields.
- Argilla: the fields of a record with its responses, else its suggestions, under their names.
- Logs of chat requests: the messages asked with the first answer to them.

What an annotator wrote replaces the original. What was skipped, discarded or cut off is a faulty row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lora_studio.core.dataset.formats.columns import count_known_names
from lora_studio.core.dataset.formats.turns import CUT_SHORT, is_cut_short
from lora_studio.core.messages import text
from lora_studio.engine.dataset.files.row_faults import DISCARDED, TRUNCATED_CELLS
from lora_studio.engine.dataset.reasons import SkipReason

#: Names of a record's and of a task's own; beside others that are known the object is a row itself.
_OWN = ("data", "fields", "responses", "suggestions")
_CUT_SHORT = SkipReason(text(CUT_SHORT))
#: What of an annotation is its text, its choice or its number.
_GIVEN = ("text", "choices", "selected", "rating", "number", "taxonomy")

#: Fields that hold the reply to a request.
_REPLY = ("response", "output", "choices")


def is_envelope(values: Any) -> bool:
    """Return whether an object has its row inside."""
    return isinstance(values, dict) and any(
        kind(values) for kind in (_is_viewed, _is_task, _is_record, _is_request)
    )


def open_envelope(values: dict[str, Any]) -> tuple[dict[str, Any], SkipReason | None]:
    """Return the row inside an object, and why it is skipped; a plain object is the row itself."""
    if _is_viewed(values):
        return values["row"], TRUNCATED_CELLS if values.get("truncated_cells") else None
    if _is_task(values):
        notes = values["annotations"]
        is_skipped = bool(notes) and not _valid(notes)
        found, written = _annotated(notes)
        return {**found, **values["data"], **written}, DISCARDED if is_skipped else None
    if _is_record(values):
        answers = values.get("responses")
        row = {**_said(values.get("suggestions")), **values["fields"], **_said(answers)}
        given = _answers(answers)
        is_skipped = any(given.values()) and not any(map(_kept, given.values()))
        return row, DISCARDED if is_skipped else None
    if _is_request(values):
        is_cut = is_cut_short(_choice(values) or {})
        return _asked_and_answered(values), _CUT_SHORT if is_cut else None
    return values, None


def has_more_answers(values: dict[str, Any]) -> bool:
    """Return whether an object holds more answers than the one that is read."""
    if _is_task(values):
        return len(_valid(values["annotations"])) > 1
    if _is_record(values):
        return any(len(_kept(one)) > 1 for one in _answers(values.get("responses")).values())
    return not _is_viewed(values) and _is_request(values) and len(_choices(values)) > 1


def _is_viewed(values: dict[str, Any]) -> bool:
    is_alone = values.keys() <= {"row_idx", "row", "truncated_cells"}
    return is_alone and "row_idx" in values and isinstance(values.get("row"), dict)


def _is_task(values: dict[str, Any]) -> bool:
    notes, data = values.get("annotations"), values.get("data")
    if not isinstance(data, dict) or not isinstance(notes, list) or _is_row(values):
        return False
    return all(isinstance(one, dict) and isinstance(one.get("result"), list) for one in notes)


def _is_record(values: dict[str, Any]) -> bool:
    held = (values.get(name) for name in ("responses", "suggestions"))
    is_held = isinstance(values.get("fields"), dict) and any(isinstance(one, dict) for one in held)
    return is_held and not _is_row(values)


def _is_row(values: dict[str, Any]) -> bool:
    """Whether an object has usual columns beside those of a record or a task."""
    return count_known_names(values.keys() - _OWN) > 1


def _is_request(values: dict[str, Any]) -> bool:
    asked = _asked(values)
    return bool(asked) and (asked is values.get("body") or _answer(values) is not None)


def _valid(annotations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The annotations that were not cancelled."""
    return [one for one in annotations if not one.get("was_cancelled")]


def _annotated(annotations: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the first annotation says by the names of its fields, and of that what somebody wrote.

    What was written stands in the place of what the task holds under that name: it is the same text
    as somebody has corrected it.
    """
    found: dict[str, Any] = {}
    written: dict[str, Any] = {}
    for result in next(iter(_valid(annotations)), {"result": []})["result"]:
        value = result.get("value") if isinstance(result, dict) else None
        if isinstance(value, dict) and isinstance(
            name := result.get("from_name", result.get("type")), str
        ):
            given = next((value[key] for key in _GIVEN if key in value), None)
            given = given[0] if isinstance(given, list) and len(given) == 1 else given
            found[name] = given
            if result.get("type") == "textarea" and given:
                written[name] = given
    return found, written


def _said(answers: Any) -> dict[str, Any]:
    """The values of answers to the questions of a record, of several the first that was handed in."""
    kept = {name: _kept(given) for name, given in _answers(answers).items()}
    said = {name: one[0] for name, one in kept.items() if one}
    found = {name: one.get("value") if isinstance(one, dict) else one for name, one in said.items()}
    return {name: value for name, value in found.items() if value is not None}


def _answers(answers: Any) -> dict[str, list[Any]]:
    """All answers to the questions of a record."""
    named = answers.items() if isinstance(answers, dict) else ()
    return {name: given if isinstance(given, list) else [given] for name, given in named}


def _kept(answers: list[Any]) -> list[Any]:
    """The answers that were neither discarded nor are drafts."""
    status = (one.get("status") if isinstance(one, dict) else None for one in answers)
    pairs = zip(answers, status, strict=True)
    return [one for one, state in pairs if state not in ("discarded", "draft")]


def _asked_and_answered(values: dict[str, Any]) -> dict[str, Any]:
    """The messages with the answer to them, what else stands beside them, and the tools."""
    asked, answer = _asked(values), _answer(values)
    said = [*asked["messages"], *([answer] if answer else [])]
    if asked is values:
        return {key: one for key, one in values.items() if key not in _REPLY} | {"messages": said}
    return {"messages": said} | ({"tools": asked["tools"]} if asked.get("tools") else {})


def _asked(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object with the messages that were asked."""
    inner = (values.get(name) for name in ("request", "body", "input"))
    held = (one for one in (values, *inner) if isinstance(one, dict))
    return next((one for one in held if _is_asking(one.get("messages"))), {})


def _is_asking(messages: Any) -> bool:
    """Whether a value is messages of which the last one is no answer."""
    last = messages[-1] if isinstance(messages, list) and messages else None
    return isinstance(last, dict) and last.get("role") in ("system", "user", "tool")


def _answer(values: Mapping[str, Any]) -> dict[str, Any] | None:
    """The first answer in what came back."""
    message = (_choice(values) or {}).get("message")
    return message if isinstance(message, dict) else None


def _choice(values: Mapping[str, Any]) -> dict[str, Any] | None:
    """The first of the answers that came back, with why it ended."""
    first = next(iter(_choices(values)), None)
    return first if isinstance(first, dict) else None


def _choices(values: Mapping[str, Any]) -> list[Any]:
    """All answers that came back."""
    came = values.get("response", values.get("output"))
    inner = came.get("body") if isinstance(came, dict) else None
    for one in (inner, came, values):
        choices = one.get("choices") if isinstance(one, dict) else None
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            return choices
    return []
