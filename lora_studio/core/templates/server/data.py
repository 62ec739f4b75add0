"""The data that an Ollama server provides to a TEMPLATE: messages, tools and calls.

Before it renders, the server collects the system texts and merges neighbors of one role. A tool is
converted to structs with fixed fields (other fields are lost); the arguments of a call are a map
that is iterated by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from lora_studio.core.templates.go.functions import JsonList, JsonMap, Struct, Value
from lora_studio.core.templates.server.terms import Message as Message

Tool = Mapping[str, Any]


# ------------------------------------------------------------------------------------ Go's structs


class _Property(Struct):
    tags: ClassVar[Mapping[str, str]] = {
        "AnyOf": "anyOf?", "Type": "type?", "Items": "items?", "Description": "description?",
        "Enum": "enum?", "Properties": "properties?", "Required": "required?",
    }  # fmt: skip


class _Parameters(Struct):
    tags: ClassVar[Mapping[str, str]] = {
        "Type": "type", "Defs": "$defs?", "Items": "items?", "Required": "required?",
        "Properties": "properties",
    }  # fmt: skip


class _Function(Struct):
    tags: ClassVar[Mapping[str, str]] = {
        "Name": "name", "Description": "description", "Parameters": "parameters"
    }  # fmt: skip


class _Tool(Struct):
    tags: ClassVar[Mapping[str, str]] = {"Type": "type", "Items": "items?", "Function": "function"}


class _CalledFunction(Struct):
    tags: ClassVar[Mapping[str, str]] = {"Index": "index", "Name": "name", "Arguments": "arguments"}


class _ToolCall(Struct):
    tags: ClassVar[Mapping[str, str]] = {"ID": "id?", "Function": "function"}


def _build_property(schema: Mapping[str, Any]) -> _Property:
    inner = schema.get("properties")
    return _Property(
        AnyOf=[_build_property(item) for item in schema.get("anyOf") or ()],
        Type=schema.get("type"),
        Items=schema.get("items"),
        Description=schema.get("description", ""),
        Enum=schema.get("enum"),
        Properties={key: _build_property(item) for key, item in inner.items()} if inner else None,
        Required=schema.get("required"),
    )


def _build_tool(tool: Tool) -> _Tool:
    function = tool.get("function") or {}
    parameters = function.get("parameters") or {}
    properties = parameters.get("properties") or {}
    return _Tool(
        Type=tool.get("type", ""),
        Items=tool.get("items"),
        Function=_Function(
            Name=function.get("name", ""),
            Description=function.get("description", ""),
            Parameters=_Parameters(
                Type=parameters.get("type", ""),
                Defs=parameters.get("$defs"),
                Items=parameters.get("items"),
                Required=parameters.get("required"),
                Properties={key: _build_property(item) for key, item in properties.items()},
            ),
        ),
    )


def _build_call(call: Mapping[str, Any], index: int) -> _ToolCall:
    function = call.get("function") or {}
    return _ToolCall(
        ID=call.get("id", ""),
        Function=_CalledFunction(
            Index=index,
            Name=function.get("name", ""),
            Arguments=JsonMap(_to_decoded(function.get("arguments") or {})),
        ),
    )


def _to_decoded(value: Value) -> Value:
    """Return JSON as Go decodes it without a type: every number is a float64."""
    match value:
        case bool():
            return value
        case int():
            return float(value)
        case dict():
            return {key: _to_decoded(item) for key, item in value.items()}
        case list():
            return [_to_decoded(item) for item in value]
    return value


# ------------------------------------------------------------------------------------- preparation


def merge_messages(messages: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Return messages as the server passes them on: neighbors of one role, except tool, are merged.

    A merged message has the calls and reasoning of its first part only.
    """
    prepared: list[Message] = []
    for message in messages:
        if prepared and prepared[-1]["role"] == message["role"] != "tool":
            prepared[-1]["content"] += "\n\n" + message["content"]
        else:
            prepared.append(dict(message))
    return prepared


def build_template_data(
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Tool] = (),
    think: bool | None = None,
) -> dict[str, object]:
    """Return the data of a conversation for a TEMPLATE: .System has every system text, .Messages
    all messages.
    """
    system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
    turns = [
        Struct(
            Role=message["role"],
            Content=message["content"],
            Thinking=message.get("thinking", ""),
            Images=[],
            ToolCalls=[
                _build_call(item, n) for n, item in enumerate(message.get("tool_calls") or ())
            ],
            ToolName=message.get("tool_name", ""),
            ToolCallID=message.get("tool_call_id", ""),
        )
        for message in merge_messages(messages)
    ]
    return {
        "System": system,
        "Messages": turns,
        "Tools": JsonList(_build_tool(tool) for tool in tools),
        "Response": "",
        "Think": bool(think),
        "ThinkLevel": "",
        "IsThinkSet": think is not None,
    }
