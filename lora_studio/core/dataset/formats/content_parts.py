"""Turns whose content is a list of parts: texts, reasoning, tool calls, and tool results.

Parts have a `type`, as in the APIs of OpenAI and Anthropic, or only a `text`. Tool calls and files in
the notation of Bedrock (`toolUse`) and Gemini (`functionCall`) make the row unusable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lora_studio.core.dataset.formats.loss_masks import Ranges, is_masked
from lora_studio.core.dataset.formats.media import is_media_part
from lora_studio.core.dataset.formats.tool_calls import read_call, read_calls
from lora_studio.core.dataset.formats.values import (
    drop_nulls,
    is_missing,
    to_json,
    to_text,
)
from lora_studio.core.dataset.samples import UnusableKind, UnusableRow
from lora_studio.core.dataset.spec import Message, ToolCall

_TEXT_PARTS = ("text", "input_text", "output_text", "summary_text", "reasoning_text", "refusal")
_UNREADABLE_PART = "redacted_thinking"  # encrypted content
_OTHER_PARTS = ("thinking", "reasoning", "tool_use", "tool_call", "tool_result")
#: Objects in parts of other APIs, which say that a part is not the text or the JSON of a turn.
_OTHER_NOTATIONS = (
    "toolUse", "toolResult", "reasoningContent", "functionCall", "functionResponse", "inlineData",
    "fileData", "function_call", "function_response", "inline_data", "file_data",
)  # fmt: skip
#: Ends of the kinds of calls that a server carries out itself, and of their results.
_SERVER_PARTS = ("_tool_use", "_tool_result")
#: Field names under which a result refers to its call.
_CALL_IDS = ("tool_use_id", "tool_call_id", "call_id")
_REASONS = ("text", "content", "value", "summary")
_RESULTS = ("content", "output")
_NOT_TEXT = "a turn contains something other than text"
_OTHER_API = "a turn has parts in the notation of Bedrock or Gemini, which isn't supported"


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
    _refuse_foreign_parts(items)
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
    for part in items:
        kind = (part.get("type") or "text") if isinstance(part, dict) else "text"
        if isinstance(part, str):
            texts.append(to_text(part))
        elif kind == _UNREADABLE_PART:
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
        known_kinds = (*_TEXT_PARTS, *_OTHER_PARTS, _UNREADABLE_PART)
        return kind in known_kinds or is_media_part(part)
    return kind is None and isinstance(part.get("text"), str)


def _refuse_foreign_parts(items: Sequence[Any]) -> None:
    """Raise UnusableRow for media and parts that are neither supported nor JSON that the turn contains."""
    for part in items:
        if not isinstance(part, dict):
            continue
        if is_media_part(part):
            raise UnusableRow("a turn contains an image, audio, or video", UnusableKind.MEDIA)
        is_other = any(isinstance(part.get(name), dict) for name in _OTHER_NOTATIONS)
        if is_other or part.get("thought") is True:
            raise UnusableRow(_OTHER_API)
        kind = str(part.get("type"))
        is_file = kind == "document" and isinstance(part.get("source"), dict)
        if is_file or kind.endswith(_SERVER_PARTS):
            raise UnusableRow(_NOT_TEXT)


def _read_result(part: dict[str, Any], names: Mapping[str, str]) -> Message:
    """Return a tool result as a turn."""
    call = next((part[name] for name in _CALL_IDS if not is_missing(part.get(name))), "")
    name = to_text(part.get("name")) or names.get(str(call), "")
    content = next((part[field] for field in _RESULTS if not is_missing(part.get(field))), None)
    if isinstance(content, dict) and not is_part(content):
        content = to_json(drop_nulls(content))
    elif content is None:
        raise UnusableRow(_NOT_TEXT)
    return Message(role="tool", content=read_parts(content).text, name=name)


def _read_part_text(part: dict[str, Any], names: Sequence[str]) -> str:
    name = next((name for name in names if not is_missing(part.get(name))), None)
    if name is None:
        raise UnusableRow(_NOT_TEXT)
    inner = part[name]
    if isinstance(inner, list) or (isinstance(inner, dict) and is_part(inner)):
        return read_parts(inner).text
    return to_text(inner)
