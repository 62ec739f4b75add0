"""Pieces of a TEMPLATE before they become text: literals, actions, and branches."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lora_studio.core.templates.go.functions import quote
from lora_studio.core.templates.probing.decision_trees import FixedPart, merge_fixed_parts


@dataclass(frozen=True, slots=True)
class ActionPiece:
    """One or several actions."""

    code: str


@dataclass(frozen=True, slots=True)
class IfPiece:
    """A condition with two branches."""

    condition: str
    yes: tuple[Item, ...]
    no: tuple[Item, ...]


Item = FixedPart | ActionPiece | IfPiece


# Text that a TEMPLATE must escape: delimiters, Modelfile quotes, a brace that would touch
# a delimiter, and what the server's Modelfile reader drops (everything it deems unprintable).
_UNSAFE = re.compile(r'\{\{+|\}\}+|"""+|\{\Z|\A\}')


def quote_literal(text: str) -> str:
    """Return TEMPLATE source that prints exactly `text`, in a triple-quoted Modelfile too."""
    pieces: list[str] = []
    unsafe = ""
    marked = {i for match in _UNSAFE.finditer(text) for i in range(*match.span())}
    for index, character in enumerate(text):
        if index in marked or not (character.isprintable() or character in "\n\t"):
            # Another brace would turn {{ into {{{.
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
    """Return a branch with the common start and end of both sides moved outside."""
    before, yes, no = _split_common_prefix(yes, no)
    after, yes, no = _split_common_prefix(_mirror(yes), _mirror(no), mirrored=True)
    choice: tuple[Item, ...] = ()
    if yes or no:
        choice = (IfPiece(condition, _mirror(yes), _mirror(no)),)
    return (*before, *choice, *_mirror(after))


def _mirror(items: Sequence[Item]) -> tuple[Item, ...]:
    return tuple(
        FixedPart(i.text[::-1]) if isinstance(i, FixedPart) else i for i in reversed(items)
    )


def _split_common_prefix(
    one: Sequence[Item], two: Sequence[Item], *, mirrored: bool = False
) -> tuple[tuple[Item, ...], tuple[Item, ...], tuple[Item, ...]]:
    """Return the common start, and the rest of each; text is split only after a mark or line end."""
    common: list[Item] = []
    first, second = [*merge_fixed_parts(one)], [*merge_fixed_parts(two)]
    while first and second:
        if first[0] == second[0]:
            common.append(first.pop(0))
            second.pop(0)
            continue
        head, other = first[0], second[0]
        if isinstance(head, FixedPart) and isinstance(other, FixedPart):
            size = _measure_common_prefix(head.text, other.text, mirrored=mirrored)
            if size:
                common.append(FixedPart(head.text[:size]))
                first[0], second[0] = FixedPart(head.text[size:]), FixedPart(other.text[size:])
                first, second = [*merge_fixed_parts(first)], [*merge_fixed_parts(second)]
        break
    return tuple(common), tuple(first), tuple(second)


def _measure_common_prefix(one: str, two: str, *, mirrored: bool) -> int:
    """Return the length of the common start at which both can be split without cutting a word."""
    differ = (length for length, (a, b) in enumerate(zip(one, two, strict=False)) if a != b)
    for size in range(next(differ, min(len(one), len(two))), 0, -1):
        if size in (len(one), len(two)):
            return size
        # Mirrored text is read backwards: its next character is the previous one.
        edges = one[size] + two[size] if mirrored else one[size - 1]
        if all(edge in "\n>]" for edge in edges):
            return size
    return 0
