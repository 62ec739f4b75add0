"""Pieces of a TEMPLATE before they are text: what is written, what is done, and what is asked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lora_studio.core.templates.go.functions import quote
from lora_studio.core.templates.probing.decision_trees import FixedPart, merge_fixed_parts


@dataclass(frozen=True, slots=True)
class ActionPiece:
    """An action, or several."""

    code: str


@dataclass(frozen=True, slots=True)
class IfPiece:
    """One or the other, by a condition."""

    condition: str
    yes: tuple[Item, ...]
    no: tuple[Item, ...]


Item = FixedPart | ActionPiece | IfPiece


# What may not stand in a TEMPLATE as it is: delimiters, Modelfile quotes, a brace that would touch
# a delimiter, and what the server's Modelfile reader drops (everything it deems unprintable).
_UNSAFE = re.compile(r'\{\{+|\}\}+|"""+|\{\Z|\A\}')


def quote_literal(text: str) -> str:
    """`text` as TEMPLATE source that prints exactly it, in a triple-quoted Modelfile too."""
    pieces: list[str] = []
    unsafe = ""
    marked = {i for match in _UNSAFE.finditer(text) for i in range(*match.span())}
    for index, character in enumerate(text):
        if index in marked or not (character.isprintable() or character in "\n\t"):
            # A brace would make three of the two that begin an action.
            brace = pieces.pop() if not unsafe and pieces[-1:] == ["{"] else ""
            unsafe += brace + character
            continue
        if unsafe:
            pieces.append(f"{{{{{quote(unsafe.encode())}}}}}")
            unsafe = ""
        pieces.append(character)
    if unsafe:
        pieces.append(f"{{{{{quote(unsafe.encode())}}}}}")
    return "".join(pieces)


def factor_branches(condition: str, yes: Sequence[Item], no: Sequence[Item]) -> tuple[Item, ...]:
    """Return one or the other, with what both begin and end with outside."""
    before, yes, no = _common_prefix(yes, no)
    after, yes, no = _common_prefix(_mirrored(yes), _mirrored(no), mirrored=True)
    choice: tuple[Item, ...] = ()
    if yes or no:
        choice = (IfPiece(condition, _mirrored(yes), _mirrored(no)),)
    return (*before, *choice, *_mirrored(after))


def _mirrored(items: Sequence[Item]) -> tuple[Item, ...]:
    return tuple(
        FixedPart(i.text[::-1]) if isinstance(i, FixedPart) else i for i in reversed(items)
    )


def _common_prefix(
    one: Sequence[Item], two: Sequence[Item], *, mirrored: bool = False
) -> tuple[tuple[Item, ...], tuple[Item, ...], tuple[Item, ...]]:
    """Return what both begin with, and what is left of each; text is parted after a mark or line
    end.
    """
    common: list[Item] = []
    first, second = [*merge_fixed_parts(one)], [*merge_fixed_parts(two)]
    while first and second:
        if first[0] == second[0]:
            common.append(first.pop(0))
            second.pop(0)
            continue
        head, other = first[0], second[0]
        if isinstance(head, FixedPart) and isinstance(other, FixedPart):
            size = _shared(head.text, other.text, mirrored=mirrored)
            if size:
                common.append(FixedPart(head.text[:size]))
                first[0], second[0] = FixedPart(head.text[size:]), FixedPart(other.text[size:])
                first, second = [*merge_fixed_parts(first)], [*merge_fixed_parts(second)]
        break
    return tuple(common), tuple(first), tuple(second)


def _shared(one: str, two: str, *, mirrored: bool) -> int:
    """Return length of the common start at which both may be parted without cutting a word in
    two.
    """
    differ = (length for length, (a, b) in enumerate(zip(one, two, strict=False)) if a != b)
    for size in range(next(differ, min(len(one), len(two))), 0, -1):
        if size in (len(one), len(two)):
            return size
        # Mirrored text is read backwards: the character that follows there stands before.
        edges = one[size] + two[size] if mirrored else one[size - 1]
        if all(edge in "\n>]" for edge in edges):
            return size
    return 0
