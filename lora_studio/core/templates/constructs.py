"""Find the construct of a chat template that a Go template cannot express, by removing it.

Each suspect is replaced in the syntax tree: a filter by its operand, a test of a text by false. If
the rest can be derived and proven, that construct was the obstacle.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from jinja2 import nodes

from lora_studio.core.messages import Text, text
from lora_studio.core.templates.chat_template import ChatTemplate

#: Filters and methods that a derived TEMPLATE can express, or that don't change text.
_EXPRESSED = frozenset(
    {"trim", "strip", "lstrip", "rstrip", "tojson", "string", "safe", "list", "items", "keys", "length",
     "count", "default", "d", "get", "append", "first", "last", "map", "selectattr", "rejectattr",
     "select", "reject", "namespace", "split"}
)  # fmt: skip

#: Methods and tests that inspect a text and return a boolean.
_LOOKS = frozenset(
    {"startswith", "endswith", "isdigit", "isalpha", "isupper", "islower", "isspace"}
)

MOST = 12


@dataclass(frozen=True)
class Construct:
    """One construct, by its number in the tree; `kind` describes it."""

    number: int
    line: int
    kind: Text

    @property
    def title(self) -> Text:
        """Return the construct with its line."""
        return text("{construct} in line {line:d}", construct=self.kind, line=self.line)


def find_suspects(template: ChatTemplate) -> list[Construct]:
    """Return the constructs that may prevent a derivation, in the order of the source."""
    suspected = []
    for number, node in enumerate(_walk(template.tree)):
        if kind := _describe(node):
            suspected.append(Construct(number, node.lineno, kind))
    return suspected[:MOST]


def remove_constructs(template: ChatTemplate, constructs: list[Construct]) -> ChatTemplate:
    """Return the chat template without these constructs."""
    numbers = {construct.number for construct in constructs}
    tree = template.tree
    for number, node in reversed([*enumerate(_walk(tree))]):
        if number in numbers:
            _replace(tree, node, _harmless(node))
    return template.with_tree(tree)


def _walk(node: nodes.Node) -> Iterator[nodes.Node]:
    yield node
    for child in node.iter_child_nodes():
        yield from _walk(child)


def _describe(node: nodes.Node) -> Text | None:
    match node:
        case nodes.Filter(name=name) if name not in _EXPRESSED:
            return text("the filter {name}", name=name)
        case nodes.Call(node=nodes.Getattr(attr=attr)) if attr not in _EXPRESSED:
            is_method = attr in _LOOKS or _is_text_method(attr)
            return text("the method {name}", name=attr) if is_method else None
        case nodes.Compare(ops=[nodes.Operand(op="in" | "notin")], expr=nodes.Const(value=str())):
            return text("a search in a text")
        case nodes.Compare(expr=nodes.Getattr(attr="index" | "index0" | "revindex")) if any(
            isinstance(item.expr, nodes.Const) and item.expr.value not in (0, 1)
            for item in node.ops
        ):
            return text("a comparison with the number of a message")
        case nodes.Getitem(arg=nodes.Slice()):
            return text("a slice of a text or list")
    return None


def _is_text_method(name: str) -> bool:
    return hasattr(str, name)


def _harmless(node: nodes.Node) -> nodes.Node:
    """Return the replacement of a removed construct."""
    match node:
        case nodes.Filter(node=nodes.Node() as operand):
            return operand
        case nodes.Call(node=nodes.Getattr(attr=attr, node=operand)) if attr not in _LOOKS:
            return operand
        case nodes.Getitem(node=operand):
            return operand
    return nodes.Const(False, lineno=node.lineno)


def _replace(tree: nodes.Node, old: nodes.Node, new: nodes.Node) -> None:
    for parent in _walk(tree):
        for name in parent.fields:
            value = getattr(parent, name)
            if value is old:
                setattr(parent, name, new)
                return
            if isinstance(value, list):
                for index, item in enumerate(value):
                    if item is old:
                        value[index] = new
                        return
