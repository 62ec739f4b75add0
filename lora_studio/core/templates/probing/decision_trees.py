"""The parts of what a chat template writes, and the decision trees that select them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import product
from typing import Any, Literal, TypeVar

from lora_studio.core.messages import Template, Text, fill, text

#: Owner of a text: a message, the tail after the last one, an offered tool, or a parameter of one.
Role = Literal["user", "assistant", "tool", "system", "tail", "offer", "parameter"]


class NotDerivableError(Exception):
    """The chat template does something that a TEMPLATE cannot express; `reason` says what."""

    def __init__(self, reason: Template | Text, **values: Any) -> None:
        """Store the reason: a template with `values` for its fields."""
        self.reason = fill(reason, values)
        super().__init__(self.reason)


def refuse_date(form: str, directive: str) -> NotDerivableError:
    """Return the error for a strftime directive that a TEMPLATE cannot write."""
    return NotDerivableError(
        "the date format {form} contains {directive}, and a TEMPLATE only knows the date as YYYY-MM-DD",
        form=form,
        directive=f"%{directive}",
    )


class TrimPart(StrEnum):
    """White space that the template takes off one side of a content."""

    NONE = "nothing"
    NEWLINES = "newlines"
    ALL = "blanks"

    @property
    def characters(self) -> str | None:
        """Return the characters removed; None for all Unicode white space."""
        return _TRIMMED[self]

    def left(self, text: str) -> str:
        """Return `text` without this kind of white space at its start."""
        return text.lstrip(self.characters)

    def right(self, text: str) -> str:
        """Return `text` without this kind of white space at its end."""
        return text.rstrip(self.characters)


_TRIMMED = {TrimPart.NONE: "", TrimPart.NEWLINES: "\n", TrimPart.ALL: None}


@dataclass(frozen=True, slots=True)
class FixedPart:
    """Fixed text."""

    text: str


@dataclass(frozen=True, slots=True)
class SystemPart:
    """The system text, trimmed on each side; `json` if it is written as a JSON string."""

    left: TrimPart = TrimPart.NONE
    right: TrimPart = TrimPart.NONE
    json: bool = False


@dataclass(frozen=True, slots=True)
class DatePart:
    """The current date in a strftime format."""

    form: str


@dataclass(frozen=True, slots=True)
class FieldPart:
    """A text of the message, trimmed on each side; `json` if it is written as a JSON string.

    `after_think` is set if an answer loses everything through its last </think>; it holds the left
    and right trim of the rest.
    """

    name: Literal["Content", "Thinking", "ToolName", "ToolCallID"]
    left: TrimPart = TrimPart.NONE
    right: TrimPart = TrimPart.NONE
    json: bool = False
    after_think: tuple[TrimPart, TrimPart] | None = None


#: JSON layout: as Python's json.dumps, without blanks, or indented by a number of blanks.
Layout = Literal["spaced", "compact"] | int


@dataclass(frozen=True, slots=True)
class ValuePart:
    """A value of the current tool, parameter, call or argument, or the list of all tools.

    With a layout it is written as JSON, otherwise as plain text. With `python_words`, True, False
    and None are written as in Python.
    """

    name: Literal[
        "tools", "functions", "tool", "function", "parameters", "properties", "name",
        "description", "called", "arguments", "id", "key", "value", "parameter", "about", "type",
        "items", "enum", "property", "required", "choice", "needed",
    ]  # fmt: skip
    layout: Layout | None = None
    python_words: bool = False


@dataclass(frozen=True, slots=True)
class LoopPart:
    """`unit` for each tool, parameter, call … with `separator` in between.

    `choices` are the allowed values of a parameter, `required` the names of required parameters.
    The unit of tools and parameters may be a tree over traits. `other`, for arguments only, is the
    unit for non-text values if it differs. `first_only`, for calls only: omits all calls but the
    first.
    """

    over: Literal["tools", "parameters", "choices", "required", "calls", "arguments"]
    unit: Form
    separator: str = ""
    other: tuple[Part, ...] = ()
    first_only: bool = False


CountOf = Literal["user", "tool", "row", "turn", "message", "call", "made"]


@dataclass(frozen=True, slots=True)
class CountPart:
    """The number of something that came before, plus `start`: the number of a round or message.

    "turn" counts all messages except system messages, "row" the tool results directly before,
    "call" the calls of the current message, "made" those of all messages.
    """

    of: CountOf
    start: int


Part = FixedPart | SystemPart | DatePart | FieldPart | ValuePart | CountPart | LoopPart
#: What is written for one message, starting after the previous one.
Turn = tuple[Part, ...]

P = TypeVar("P")


class ProbedFact(StrEnum):
    """Conditions on a turn and its position that a template may test."""

    SYSTEM = "system"  # a system text is given
    MESSAGE = "message"  # a system message is present
    TOOLS = "tools"  # tools are offered
    CALLS = "calls"  # it calls tools
    CONTENT = "content"  # it has content in addition to its calls
    THOUGHT = "thought"  # it has thoughts
    AFTER_TOOL = "after_tool"  # it follows the result of a tool
    CALLED = "called"  # a tool was called before
    RETURNED = "returned"  # the result of a tool came before
    FIRST = "first"  # it is the first of the users or of the answers
    LAST = "last"  # it is the last message, or the answer before it
    FINAL = "final"  # it is the last message
    LATEST = "latest"  # no user message follows
    LEADS = "leads"  # only a system message may come before
    BEFORE_USERS = "before_users"  # no user message came before
    ANSWERED = "answered"  # the conversation ends with an answer
    NO_THINK = "no_think"  # thinking is switched off


class ProbedTrait(StrEnum):
    """Conditions on a tool or a parameter that a template may test."""

    STRING = "string"  # it is a text
    INTEGER = "integer"  # it is a whole number
    NUMBER = "number"  # it is a number
    BOOLEAN = "boolean"  # it is true or false
    ARRAY = "array"  # it is a list
    OBJECT = "object"  # it is an object
    OF_STRING = "of_string"  # it is a list of texts
    OF_INTEGER = "of_integer"  # it is a list of whole numbers
    OF_NUMBER = "of_number"  # it is a list of numbers
    OF_BOOLEAN = "of_boolean"  # it is a list of true and false
    ENUM = "enum"  # its values are enumerated
    ITEMS = "items"  # the items of the list are described
    ABOUT = "about"  # it has a description
    REQUIRED = "required"  # it is required
    PARAMETERS = "parameters"  # the tool takes parameters
    SOME_REQUIRED = "some_required"  # a parameter of the tool is required
    DESCRIBED = "described"  # the tool has a description


@dataclass(frozen=True, slots=True)
class PositionPart:
    """Whether at least `count` messages come before or after; a system message counts before."""

    side: Literal["before", "after"]
    count: int


Question = ProbedFact | ProbedTrait | PositionPart


@dataclass(frozen=True, slots=True)
class ProbeSample:
    """One observed turn and the facts that may have determined its form.

    `counts` are the numbers that the turn could write, before adding a count's start.
    """

    role: Role
    facts: frozenset[Question]
    turn: Turn
    counts: tuple[tuple[CountOf, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ChoicePart:
    """A question and the form for either answer."""

    fact: Question
    yes: Form
    no: Form


Form = Turn | ChoicePart


def fit_tree(samples: Sequence[ProbeSample], facts: Sequence[Question]) -> Form:
    """Return the smallest tree over `facts` that explains every sample; raises if none does."""
    if alike := _alike_but_different(samples, facts):
        first, second = alike
        one, two = _where_they_part(first.turn, second.turn)
        raise NotDerivableError(
            "two {role} turns in similar positions are written differently: {first} and {second}",
            role=_ROLES[first.role],
            first=repr(one),
            second=repr(two),
        )
    return _Fitter(samples, facts).fit()


class _Fitter:
    """Depth-first search with memoization for each set of samples.

    A set of samples is a bit mask: hashing turns would take most of the time.
    """

    def __init__(self, samples: Sequence[ProbeSample], facts: Sequence[Question]) -> None:
        known_facts = frozenset(facts)
        places = list(
            dict.fromkeys((sample.facts & known_facts, sample.turn) for sample in samples)
        )
        self.all = (1 << len(places)) - 1
        self.turns: dict[Turn, int] = {}
        for bit, (_, turn) in enumerate(places):
            self.turns[turn] = self.turns.get(turn, 0) | 1 << bit
        self.facts = [
            (fact, sum(1 << bit for bit, (true, _) in enumerate(places) if fact in true))
            for fact in facts
        ]
        self.known: dict[int, tuple[int, Form]] = {}
        self.hopeless: dict[int, int] = {}

    def fit(self) -> Form:
        """Return the smallest tree for all samples, which the facts must distinguish."""
        tree = self._fit(self.all, self.all.bit_count())
        assert tree is not None
        return tree[1]

    def _fit(self, samples: int, most: int) -> tuple[int, Form] | None:
        """Return the number of turns and the tree, if one with at most `most` turns exists."""
        if samples in self.known:
            cached = self.known[samples]
            return cached if cached[0] <= most else None
        turns = [turn for turn, where in self.turns.items() if where & samples]
        if len(turns) == 1:
            self.known[samples] = 1, turns[0]
            return self.known[samples]
        if len(turns) > most or self.hopeless.get(samples, -1) >= most:
            return None
        best: tuple[int, Form] | None = None
        limit = most
        for fact, where in self.facts:
            yes = samples & where
            if not yes or yes == samples:
                continue
            first = self._fit(yes, limit - 1)
            second = first and self._fit(samples & ~where, limit - first[0])
            if first and second:
                best = first[0] + second[0], ChoicePart(fact, first[1], second[1])
                limit = best[0] - 1
                if best[0] == len(turns):
                    break
        if best is None:
            self.hopeless[samples] = most
        else:
            self.known[samples] = best
        return best


_ROLES: dict[Role, Text] = {
    "user": text("user"),
    "assistant": text("assistant"),
    "tool": text("tool"),
    "system": text("system"),
    "tail": text("final"),
    "offer": text("tool definition"),
    "parameter": text("parameter"),
}


def _alike_but_different(
    samples: Sequence[ProbeSample], facts: Sequence[Question]
) -> tuple[ProbeSample, ProbeSample] | None:
    """Return two samples that no tree over `facts` can distinguish."""
    seen: dict[frozenset[Question], ProbeSample] = {}
    for sample in samples:
        other = seen.setdefault(sample.facts & frozenset(facts), sample)
        if other.turn != sample.turn:
            return other, sample
    return None


def iter_turns(form: Form) -> Iterator[Turn]:
    """Yield the turn at every leaf of a tree."""
    if isinstance(form, ChoicePart):
        yield from iter_turns(form.yes)
        yield from iter_turns(form.no)
    else:
        yield form


def iter_parts(turn: Sequence[Part]) -> Iterator[Part]:
    """Yield every part of a turn, including those inside loops."""
    for part in turn:
        yield part
        if isinstance(part, LoopPart):
            for unit in iter_turns(part.unit):
                yield from iter_parts(unit)


def merge_fixed_parts(parts: Sequence[P]) -> tuple[P | FixedPart, ...]:
    """Return the parts with neighboring fixed texts merged and empty ones removed."""
    merged: list[P | FixedPart] = []
    for part in parts:
        if isinstance(part, FixedPart) and merged and isinstance(last := merged[-1], FixedPart):
            merged[-1] = FixedPart(last.text + part.text)
        elif part != FixedPart(""):
            merged.append(part)
    return tuple(merged)


def find_argument_loop(turn: Sequence[Part]) -> LoopPart | None:
    """Return the loop over the arguments of a call, if the turn has one."""
    loops = (part for part in iter_parts(turn) if isinstance(part, LoopPart))
    return next((loop for loop in loops if loop.over == "arguments"), None)


def map_loops(form: Form, change: Callable[[LoopPart], LoopPart]) -> Form:
    """Return the parts with every loop changed, inner loops first."""
    if isinstance(form, ChoicePart):
        return replace(form, yes=map_loops(form.yes, change), no=map_loops(form.no, change))
    return tuple(
        change(replace(part, unit=map_loops(part.unit, change)))
        if isinstance(part, LoopPart)
        else part
        for part in form
    )


def remove_system_text(turn: Turn) -> Turn:
    """Return the turn as written if the system text is empty."""
    return merge_fixed_parts([part for part in turn if not isinstance(part, SystemPart)])


def map_fields(turn: Turn, change: Callable[[FieldPart], FieldPart]) -> Turn:
    """Return the turn with every field of the message replaced."""
    return tuple(change(part) if isinstance(part, FieldPart) else part for part in turn)


def remove_thinking_cut(turn: Turn) -> Turn:
    """Return the turn with answers written whole, including their reasoning."""
    return map_fields(turn, lambda field: replace(field, after_think=None))


def _where_they_part(one: Turn, two: Turn) -> tuple[str, str]:
    """Return the texts of two turns around the first difference; … replaces variable text."""
    first, second = (
        "".join(part.text if isinstance(part, FixedPart) else "…" for part in turn)
        for turn in (one, two)
    )
    pairs = enumerate(zip(first, second, strict=False))
    position = next((n for n, (a, b) in pairs if a != b), min(len(first), len(second)))
    around = slice(max(0, position - 40), position + 40)
    return first[around], second[around]


# Turns that depend on the position of a message: numbered rounds, a window of the last messages.
#
# The usual conditions of chat templates are tried first. Only what they do not explain is attributed
# to the number of messages before or after.

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
