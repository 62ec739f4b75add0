"""Turns that depend on the position of a message: numbered rounds, a window of the last messages.

The usual conditions of chat templates are tried first. Only what they do not explain is attributed
to the number of messages before or after.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import product

from lora_studio.core.templates.probing.decision_trees import (
    CountOf,
    CountPart,
    FixedPart,
    Form,
    NotDerivableError,
    Part,
    PositionPart,
    ProbeSample,
    Question,
    fit_tree,
    iter_turns,
    merge_fixed_parts,
)

#: The largest distance from the start or end of a conversation at which messages may be special.
FARTHEST = 8
_PLACES = tuple(
    PositionPart(side, n) for side in ("before", "after") for n in range(1, FARTHEST + 1)
)


def fit_by_position(samples: Sequence[ProbeSample], facts: Sequence[Question]) -> Form:
    """Return the smallest tree over `facts`, with counts and positions if nothing else explains a
    turn.

    Raises the NotDerivableError of the attempt without them.
    """
    try:
        return fit_tree(samples, facts)
    except NotDerivableError as error:
        refusal = error
    for candidates in (facts, (*facts, *_PLACES)):
        trees: list[Form] = []
        for numbered in (*_numbered(samples), samples):
            with suppress(NotDerivableError):
                trees.append(fit_tree(numbered, candidates))
        if trees:
            return min(trees, key=lambda form: sum(1 for _ in iter_turns(form)))
    raise refusal


def _numbered(samples: Sequence[ProbeSample]) -> Iterator[list[ProbeSample]]:
    """Yield the samples with counts instead of numbers, for everything that can be counted."""
    counted: tuple[CountOf, ...] = ("user", "turn", "message", "tool", "row")
    for of, start, first in product(counted, (1, 0), (False, True)):
        replaced = [_with_count(sample, CountPart(of, start), first=first) for sample in samples]
        if replaced != list(samples):
            yield replaced


def _with_count(sample: ProbeSample, count: CountPart, *, first: bool) -> ProbeSample:
    """Return the sample with its number replaced by a count, everywhere or, with `first`, once."""
    number = dict(sample.counts).get(count.of, 0) + count.start
    parts: list[Part] = []
    for part in sample.turn:
        if isinstance(part, FixedPart):
            most = 0 if not first else -1 if count in parts else 1
            pieces = (
                [part.text]
                if most < 0
                else re.split(rf"(?<!\d){number}(?!\d)", part.text, maxsplit=most)
            )
            for n, text in enumerate(pieces):
                parts += [count] * (n > 0) + [FixedPart(text)]
        else:
            parts.append(part)
    return replace(sample, turn=merge_fixed_parts(parts))
