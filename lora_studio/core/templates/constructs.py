"""Names the construct of a chat template that a Go template cannot express, by taking it out.

What is suspected is replaced in the syntax tree by what it works on (a filter by its operand) or by
false (a look into a text). Where the rest can be derived and proven, that construct was it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from jinja2 import nodes

from lora_studio.core.templates.chat_template import ChatTemplate

#: Filters and methods that a derived TEMPLATE expresses, or that change no text.
_EXPRESSED = frozenset(
    {"trim", "strip", "lstrip", "rstrip", "tojson", "string", "safe", "list", "items", "keys", "length",
     "count", "default", "d", "get", "append", "first", "last", "map", "selectattr", "rejectattr",
     "select", "reject", "namespace", "split"}
)  # fmt: skip

#: Methods and tests that look into a text and answer yes or no.
_LOOKS = frozenset(
    {"startswith", "endswith", "isdigit", "isalpha", "isupper", "islower", "isspace"}
)

MOST = 12


@dataclass(frozen=True)
class Construct:
    """One use of something, by its number in the tree; `words` say what it is."""

    number: int
    line: int
    words: str

    def __str__(self) -> str:
        return f"{self.words} in line {self.line}"


def suspects(template: ChatTemplate) -> list[Construct]:
    """What may hinder a derivation, in the order of the source."""
    found = []
    for number, node in enumerate(_walk(template.tree)):
        if words := _words(node):
            found.append(Construct(number, node.lineno, words))
    return found[:MOST]


def without(template: ChatTemplate, constructs: list[Construct]) -> ChatTemplate:
    """The chat template with these constructs taken out."""
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


def _words(node: nodes.Node) -> str:
    match node:
        case nodes.Filter(name=name) if name not in _EXPRESSED:
            return f"the filter {name}"
        case nodes.Call(node=nodes.Getattr(attr=attr)) if attr not in _EXPRESSED:
            return f"the method {attr}" if attr in _LOOKS or _is_text_method(attr) else ""
        case nodes.Compare(ops=[nodes.Operand(op="in" | "notin")], expr=nodes.Const(value=str())):
            return "a search in a text"
        case nodes.Compare(expr=nodes.Getattr(attr="index" | "index0" | "revindex")) if any(
            isinstance(item.expr, nodes.Const) and item.expr.value not in (0, 1)
            for item in node.ops
        ):
            return "a comparison with the number of a message"
        case nodes.Getitem(arg=nodes.Slice()):
            return "a part of a text or list"
    return ""


def _is_text_method(name: str) -> bool:
    return hasattr(str, name)


def _harmless(node: nodes.Node) -> nodes.Node:
    """What stands for a construct that is taken out."""
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
                for place, item in enumerate(value):
                    if item is old:
                        value[place] = new
                        return
