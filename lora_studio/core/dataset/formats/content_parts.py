"""Turns whose content is a list of parts: texts, reasoning, tool calls, and tool results.

Parts have a `type`, as in the APIs of OpenAI and Anthropic, or a single field that names their
kind, as in Bedrock (`toolUse`) and Gemini (`functionCall`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lora_studio.core.dataset.formats.loss_masks import Ranges, is_masked
from lora_studio.core.dataset.formats.tool_calls import read_call, read_calls
from lora_studio.core.dataset.formats.values import (
    drop_nulls,
    is_missing,
    normalize_name,
    to_json,
    to_text,
)
from lora_studio.core.dataset.samples import UnusableKind, UnusableRow
from lora_studio.core.dataset.spec import Message, ToolCall

_MEDIA_PARTS = ("image", "audio", "video", "file")
_TEXT_PARTS = ("text", "input_text", "output_text", "summary_text", "reasoning_text", "refusal")
_UNREADABLE_PARTS = ("redacted_thinking", "cache_point")  # encrypted or withheld content
_OTHER_PARTS = ("thinking", "reasoning", "tool_use", "tool_call", "tool_result")
#: The kind of a part by its single field, normalized to letters.
_BY_FIELD = {
    "tooluse": "tool_use", "functioncall": "tool_use", "toolresult": "tool_result",
    "functionresponse": "tool_result", "reasoningcontent": "reasoning", "cachepoint": "cache_point",
    "image": "image", "video": "video", "inlinedata": "file", "filedata": "file",
}  # fmt: skip
#: Field names under which a result refers to its call.
_CALL_IDS = ("tool_use_id", "toolUseId", "tool_call_id", "call_id")
_REASONS = ("reasoningText", "text", "content", "value", "summary")
_RESULTS = ("content", "response", "output")
_NOT_TEXT = "a turn contains something other than text"
#: Fields that mark a part as a server-side call, its result, or a file.
_FOREIGN = (
    (re.compile(r"\w+_tool_use"), "input", dict),
    (re.compile(r"\w+_tool_result"), "tool_use_id", str),
    (re.compile("document"), "source", dict),
)


class Parts(NamedTuple):
    """Content in parts: text, reasoning, tool calls, and tool results as turns of their own.

    `untrained` are character ranges of the text whose parts say that they do not train.
    """

    text: str
    thinking: str = ""
    calls: tuple[ToolCall, ...] = ()
    results: Sequence[Message] = ()
    untrained: Ranges = ()


def read_parts(value: Any, names: Mapping[str, str] | None = None) -> Parts:
    """Return the parts of a turn's content; raises UnusableRow. `names` maps call IDs to tool
    names.
    """
    items = [value] if isinstance(value, dict) and is_part(value) else value
    if not isinstance(items, list | tuple):
        return Parts(to_text(value))
    if any(map(_is_foreign, items)):
        raise UnusableRow(_NOT_TEXT)
    if not all(isinstance(part, str) or is_part(part) for part in items):
        if any(isinstance(part, dict) and is_part(part) for part in items):
            raise UnusableRow(_NOT_TEXT)
        return Parts(to_text(value))
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[ToolCall] = []
    results: list[Message] = []
    untrained: list[tuple[int, int]] = []
    length = 0
    for whole in items:
        kind, part = _classify_part(whole)
        if kind.startswith(_MEDIA_PARTS):
            raise UnusableRow("a turn contains an image, audio, or video", UnusableKind.MEDIA)
        if isinstance(part, str):
            texts.append(to_text(part))
        elif kind in _UNREADABLE_PARTS:
            continue
        elif kind in ("thinking", "reasoning"):
            thoughts.append(_read_part_text(part, (kind, *_REASONS)))
        elif kind in ("tool_use", "tool_call"):
            calls += read_calls(part["value"]) if part.get("value") else (read_call(part),)
        elif kind == "tool_result":
            results.append(_read_result(part, names or {}))
        else:
            texts.append(_read_part_text(part, ("text", "content", "value", "refusal")))
        begin, length = length, sum(map(len, texts))
        if length > begin and isinstance(part, dict) and is_masked(part):
            untrained.append((begin, length))
    return Parts("".join(texts), "".join(thoughts), tuple(calls), results, tuple(untrained))


def is_part(part: Any) -> bool:
    """Return whether an object is a part of a turn rather than JSON that the turn contains."""
    if not isinstance(part, dict):
        return False
    kind = part.get("type")
    if isinstance(kind, str):
        known_kinds = _TEXT_PARTS + _OTHER_PARTS + _UNREADABLE_PARTS
        return kind in known_kinds or kind.startswith(_MEDIA_PARTS)
    return kind is None and (
        isinstance(part.get("text"), str) or _find_only_field(part) is not None
    )


def _is_foreign(part: Any) -> bool:
    """Return whether an object is a part that is not text, rather than JSON that the turn contains."""
    kind = part.get("type") if isinstance(part, dict) else None
    return isinstance(kind, str) and any(
        name.fullmatch(kind) and isinstance(part.get(field), sort) for name, field, sort in _FOREIGN
    )


def _classify_part(part: Any) -> tuple[str, Any]:
    """Return the kind of a part, and the object with its details."""
    if isinstance(part, str):
        return "text", part
    if isinstance(kind := part.get("type"), str):
        return kind, part
    if isinstance(part.get("text"), str):
        return "thinking" if part.get("thought") is True else "text", part
    field = _find_only_field(part)
    assert field is not None  # is_part checked that
    kind, inner = _BY_FIELD[normalize_name(field)], part[field]
    is_empty = kind == "reasoning" and all(is_missing(inner.get(name)) for name in _REASONS)
    return ("redacted_thinking" if is_empty else kind), inner


def _find_only_field(part: dict[str, Any]) -> str | None:
    """Return the single field that names the kind of a part."""
    objects = [name for name, item in part.items() if isinstance(item, dict)]
    return objects[0] if len(objects) == 1 and normalize_name(objects[0]) in _BY_FIELD else None


def _read_result(part: dict[str, Any], names: Mapping[str, str]) -> Message:
    """Return a tool result as a turn."""
    call = next((part[name] for name in _CALL_IDS if not is_missing(part.get(name))), "")
    name = to_text(part.get("name")) or names.get(str(call), "")
    content = next((part[field] for field in _RESULTS if not is_missing(part.get(field))), None)
    if isinstance(content, list):
        content = [_to_plain(item) for item in content]
    elif isinstance(content, dict) and not is_part(content):
        content = to_json(drop_nulls(content))
    elif content is None:
        raise UnusableRow(_NOT_TEXT)
    return Message(role="tool", content=read_parts(content).text, name=name)


def _to_plain(item: Any) -> Any:
    """Return an item of a result as text; {"json": …} becomes its JSON."""
    return to_json(item["json"]) if isinstance(item, dict) and set(item) == {"json"} else item


def _read_part_text(part: dict[str, Any], names: Sequence[str]) -> str:
    name = next((name for name in names if not is_missing(part.get(name))), None)
    if name is None:
        raise UnusableRow(_NOT_TEXT)
    inner = part[name]
    if isinstance(inner, list) or (isinstance(inner, dict) and is_part(inner)):
        return read_parts(inner).text
    return to_text(inner)
