"""Render a TEMPLATE as an Ollama server does, in its newer form (.Messages) and its older one.

The older form (.System, .Prompt, .Response) is rendered once for each exchange; the last one ends
at .Response, since the model continues there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import date

from lora_studio.core.templates.go.rendering import GoTemplate
from lora_studio.core.templates.go.tree import (
    ActionNode,
    BranchNode,
    CommandNode,
    FieldNode,
    Node,
    PipeNode,
    RangeNode,
    TemplateTree,
)
from lora_studio.core.templates.server.data import Message, build_template_data, merge_messages
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
