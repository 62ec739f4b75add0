"""Learns what a chat template writes before each message, by rendering marked conversations.

The text before message j belongs to j; what follows the last message is the tail. That absorbs
where a template puts its end-of-turn marks, default system prompts and a system text that it moves
into a user turn. White space around the contents is solved from a second rendering with padding.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import product
from typing import Literal, Protocol

Message = dict[str, str]
Role = Literal["user", "assistant", "tail"]
SystemState = Literal["absent", "given", "empty"]
PROBED_TURNS = range(1, 6)
THINK_END = "</think>"


class Renderer(Protocol):
    """Renders a conversation with the original template; raises when the template refuses it."""

    def __call__(
        self, messages: list[Message], add_generation_prompt: bool, **variables: object
    ) -> str: ...


class NotDerivableError(Exception):
    """The template does something that the derivation does not model; the text says what."""


class Trim(StrEnum):
    """White space that the template takes off one side of a content."""

    NONE = "nothing"
    NEWLINES = "newlines"
    ALL = "blanks"

    def left(self, text: str) -> str:
        """`text` without this kind of white space at its start."""
        return text if self is Trim.NONE else text.lstrip("\n" if self is Trim.NEWLINES else None)

    def right(self, text: str) -> str:
        """`text` without this kind of white space at its end."""
        return text if self is Trim.NONE else text.rstrip("\n" if self is Trim.NEWLINES else None)


@dataclass(frozen=True, slots=True)
class Fixed:
    """Fixed text."""

    text: str


@dataclass(frozen=True, slots=True)
class System:
    """The system text, trimmed on each side."""

    left: Trim
    right: Trim


@dataclass(frozen=True, slots=True)
class Date:
    """The current date in a strftime format."""

    form: str


Part = Fixed | System | Date


@dataclass(frozen=True, slots=True)
class Turn:
    """What is written for one message: the parts before it, and how its content is trimmed.

    `after_think` is set where an answer loses all up to its last </think>; it tells how the
    rest is trimmed on the left and on the right then.
    """

    parts: tuple[Part, ...]
    left: Trim = Trim.NONE
    right: Trim = Trim.NONE
    after_think: tuple[Trim, Trim] | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One observed turn and the facts about its place that may have decided its form."""

    role: Role
    system: SystemState
    first: bool
    last: bool
    turns: int
    turn: Turn


class DateMarks:
    """Stands in for strftime_now: writes a mark for each format and remembers which is which."""

    def __init__(self) -> None:
        self.forms: list[str] = []

    def __call__(self, form: str) -> str:
        if form not in self.forms:
            self.forms.append(form)
        return f"Zd{self.forms.index(form)}dZ"

    def split(self, text: str) -> tuple[Part, ...]:
        """The literal and date parts of `text`."""
        pieces = re.split(r"Zd(\d+)dZ", text)
        parts: list[Part] = []
        for place, piece in enumerate(pieces):
            if place % 2:
                parts.append(Date(self.forms[int(piece)]))
            elif piece:
                parts.append(Fixed(piece))
        return tuple(parts)


# Line feeds: 5 right, 2 left, so that no two ways of trimming both sides of a gap look alike.
LEFT_PAD, RIGHT_PAD = "\n\n \t ", " \t\n\n\n\n\n"


def conversation(turns: int, system: str | None, write: Callable[[str], str]) -> list[Message]:
    """A conversation of `turns` user turns with the answers between them; names become contents."""
    messages = [] if system is None else [{"role": "system", "content": system}]
    for turn in range(turns):
        messages.append({"role": "user", "content": write(f"Zu{turn}uZ")})
        if turn < turns - 1:
            messages.append({"role": "assistant", "content": write(f"Za{turn}aZ")})
    return messages


Thinks = dict[str, tuple[Trim, Trim]]
_CONTENT_MARK = re.compile(r"Z(?:u\d+u|a\d+a|s0s)Z")


@dataclass(frozen=True, slots=True)
class _Pieces:
    """A rendering cut at its content marks: `marks[i]` stands between `gaps[i]` and `gaps[i+1]`."""

    marks: tuple[str, ...]
    gaps: tuple[str, ...]


def _cut(text: str) -> _Pieces:
    return _Pieces(tuple(_CONTENT_MARK.findall(text)), tuple(_CONTENT_MARK.split(text)))


@dataclass
class Prober:
    """Renders marked conversations of one template; `strip` is a BOS to leave out in front."""

    render: Renderer
    strip: str = ""

    def __post_init__(self) -> None:
        self.dates = DateMarks()

    def text(self, messages: list[Message]) -> str:
        """The rendering with date marks, less the BOS."""
        text = self.render(messages, True, strftime_now=self.dates)
        if not text.startswith(self.strip):
            raise NotDerivableError(f"only some conversations begin with {self.strip!r}")
        return text.removeprefix(self.strip)

    def samples(self, system: SystemState) -> Iterator[Sample]:
        """Every turn of the probe conversations with this kind of system message."""
        for turns in PROBED_TURNS:
            yield from self._observe(turns, system)

    def _render(self, turns: int, system: SystemState, write: Callable[[str], str]) -> _Pieces:
        text = {"absent": None, "empty": "", "given": write("Zs0sZ")}[system]
        return _cut(self.text(conversation(turns, text, write)))

    def _observe(self, turns: int, system: SystemState) -> Iterator[Sample]:
        plain = self._render(turns, system, lambda mark: mark)
        padded = self._render(turns, system, lambda mark: LEFT_PAD + mark + RIGHT_PAD)
        wanted = tuple(m["content"] for m in conversation(turns, None, lambda mark: mark))
        found = tuple(mark for mark in plain.marks if mark != "Zs0sZ")
        if found != wanted:
            raise NotDerivableError(_missing(wanted, found))
        if padded.marks != plain.marks:
            raise NotDerivableError("messages move when white space surrounds their contents")
        trims = _solve(plain, padded)
        thinks = self._after_think(turns, system, plain)
        yield from _samples(turns, system, self.dates, plain, trims, thinks)

    def _after_think(self, turns: int, system: SystemState, plain: _Pieces) -> Thinks:
        """How each answer is trimmed of which only the text after </think> stays."""
        if turns == 1:
            return {}

        def write(mark: str, left: str = "", right: str = "") -> str:
            return f"<think>\nWhy\n{THINK_END}{left}{mark}{right}" if mark[1] == "a" else mark

        try:
            bare = self._render(turns, system, write)
            padded = self._render(turns, system, lambda mark: write(mark, LEFT_PAD, RIGHT_PAD))
        except Exception:  # foreign code; the proof decides what this means
            return {}
        if not bare.marks == padded.marks == plain.marks:
            return {}
        found: Thinks = {}
        for place, mark in enumerate(plain.marks):
            if mark[1] == "a" and bare.gaps[place] == plain.gaps[place]:
                before, after = plain.gaps[place], plain.gaps[place + 1]
                for left, right in product(Trim, Trim):
                    if (before + left.left(LEFT_PAD), right.right(RIGHT_PAD) + after) == (
                        padded.gaps[place],
                        padded.gaps[place + 1],
                    ):
                        found[mark] = left, right
        return found


def _missing(wanted: Sequence[str], found: Sequence[str]) -> str:
    names = {"u": "user", "a": "assistant"}
    for mark in wanted:
        if found.count(mark) != 1:
            times = "is left out" if mark not in found else "is written more than once"
            return f"the content of a {names[mark[1]]} message {times}"
    return "the messages are written in another order"


def _solve(plain: _Pieces, padded: _Pieces) -> list[tuple[Trim, Trim]]:
    """Left and right trim of each mark, from the gaps with and without padding."""
    lefts: list[Trim] = []
    rights: list[Trim] = []
    last = len(plain.marks)
    for place, (gap, observed) in enumerate(zip(plain.gaps, padded.gaps, strict=True)):
        before = [Trim.NONE] if place == 0 else list(Trim)
        after = [Trim.NONE] if place == last else list(Trim)
        for right, left in product(before, after):
            guess = right.right(RIGHT_PAD) if place else ""
            guess += gap + (left.left(LEFT_PAD) if place < last else "")
            if guess == observed:
                rights += [right] if place else []
                lefts += [left] if place < last else []
                break
        else:
            raise NotDerivableError(
                f"white space around a content changes the text {gap.strip()[:60]!r} beside it"
            )
    return list(zip(lefts, rights, strict=True))


def _samples(
    turns: int,
    system: SystemState,
    dates: DateMarks,
    plain: _Pieces,
    trims: list[tuple[Trim, Trim]],
    thinks: Thinks,
) -> Iterator[Sample]:
    parts: tuple[Part, ...] = ()
    for mark, gap, (left, right) in zip(plain.marks, plain.gaps, trims, strict=False):
        parts += dates.split(gap)
        if mark == "Zs0sZ":
            parts += (System(left, right),)
            continue
        turn = Turn(parts, left, right, thinks.get(mark))
        parts = ()
        number = int(mark[2:-2])
        if mark[1] == "u":
            yield Sample("user", system, number == 0, number == turns - 1, turns, turn)
        else:
            yield Sample("assistant", system, number == 0, number == turns - 2, turns, turn)
    tail = Turn(parts + dates.split(plain.gaps[-1]))
    yield Sample("tail", system, turns == 1, True, turns, tail)


# ------------------------------------------------------------------------------ decision trees


class Fact(StrEnum):
    """What a template may ask about a turn's place; the values are for messages."""

    SYSTEM = "a system text is given"
    MESSAGE = "a system message is present"
    FIRST = "it is the first of its role"
    LAST = "it is the last of its role"


@dataclass(frozen=True, slots=True)
class Choice:
    """A question and the forms that follow from either answer."""

    fact: Fact
    yes: Form
    no: Form


Form = Turn | Choice


def facts_of(sample: Sample) -> dict[Fact, bool]:
    """The facts about a sample's place."""
    return {
        Fact.SYSTEM: sample.system == "given",
        Fact.MESSAGE: sample.system != "absent",
        Fact.FIRST: sample.first,
        Fact.LAST: sample.last,
    }


def fit(samples: Sequence[Sample], facts: Sequence[Fact]) -> Form:
    """The smallest tree over `facts` that explains every sample; raises when none does."""
    forms = {sample.turn for sample in samples}
    if len(forms) == 1:
        return forms.pop()
    best: tuple[int, Form] | None = None
    for fact in facts:
        yes = [sample for sample in samples if facts_of(sample)[fact]]
        no = [sample for sample in samples if not facts_of(sample)[fact]]
        if not yes or not no:
            continue
        rest = [other for other in facts if other is not fact]
        choice = Choice(fact, fit(yes, rest), fit(no, rest))
        if best is None or leaves(choice) < best[0]:
            best = leaves(choice), choice
    if best is None:
        first, second = sorted(forms, key=repr)[:2]
        raise NotDerivableError(
            f"two {samples[0].role} turns in like places are written differently: "
            f"{_words(first)!r} and {_words(second)!r}"
        )
    return best[1]


def leaves(form: Form) -> int:
    """How many forms a tree ends in."""
    return leaves(form.yes) + leaves(form.no) if isinstance(form, Choice) else 1


def turns_of(form: Form) -> Iterator[Turn]:
    """Every form that a tree ends in."""
    if isinstance(form, Choice):
        yield from turns_of(form.yes)
        yield from turns_of(form.no)
    else:
        yield form


def _words(turn: Turn) -> str:
    return "".join(part.text for part in turn.parts if isinstance(part, Fixed))[-80:]


def without_system_text(turn: Turn) -> Turn:
    """The turn as it reads when the system text is empty."""
    parts: list[Part] = []
    for part in turn.parts:
        if isinstance(part, System):
            continue
        if isinstance(part, Fixed) and parts and isinstance(last := parts[-1], Fixed):
            parts[-1] = Fixed(last.text + part.text)
        else:
            parts.append(part)
    return replace(turn, parts=tuple(parts))
