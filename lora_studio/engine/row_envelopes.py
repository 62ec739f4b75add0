"""Rows that programs hand out inside of other objects: what of these is the row.

- The dataset viewer of the hub: `{"row_idx": 0, "row": {…}, "truncated_cells": []}`.
- Label Studio: the data of a task with what its first annotation says, under the names of the fields.
- Argilla: the fields of a record with its responses, else its suggestions, under their names.
- Logs of chat requests: the messages asked with the first answer to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_CUT = "the dataset viewer has cut off some of its cells"
#: What of an annotation is its text, its choice or its number.
_GIVEN = ("text", "choices", "selected", "rating", "number", "taxonomy")

#: Where what came back to a request stands.
_CAME = ("response", "output", "choices")


def is_envelope(values: Any) -> bool:
    """Whether an object has its row inside."""
    return isinstance(values, dict) and any(
        kind(values) for kind in (_is_viewed, _is_task, _is_record, _is_request)
    )


def opened(values: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The row in an object with why it is unusable; an object without one is the row itself."""
    if _is_viewed(values):
        return values["row"], _CUT if values.get("truncated_cells") else ""
    if _is_task(values):
        return {**_annotated(values["annotations"]), **values["data"]}, ""
    if _is_record(values):
        return {
            **_said(values.get("suggestions")),
            **_said(values.get("responses")),
            **values["fields"],
        }, ""
    if _is_request(values):
        return _asked_and_answered(values), ""
    return values, ""


def _is_viewed(values: dict[str, Any]) -> bool:
    is_alone = values.keys() <= {"row_idx", "row", "truncated_cells"}
    return is_alone and "row_idx" in values and isinstance(values.get("row"), dict)


def _is_task(values: dict[str, Any]) -> bool:
    notes, data = values.get("annotations"), values.get("data")
    if not isinstance(data, dict) or not isinstance(notes, list):
        return False
    return all(isinstance(one, dict) and isinstance(one.get("result"), list) for one in notes)


def _is_record(values: dict[str, Any]) -> bool:
    held = (values.get(name) for name in ("responses", "suggestions"))
    return isinstance(values.get("fields"), dict) and any(isinstance(one, dict) for one in held)


def _is_request(values: dict[str, Any]) -> bool:
    asked = _asked(values)
    return bool(asked) and (asked is values.get("body") or _answer(values) is not None)


def _annotated(annotations: list[dict[str, Any]]) -> dict[str, Any]:
    """What the first annotation that was not cancelled says, by the names of its fields."""
    valid = (one for one in annotations if not one.get("was_cancelled"))
    found: dict[str, Any] = {}
    for result in next(valid, {"result": []})["result"]:
        value = result.get("value") if isinstance(result, dict) else None
        if isinstance(value, dict) and isinstance(
            name := result.get("from_name", result.get("type")), str
        ):
            given = next((value[key] for key in _GIVEN if key in value), None)
            found[name] = given[0] if isinstance(given, list) and len(given) == 1 else given
    return found


def _said(answers: Any) -> dict[str, Any]:
    """The values of answers to the questions of a record, of several the first."""
    found: dict[str, Any] = {}
    for name, given in answers.items() if isinstance(answers, dict) else ():
        one = given[0] if isinstance(given, list) and given else given
        found[name] = one.get("value") if isinstance(one, dict) else one
    return found


def _asked_and_answered(values: dict[str, Any]) -> dict[str, Any]:
    """The messages with the answer to them, what else stands beside them, and the tools."""
    asked, answer = _asked(values), _answer(values)
    said = [*asked["messages"], *([answer] if answer else [])]
    if asked is values:
        return {key: one for key, one in values.items() if key not in _CAME} | {"messages": said}
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
    came = values.get("response", values.get("output"))
    inner = came.get("body") if isinstance(came, dict) else None
    for one in (inner, came, values):
        choices = one.get("choices") if isinstance(one, dict) else None
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            message = choices[0].get("message")
            return message if isinstance(message, dict) else None
    return None
