"""Render a TEMPLATE as an Ollama server does, in its newer form (.Messages) and its older one.

The older form (.System, .Prompt, .Response) is rendered once for each exchange; the last one ends
at .Response, since the model continues there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from datetime import date
from typing import Any, ClassVar

from lora_studio.core.templates.go.parsing import (
    ActionNode,
    BranchNode,
    CommandNode,
    FieldNode,
    Node,
    PipeNode,
    RangeNode,
    TemplateTree,
)
from lora_studio.core.templates.go.rendering import GoTemplate, JsonList, JsonMap, Struct, Value
from lora_studio.core.templates.server.terms import Message as Message
from lora_studio.core.templates.server.terms import RenderRequest


def render_as_server(source: str, request: RenderRequest, *, today: date | None = None) -> str:
    """Return the prompt that a server would build for a request; raises GoTemplateError."""
    template = GoTemplate(source)
    names = set(iter_names(template.tree))
    if not names & {"messages", "response"}:
        # Like the server, append the response to a TEMPLATE that doesn't contain it.
        response = ActionNode(PipeNode((CommandNode((FieldNode(("Response",)),), 0),), 0))
        template = GoTemplate(replace(template.tree, root=(*template.tree.root, response)))
    if request.prompt and request.suffix:
        legacy_data = {"Prompt": request.prompt, "Suffix": request.suffix, "Response": ""}
        return template.render(legacy_data, today=today)
    messages = request.conversation
    if "messages" in names:
        data = build_template_data(messages, request.tools, request.think)
        return template.render(data, today=today)
    return _render_exchanges(template, messages, request.think, today)


def _render_exchanges(
    template: GoTemplate, messages: list[Message], think: bool | None, today: date | None
) -> str:
    """Return one rendering per exchange: a system text, a prompt and a response, each if present."""
    empty = {"System": "", "Prompt": "", "Response": ""}
    extra = {"Think": bool(think), "ThinkLevel": "", "IsThinkSet": think is not None}
    now, text = dict(empty), ""
    for message in merge_messages(messages):
        slot = {"system": "System", "user": "Prompt", "assistant": "Response"}.get(message["role"])
        later = {"System": ("Prompt", "Response"), "Prompt": ("Response",)}.get(slot or "", ())
        if any(now[name] for name in later):
            text += template.render(now | extra, today=today)
            now = dict(empty)
        if slot:
            now[slot] = message["content"]
    # Like the server, use the shortened template without its {{define}} blocks.
    shortened = TemplateTree(
        template.tree.source, _cut_at_response(template.tree.root, [False]), {}
    )
    return text + GoTemplate(shortened).render(now | extra, today=today)


def _cut_at_response(nodes: tuple[Node, ...], reached: list[bool]) -> tuple[Node, ...]:
    shortened: list[Node] = []
    for node in nodes:
        if reached[0]:
            break
        match node:
            case BranchNode():
                then = _cut_at_response(node.then, reached)
                node = replace(node, then=then, otherwise=_cut_at_response(node.otherwise, reached))
            case RangeNode():
                body = _cut_at_response(node.body, reached)
                node = replace(node, body=body, otherwise=_cut_at_response(node.otherwise, reached))
            case ActionNode(pipe):
                operands = [o for command in pipe.commands for o in command.operands]
                reached[0] = any(
                    isinstance(o, FieldNode) and "Response" in o.names for o in operands
                )
        shortened.append(node)
    return tuple(shortened)


def iter_names(tree: TemplateTree) -> Iterator[str]:
    """Yield the names of all fields that a template refers to, in lower case."""
    todo: list[object] = [tree.root, *tree.defined.values()]
    while todo:
        match todo.pop():
            case tuple(items):
                todo += items
            case Mapping() | str() | bytes() | None:
                continue
            case item if is_dataclass(item):
                names = getattr(item, "names", ())
                yield from (name.lower() for name in names)
                todo += [getattr(item, field.name) for field in fields(item)]


# The data that an Ollama server provides to a TEMPLATE: messages, tools and calls.
#
# Before it renders, the server collects the system texts and merges neighbors of one role. A tool is
# converted to structs with fixed fields (other fields are lost); the arguments of a call are a map
# that is iterated by name.

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
