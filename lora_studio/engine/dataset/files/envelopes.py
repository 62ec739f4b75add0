"""Rows that programs export inside other objects, and how to extract them.

- The dataset viewer of the hub: `{"row_idx": 0, "row": {…}, "truncated_cells": []}`.
- Label Studio: the data of a task with the values of its first annotation, by field name.
- Argilla: the fields of a record with its responses, else its suggestions, by name.
- Logs of chat requests: the messages with the first answer.

Text written by an annotator replaces the original. A skipped, discarded or truncated record is a
faulty row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lora_studio.core.dataset.formats.columns import count_known_names
from lora_studio.core.dataset.formats.turns import CUT_SHORT, is_cut_short
from lora_studio.core.messages import text
from lora_studio.engine.dataset.files.row_faults import DISCARDED, TRUNCATED_CELLS
from lora_studio.engine.dataset.reasons import SkipReason

#: Keys of a record and of a task; with other known columns next to them, the object is a row itself.
_OWN = ("data", "fields", "responses", "suggestions")
_CUT_SHORT = SkipReason(text(CUT_SHORT))
#: Keys of an annotation's text, choice or number.
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
        given, written = _annotated(notes)
        return {**given, **values["data"], **written}, DISCARDED if is_skipped else None
    if _is_record(values):
        answers = values.get("responses")
        row = {
            **_submitted_values(values.get("suggestions")),
            **values["fields"],
            **_submitted_values(answers),
        }
        given = _answers(answers)
        is_skipped = any(given.values()) and not any(map(_submitted, given.values()))
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
        return any(len(_submitted(one)) > 1 for one in _answers(values.get("responses")).values())
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
    """Return whether an object has known columns in addition to those of a record or a task."""
    return count_known_names(values.keys() - _OWN) > 1


def _is_request(values: dict[str, Any]) -> bool:
    asked = _asked(values)
    return bool(asked) and (asked is values.get("body") or _answer(values) is not None)


def _valid(annotations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the annotations that were not canceled."""
    return [one for one in annotations if not one.get("was_cancelled")]


def _annotated(annotations: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the values of the first annotation by field name, and those of its text areas.

    A text area replaces the task's value of the same name: it is that text, corrected.
    """
    by_field: dict[str, Any] = {}
    written: dict[str, Any] = {}
    for result in next(iter(_valid(annotations)), {"result": []})["result"]:
        value = result.get("value") if isinstance(result, dict) else None
        if isinstance(value, dict) and isinstance(
            name := result.get("from_name", result.get("type")), str
        ):
            given = next((value[key] for key in _GIVEN if key in value), None)
            given = given[0] if isinstance(given, list) and len(given) == 1 else given
            by_field[name] = given
            if result.get("type") == "textarea" and given:
                written[name] = given
    return by_field, written


def _submitted_values(answers: Any) -> dict[str, Any]:
    """Return the value of the first submitted answer to each question of a record."""
    submitted = {name: _submitted(given) for name, given in _answers(answers).items()}
    first = {name: given[0] for name, given in submitted.items() if given}
    values = {
        name: answer.get("value") if isinstance(answer, dict) else answer
        for name, answer in first.items()
    }
    return {name: value for name, value in values.items() if value is not None}


def _answers(answers: Any) -> dict[str, list[Any]]:
    """Return all answers to the questions of a record."""
    named = answers.items() if isinstance(answers, dict) else ()
    return {name: given if isinstance(given, list) else [given] for name, given in named}


def _submitted(answers: list[Any]) -> list[Any]:
    """Return the answers that are neither discarded nor drafts."""
    status = (one.get("status") if isinstance(one, dict) else None for one in answers)
    pairs = zip(answers, status, strict=True)
    return [one for one, state in pairs if state not in ("discarded", "draft")]


def _asked_and_answered(values: dict[str, Any]) -> dict[str, Any]:
    """Return the messages with their answer, the tools, and the other values of the request."""
    asked, answer = _asked(values), _answer(values)
    said = [*asked["messages"], *([answer] if answer else [])]
    if asked is values:
        return {key: one for key, one in values.items() if key not in _REPLY} | {"messages": said}
    return {"messages": said} | ({"tools": asked["tools"]} if asked.get("tools") else {})


def _asked(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the object that holds the messages of the request."""
    inner = (values.get(name) for name in ("request", "body", "input"))
    held = (one for one in (values, *inner) if isinstance(one, dict))
    return next((one for one in held if _is_asking(one.get("messages"))), {})


def _is_asking(messages: Any) -> bool:
    """Return whether a value is a list of messages whose last one awaits an answer."""
    last = messages[-1] if isinstance(messages, list) and messages else None
    return isinstance(last, dict) and last.get("role") in ("system", "user", "tool")


def _answer(values: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the first message of the response."""
    message = (_choice(values) or {}).get("message")
    return message if isinstance(message, dict) else None


def _choice(values: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the first choice of the response, with its finish reason."""
    first = next(iter(_choices(values)), None)
    return first if isinstance(first, dict) else None


def _choices(values: Mapping[str, Any]) -> list[Any]:
    """Return all choices of the response."""
    came = values.get("response", values.get("output"))
    inner = came.get("body") if isinstance(came, dict) else None
    for one in (inner, came, values):
        choices = one.get("choices") if isinstance(one, dict) else None
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            return choices
    return []
