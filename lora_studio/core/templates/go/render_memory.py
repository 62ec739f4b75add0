"""Cache the output of templates by their input string, across renderings and templates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import date
from typing import ClassVar

from lora_studio.core.templates.go.tree import BranchNode, CallNode, Node, RangeNode, TemplateTree


class RenderMemory:
    """The output of templates for the string they were called with, which is their only input.

    A TEMPLATE walks JSON and texts character by character, and a proof renders the same ones
    repeatedly, in one TEMPLATE after another. Definitions that are equal in several TEMPLATEs share
    their results.
    """

    LARGEST = 20_000
    _numbers: ClassVar[dict[object, int]] = {}
    _known: ClassVar[dict[tuple[int, bytes, date], bytes]] = {}

    def __init__(self, tree: TemplateTree) -> None:
        self._calls = {name: set(_called(body)) for name, body in tree.defined.items()}
        self._shapes = {name: _shape(body) for name, body in tree.defined.items()}
        self._own: dict[str, int] = {}
        self.recursive = {name for name in self._calls if _reaches(name, name, self._calls)}

    def number(self, name: str) -> int:
        """Return the number shared by all templates with the same source, including the templates
        they call.
        """
        if name not in self._own:
            needed = sorted(
                other
                for other in self._calls
                if other == name or _reaches(name, other, self._calls)
            )
            shape = name, tuple((other, self._shapes[other]) for other in needed)
            self._own[name] = self._numbers.setdefault(shape, len(self._numbers))
        return self._own[name]

    def get(self, name: str, value: bytes, today: date) -> bytes | None:
        return self._known.get((self.number(name), value, today))

    def put(self, name: str, value: bytes, today: date, written: bytes) -> None:
        if len(self._known) >= self.LARGEST:
            self._known.clear()
        self._known[self.number(name), value, today] = written


def _shape(node: object) -> object:
    """Return a part of a tree without source positions, to compare it with others."""
    if isinstance(node, tuple):
        return tuple(map(_shape, node))
    if not is_dataclass(node) or isinstance(node, type):
        # without the type, True would equal 1
        return type(node).__name__, node
    inner = (
        _shape(getattr(node, field.name)) for field in fields(node) if field.name != "position"
    )
    return type(node).__name__, *inner


def _called(nodes: tuple[Node, ...]) -> Iterator[str]:
    for node in nodes:
        match node:
            case CallNode():
                yield node.name
            case BranchNode():
                yield from _called(node.then + node.otherwise)
            case RangeNode():
                yield from _called(node.body + node.otherwise)


def _reaches(start: str, goal: str, calls: Mapping[str, set[str]]) -> bool:
    seen: set[str] = set()
    todo = [*calls.get(start, ())]
    while todo:
        name = todo.pop()
        if name == goal:
            return True
        if name not in seen:
            seen.add(name)
            todo += calls.get(name, ())
    return False
