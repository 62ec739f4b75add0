"""Learn what a chat template writes before each message, by rendering marked conversations.

The text before message j belongs to j; the text after the last message is the tail. This covers
end-of-turn marks, default system prompts and system texts that are moved into a user turn. White
space around contents is derived from a second rendering with padding.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product
from typing import Any, Literal, Protocol

from lora_studio.core.messages import Text, text
from lora_studio.core.templates.probing.decision_trees import (
    CountPart,
    DatePart,
    FieldPart,
    FixedPart,
    Form,
    Layout,
    LoopPart,
    NotDerivableError,
    Part,
    ProbedTrait,
    ProbeSample,
    SystemPart,
    TrimPart,
    Turn,
    ValuePart,
    find_argument_loop,
    fit_tree,
    iter_parts,
    iter_turns,
    map_loops,
    merge_fixed_parts,
)
from lora_studio.core.templates.probing.probe_conversations import (
    PLAIN_OFFER,
    RESULT_ROLES,
    ProbeConversation,
    ProbeStyle,
    ToolOffer,
    build_marked_call,
    build_marked_tool,
    count_calls,
    parse_role,
    to_jinja_messages,
)
from lora_studio.core.templates.server.rendering import Message, Tool

# Find tools and calls in the text that a chat template wrote, and fold them into loops.
#
# A tool can be written as JSON, whole or in parts, in several layouts; every text that a marked tool
# or call could produce is searched for. Repetition from one item to the next is a loop.

LAYOUTS: tuple[Layout, ...] = ("spaced", "compact", 4, 2)


def dump_json(value: Any, layout: Layout) -> str:
    """Return JSON as a chat template writes it."""
    if layout == "compact":
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return json.dumps(value, ensure_ascii=False, indent=None if layout == "spaced" else layout)


@dataclass(frozen=True, slots=True)
class ValueMatch:
    """A part and its owner: the message, the tool, or the call and the argument in it.

    Within a tool, the owner is the parameter and, within that, one of its allowed values.
    """

    value: Part
    message: int | None = None
    tool: int | None = None
    parameter: int | None = None
    choice: int | None = None
    call: int | None = None
    argument: int | None = None


def find_values(
    text: str, tools: int, callers: Sequence[int], offer: ToolOffer = PLAIN_OFFER
) -> Iterator[str | ValueMatch]:
    """Yield the text in pieces: the values of marked tools and calls, and the text in between.

    `callers` are the indices of the messages that make the calls. Raises NotDerivableError if a
    part of a tool or call remains that is not a known value.
    """
    matches, pattern = _list_known_values(tools, tuple(callers), offer)
    at = 0
    for match in pattern.finditer(text) if pattern else ():
        if match.start() > at:
            yield _check_text(text[at : match.start()])
        yield matches[match.group()]
        at = match.end()
    if at < len(text):
        yield _check_text(text[at:])


_UNKNOWN_MARK = re.compile(r"Z[fgpqcnjvwxy]\d+")


def _check_text(text: str) -> str:
    if match := _UNKNOWN_MARK.search(text):
        raise NotDerivableError(
            "a tool is in an unknown format"
            if match[0][1] in "fgpqc"
            else "a tool call is in an unknown format"
        )
    return text


@cache
def _list_known_values(
    tools: int, callers: tuple[int, ...], offer: ToolOffer
) -> tuple[dict[str, ValueMatch], re.Pattern[str] | None]:
    matches: dict[str, ValueMatch] = {}
    marked = [build_marked_tool(number, offer) for number in range(tools)]
    for layout in LAYOUTS:
        functions = [tool["function"] for tool in marked]
        if tools and not offer.apart:
            matches[dump_json(marked, layout)] = ValueMatch(ValuePart("tools", layout))
            matches[dump_json(functions, layout)] = ValueMatch(ValuePart("functions", layout))
        for number, tool in enumerate(marked):
            for name, value in _list_values(tool, apart=offer.apart).items():
                matches[dump_json(value, layout)] = ValueMatch(ValuePart(name, layout), tool=number)
    for number, tool in enumerate(marked):
        matches[tool["function"]["name"]] = ValueMatch(ValuePart("name"), tool=number)
        if offer.described:
            matches[tool["function"]["description"]] = ValueMatch(
                ValuePart("description"), tool=number
            )
        _add_parameters(matches, number, tool["function"]["parameters"])
    for number, message in enumerate(callers):
        _add_call(matches, number, message)
    if not matches:
        return matches, None
    longest_first = sorted(matches, key=len, reverse=True)
    return matches, re.compile("|".join(map(re.escape, longest_first)))


def _list_values(tool: dict[str, Any], *, apart: bool) -> dict[Any, Any]:
    function = tool["function"]
    parameters = function["parameters"]
    values = {
        "tool": None if apart else tool,
        "function": None if apart else function,
        "parameters": parameters["properties"] and parameters,
        "properties": parameters["properties"],
        "description": function.get("description"),
        "required": parameters.get("required"),
    }
    # A text without marks could be anywhere.
    return {name: value for name, value in values.items() if value}


def _add_parameters(matches: dict[str, ValueMatch], tool: int, parameters: dict[str, Any]) -> None:
    for index, (name, schema) in enumerate(parameters["properties"].items()):
        parameter = ValueMatch(ValuePart("parameter"), tool=tool, parameter=index)
        matches[name] = parameter
        values: dict[Any, Any] = {"property": schema}
        if "description" in schema:
            values["about"] = schema["description"]
            matches[schema["description"]] = replace(parameter, value=ValuePart("about"))
        if "enum" in schema:
            values["enum"] = schema["enum"]
        for layout in LAYOUTS:
            for what, value in values.items():
                # A description without quotation marks is the same in every layout; spaced means JSON.
                matches.setdefault(
                    dump_json(value, layout), replace(parameter, value=ValuePart(what, layout))
                )
        for number, choice in enumerate(schema.get("enum", ())):
            matches[choice] = replace(parameter, value=ValuePart("choice"), choice=number)


def _add_call(matches: dict[str, ValueMatch], number: int, message: int) -> None:
    numbers = build_marked_call(number, numbers=True)["function"]["arguments"]
    for index, value in enumerate(numbers.values()):
        matches[str(value)] = ValueMatch(ValuePart("value"), message, call=number, argument=index)
    call = build_marked_call(number)
    function = call["function"]
    for layout in LAYOUTS:
        matches[dump_json(function["arguments"], layout)] = ValueMatch(
            ValuePart("arguments", layout), message, call=number
        )
    matches[function["name"]] = ValueMatch(ValuePart("called"), message, call=number)
    matches[call["id"]] = ValueMatch(ValuePart("id"), message, call=number)
    for index, (key, value) in enumerate(function["arguments"].items()):
        matches[key] = ValueMatch(ValuePart("key"), message, call=number, argument=index)
        matches[value] = ValueMatch(ValuePart("value"), message, call=number, argument=index)
        spaced: Layout = "spaced"
        matches[dump_json(value, spaced)] = ValueMatch(
            ValuePart("value", spaced), message, call=number, argument=index
        )


# ----------------------------------------------------------------------------------------- folding

Item = Part | ValueMatch
_Over = Literal["tools", "parameters", "choices", "calls", "arguments"]


@dataclass(frozen=True, slots=True)
class _Frame:
    """The fixed text around a loop's values: before each, after each, and between two."""

    lead: str = ""
    trail: str = ""
    separator: str = ""


@dataclass
class JsonFolder:
    """Folds values into loops; remembers the separators of loops that later occur with one item.

    Fold conversations with several tools and calls first.
    """

    known: dict[tuple[_Over, Turn], list[_Frame]] = field(default_factory=dict)

    def fold(self, items: Sequence[Item]) -> list[Item]:
        """Return the items with loops in place of the values of tools, calls and arguments."""
        folded = self._fold(items, "choices", "choice", "parameter")
        folded = self._fold(folded, "parameters", "parameter", "tool")
        folded = self._fold(folded, "arguments", "argument", "call")
        folded = self._fold(folded, "calls", "call", "message")
        return self._fold(folded, "tools", "tool", "message")

    def _fold(self, items: Sequence[Item], over: _Over, index: str, owner: str) -> list[Item]:
        rest = [*items]
        out: list[Item] = []
        while (run := _next_run(rest, index, owner)) is not None:
            out += rest[: run.start]
            members, rest = rest[run], rest[run.stop :]
            units, betweens = _split_units(members, index, over)
            before, after = _pop_text(out, -1), _pop_text(rest, 0)
            frame = self._frame(over, units[0], (before, after), betweens)
            unit = merge_fixed_parts((FixedPart(frame.lead), *units[0], FixedPart(frame.trail)))
            first = next(item for item in members if isinstance(item, ValueMatch))
            loop = LoopPart(over, unit, frame.separator)
            out += [
                FixedPart(before[: len(before) - len(frame.lead)]),
                replace(first, value=loop, **{index: None}),
            ]
            rest.insert(0, FixedPart(after[len(frame.trail) :]))
        return [item for item in out + rest if item != FixedPart("")]

    def _frame(
        self, over: _Over, unit: Turn, around: tuple[str, str], betweens: list[str]
    ) -> _Frame:
        before, after = around
        frames = self.known.setdefault((over, unit), [])
        if not betweens:
            fits = [f for f in frames if before.endswith(f.lead) and after.startswith(f.trail)]
            return max(fits, key=lambda frame: len(frame.lead + frame.trail), default=_Frame())
        between = betweens[0]
        if over == "parameters" or ValuePart("name") in unit:
            # The text after each is the same with or without a description.
            trail = _get_common_prefix(after, between).removesuffix("<")
            between = between[len(trail) :]
            lead = _get_common_prefix(before[::-1], between[::-1])[::-1]
            frame = _Frame(lead, trail, between[: len(between) - len(lead)])
        else:
            lead = _from_line_start(_get_common_prefix(before[::-1], between[::-1])[::-1])
            between = between[: len(between) - len(lead)]
            trail = _get_common_prefix(after, between)
            frame = _Frame(lead, trail, between[len(trail) :])
        if frame not in frames:
            frames.append(frame)
        return frame


def _pop_text(items: list[Item], index: int) -> str:
    """Remove and return the item at one end if it is fixed text."""
    if items and isinstance(item := items[index], FixedPart):
        del items[index]
        return item.text
    return ""


def _get_common_prefix(one: str, two: str) -> str:
    """Return the common start of both texts."""
    pairs = enumerate(zip(one, two, strict=False))
    return one[: next((length for length, (a, b) in pairs if a != b), min(len(one), len(two)))]


def _from_line_start(text: str) -> str:
    """Return the part of `text` that belongs to one item, not to the common heading: its last line
    or tag.
    """
    line = text.rpartition("\n")[2]
    return "<" + line.partition("<")[2] if "<" in line else line or text


def _next_run(items: Sequence[Item], index: str, owner: str) -> slice | None:
    """Return the range of the first loop: until the index decreases or the owner changes."""
    places = [p for p, item in enumerate(items) if getattr(item, index, None) is not None]
    if not places:
        return None
    stop = places[0]
    for position in places[1:]:
        first, last = items[position], items[stop]
        if getattr(first, owner) != getattr(last, owner) or getattr(first, index) < getattr(
            last, index
        ):
            break
        stop = position
    return slice(places[0], stop + 1)


_ITEMS: dict[_Over, Text] = {
    "tools": text("tools"),
    "parameters": text("parameters"),
    "choices": text("choices"),
    "calls": text("tool calls"),
    "arguments": text("arguments"),
}


def _split_units(members: Sequence[Item], index: str, over: _Over) -> tuple[list[Turn], list[str]]:
    """Return the parts of each item of a loop, and the texts between them; raises if items differ."""
    units: list[list[Part]] = []
    betweens: list[str] = []
    last, pending = None, list[Item]()
    for item in members:
        number = getattr(item, index, None)
        if number is None:
            pending.append(item)
            continue
        plain = [part.value if isinstance(part, ValueMatch) else part for part in pending]
        if number == last:
            units[-1] += plain
        else:
            if units:
                texts = [part.text for part in plain if isinstance(part, FixedPart)]
                if len(texts) != len(plain):
                    raise NotDerivableError(
                        "there is something between {items}", items=_ITEMS[over]
                    )
                betweens.append("".join(texts))
            units.append([])
        units[-1].append(item.value if isinstance(item, ValueMatch) else item)
        last, pending = number, []
    turns = [merge_fixed_parts(unit) for unit in units]
    if len(set(turns)) > 1 or len(set(betweens)) > 1:
        raise NotDerivableError("not all {items} have the same form", items=_ITEMS[over])
    return turns, betweens


THINK_END = "</think>"
#: Variables of chat templates that switch thinking.
THINK_NAMES = ("enable_thinking", "thinking")


class ProbeRenderer(Protocol):
    """Renders a conversation with the original template; raises when the template refuses it."""

    def __call__(
        self, messages: list[Message], add_generation_prompt: bool, **variables: object
    ) -> str: ...


class DateMarks:
    """Replaces strftime_now: writes a mark for each format and remembers its format."""

    def __init__(self) -> None:
        self.forms: list[str] = []

    def __call__(self, form: str) -> str:
        if form not in self.forms:
            self.forms.append(form)
        return f"Zd{self.forms.index(form)}dZ"

    def split(self, text: str) -> Iterator[Part]:
        """Yield the literal and date parts of `text`."""
        for index, piece in enumerate(re.split(r"Zd(\d+)dZ", text)):
            if index % 2:
                yield DatePart(self.forms[int(piece)])
            elif piece:
                yield FixedPart(piece)


#: White space to put around contents. Line feeds: 5 right, 2 left, so that all ways of trimming
#: both sides of a gap differ.
_LEFT, _RIGHT = "\n\n \t ", " \t\n\n\n\n\n"

Write = Callable[[str], str]
_NAMES = r"Z(?:u\d+u|a\d+a|b\d+b|k\d+k|m\d+m|i\d{5}i|s0s)Z"
_MARK = re.compile(rf'{_NAMES}|"Zt\d+\\"tZ"|Zt\d+"tZ')
_PADDED = "uabkts"


@dataclass(frozen=True, slots=True)
class _Mark:
    """A mark in a rendering: its message (None: the system text), its field, and how it is written."""

    text: str

    @property
    def kind(self) -> str:
        return self.text.lstrip('"')[1]

    @property
    def message_index(self) -> int | None:
        return None if self.kind == "s" else int(re.findall(r"\d+", self.text)[0])

    @property
    def json(self) -> bool:
        return self.text[0] == '"'

    @property
    def pads(self) -> bool:
        """Return whether the second rendering puts white space around it."""
        return self.kind in _PADDED and not self.json

    def part(
        self, left: TrimPart, right: TrimPart, after_think: tuple[TrimPart, TrimPart] | None
    ) -> Part:
        match self.kind:
            case "s":
                return SystemPart(left, right, self.json)
            case "k":
                return FieldPart("Thinking", left, right)
            case "m":
                return FieldPart("ToolName")
            case "i":
                return FieldPart("ToolCallID")
        return FieldPart("Content", left, right, self.json, after_think)


@dataclass(frozen=True, slots=True)
class _Pieces:
    """A rendering split at its content marks: `marks[i]` is between `gaps[i]` and `gaps[i+1]`."""

    marks: tuple[_Mark, ...]
    gaps: tuple[str, ...]


def _cut(text: str, quoted: frozenset[str] = frozenset()) -> _Pieces:
    """Return the pieces; marks in `quoted` are written as JSON and keep their quotation marks."""
    pattern = _MARK
    if quoted:
        pattern = re.compile("|".join([*(f'"{mark}"' for mark in quoted), _MARK.pattern]))
    return _Pieces(tuple(map(_Mark, pattern.findall(text))), tuple(pattern.split(text)))


@dataclass
class Prober:
    """Renders marked conversations of one template; `strip` is a BOS to remove at the start.

    `think_name` is the variable that switches thinking, if the template has one. `other_unit` is
    how non-text arguments are written, if not as texts are. `offer` is, for a template that writes
    tool parameters separately, how a marked tool and how any tool is written. `numbering` is how
    calls are numbered, if they are; `first_call_only`: all calls of a message but the first are
    omitted.
    """

    render: ProbeRenderer
    strip: str = ""
    style: ProbeStyle = field(default_factory=ProbeStyle)
    think_name: str = ""
    other_unit: Turn = ()
    offer: tuple[Form, Form] | None = None
    numbering: CountPart | None = None
    first_call_only: bool = False
    dates: DateMarks = field(default_factory=DateMarks)
    _seen: dict[ProbeConversation, list[ProbeSample] | Exception] = field(default_factory=dict)
    _folder: JsonFolder = field(default_factory=JsonFolder)

    def with_style(self, style: ProbeStyle) -> Prober:
        """Return the prober with another form of messages."""
        return replace(self, style=style, _seen={})

    def text(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] = (),
        think: bool | None = None,
        strftime_now: Callable[[str], str] | None = None,
    ) -> str:
        """Return the rendering without BOS, with date marks unless a clock is given."""
        variables: dict[str, Any] = {"strftime_now": strftime_now or self.dates}
        if tools:
            variables["tools"] = list(tools)
        if think is not None:
            names = (self.think_name,) if self.think_name else THINK_NAMES
            variables |= dict.fromkeys(names, think)
        text = self.render(to_jinja_messages(messages, self.style), True, **variables)
        if not text.startswith(self.strip):
            raise NotDerivableError("only some conversations start with {bos}", bos=self.strip)
        return text.removeprefix(self.strip)

    def talk(self, talk: ProbeConversation, write: Write = lambda mark: mark) -> str:
        """Return the rendering of a marked conversation."""
        return self.text(talk.build_messages(write), talk.tool_list(), talk.think)

    def samples(self, talk: ProbeConversation) -> list[ProbeSample]:
        """Return what is written for every message of a conversation, and after the last one;
        cached.

        Raises what the template raises, or NotDerivableError.
        """
        if talk not in self._seen:
            try:
                self._seen[talk] = list(self._observe(talk))
            except Exception as error:  # foreign code may raise anything
                self._seen[talk] = error
        outcome = self._seen[talk]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _observe(self, talk: ProbeConversation) -> Iterator[ProbeSample]:
        text = self.talk(talk)
        quoted = self._quoted(talk, text)
        plain = _cut(text, quoted)
        _check_marks(talk, plain.marks)
        unpadded = {mark.text.strip('"').replace("\\", "") for mark in plain.marks if not mark.pads}
        padded = _cut(
            self.talk(talk, lambda mark: mark if mark in unpadded else _LEFT + mark + _RIGHT),
            quoted,
        )
        if padded.marks != plain.marks:
            raise NotDerivableError(
                "messages are rendered differently when their content has surrounding whitespace"
            )
        trims = _solve(plain, padded)
        thinks = self._after_think(talk, plain)
        turns = self._turns(talk, plain, trims, thinks)
        for index, word in enumerate(talk.codes):
            facts = talk.facts(index) | talk.places(index)
            yield ProbeSample(parse_role(word), facts, turns[index], talk.counts(index))
        facts = talk.facts(None) | talk.places(None)
        yield ProbeSample("tail", facts, turns[None], talk.counts(None))

    def _quoted(self, talk: ProbeConversation, text: str) -> frozenset[str]:
        """Return the contents that the rendering writes as JSON, with their quotation marks."""
        marks = {mark for mark in re.findall(rf'"({_NAMES})"', text) if mark[1] in "uabs"}
        if not marks:
            return frozenset()
        try:
            text = self.talk(talk, lambda mark: f'{mark}"' if mark in marks else mark)
        except Exception:  # foreign code; the proof decides what this means
            return frozenset()
        return frozenset(mark for mark in marks if f'"{mark}\\""' in text)

    def _turns(
        self,
        talk: ProbeConversation,
        plain: _Pieces,
        trims: Sequence[tuple[TrimPart, TrimPart]],
        thinks: Mapping[str, tuple[TrimPart, TrimPart]],
    ) -> dict[int | None, Turn]:
        """Return the parts of each message; the tail's under None."""
        callers = [index for index, word in enumerate(talk.codes) for _ in range(count_calls(word))]
        items: list[Item] = []
        for number, gap in enumerate(plain.gaps):
            for piece in find_values(gap, talk.tools, callers, talk.offer):
                items += [piece] if isinstance(piece, ValueMatch) else self.dates.split(piece)
            if number < len(plain.marks):
                mark = plain.marks[number]
                part = mark.part(*trims[number], thinks.get(mark.text))
                items.append(ValueMatch(part, mark.message_index))
        if self.style.matched:
            items = list(_with_answers(items, talk))
        items = list(self._with_numbers(items))
        turns: dict[int | None, list[Part]] = {index: [] for index in range(len(talk.codes))}
        pending: list[Part] = []
        for item in self._folder.fold(items):
            pending.append(item.value if isinstance(item, ValueMatch) else item)
            if isinstance(item, ValueMatch) and item.message is not None:
                turns[item.message] += pending
                pending = []
        turns[None] = pending
        merged = {index: merge_fixed_parts(parts) for index, parts in turns.items()}
        return {index: self._of_any(turn) for index, turn in merged.items()}

    def _with_numbers(self, items: Sequence[Item]) -> Iterator[Item]:
        """Yield the items with counts in place of call numbers, inside or in front of a call."""
        first: dict[int | None, int] = {}
        for item in items:
            if isinstance(item, ValueMatch) and item.call is not None:
                first.setdefault(item.message, item.call)
        for before, item, after in zip([None, *items], items, [*items[1:], None], strict=False):
            call = after.call if isinstance(after, ValueMatch) else None
            if self.numbering is None or call is None or not isinstance(item, FixedPart):
                yield item
                continue
            assert isinstance(after, ValueMatch)
            start = first[after.message] if self.numbering.of == "call" else 0
            pattern = rf"(?<!\d){call - start + self.numbering.start}(?!\d)"
            pieces = re.split(pattern, item.text)
            if not (isinstance(before, ValueMatch) and before.call == call):
                # Numbers further away belong to the text before the calls.
                last = [*re.finditer(pattern, item.text)][-1:]
                pieces = [item.text[: m.start()] for m in last] + [
                    item.text[m.end() :] for m in last
                ]
            for number, piece in enumerate(pieces or [item.text]):
                if number:
                    yield replace(after, value=self.numbering, argument=None)
                yield FixedPart(piece)

    def _of_any(self, turn: Turn) -> Turn:
        """Return the turn generalized from the marked tools and arguments to any."""

        def change(loop: LoopPart) -> LoopPart:
            if loop.over == "arguments" and self.other_unit:
                return replace(loop, other=self.other_unit)
            if loop.over == "calls" and self.first_call_only:
                return replace(loop, first_only=True)
            if loop.over == "tools" and self.offer and loop.unit == self.offer[0]:
                return replace(loop, unit=self.offer[1])
            return loop

        general = map_loops(turn, change)
        assert isinstance(general, tuple)
        return general

    def _after_think(
        self, talk: ProbeConversation, plain: _Pieces
    ) -> dict[str, tuple[TrimPart, TrimPart]]:
        """Return the trims of each answer of which only the text after </think> is written."""
        if not any(mark.kind == "a" for mark in plain.marks):
            return {}

        def write(mark: str, left: str = "", right: str = "") -> str:
            return f"<think>\nWhy\n{THINK_END}{left}{mark}{right}" if mark[1] == "a" else mark

        try:
            bare = _cut(self.talk(talk, write))
            padded = _cut(self.talk(talk, lambda mark: write(mark, _LEFT, _RIGHT)))
        except Exception:  # foreign code; the proof decides what this means
            return {}
        if not bare.marks == padded.marks == plain.marks:
            return {}
        trims: dict[str, tuple[TrimPart, TrimPart]] = {}
        for index, mark in enumerate(plain.marks):
            if mark.kind == "a" and bare.gaps[index] == plain.gaps[index]:
                before, after = plain.gaps[index], plain.gaps[index + 1]
                for left, right in product(TrimPart, repeat=2):
                    one, two = left.left(_LEFT), right.right(_RIGHT)
                    if (before + one, two + after) == padded.gaps[index : index + 2]:
                        trims[mark.text] = left, right
        return trims


def _with_answers(items: Sequence[Item], talk: ProbeConversation) -> Iterator[Item]:
    """Yield the items; a call's name and id after its arguments are attributed to its result."""
    fields: dict[Part, Part] = {
        ValuePart("called"): FieldPart("ToolName"),
        ValuePart("id"): FieldPart("ToolCallID"),
    }
    places = [index for index, word in enumerate(talk.codes) if word == "t"]
    complete: set[int | None] = set()
    for item in items:
        if isinstance(item, ValueMatch) and item.call is not None:
            if item.value in fields and item.call in complete and item.call < len(places):
                yield ValueMatch(fields[item.value], places[item.call])
                continue
            if isinstance(item.value, ValuePart) and item.value.name in ("arguments", "value"):
                complete.add(item.call)
        yield item


def _check_marks(talk: ProbeConversation, marks: Sequence[_Mark]) -> None:
    """Raise NotDerivableError unless the messages are written in order.

    A message may be written several times. A missing content may have been changed rather than
    omitted: the proof decides.
    """
    places = [mark.message_index for mark in marks if mark.message_index is not None]
    if places != sorted(places):
        raise NotDerivableError("the messages are written in a different order")
    if len(talk.codes) == 1 and not places:
        raise NotDerivableError("the content of a user message is omitted")


def _solve(plain: _Pieces, padded: _Pieces) -> list[tuple[TrimPart, TrimPart]]:
    """Return the left and right trim of each mark, from the gaps with and without padding."""
    lefts: list[TrimPart] = []
    rights: list[TrimPart] = []
    pads = [False, *(mark.pads for mark in plain.marks), False]
    for index, (gap, observed) in enumerate(zip(plain.gaps, padded.gaps, strict=True)):
        before = tuple(TrimPart) if pads[index] else (TrimPart.NONE,)
        after = tuple(TrimPart) if pads[index + 1] else (TrimPart.NONE,)
        for right, left in product(before, after):
            guess = right.right(_RIGHT) if pads[index] else ""
            guess += gap + (left.left(_LEFT) if pads[index + 1] else "")
            if guess == observed:
                rights.append(right)
                lefts.append(left)
                break
        else:
            raise NotDerivableError(
                "whitespace around a message changes the adjacent text {text}",
                text=repr(gap.strip()[:60]),
            )
    return list(zip(lefts[:-1], rights[1:], strict=True))


# How a chat template writes tools whose parameters it writes separately, as XML, TypeScript or
# Python.
#
# Tools whose parameters are all alike are probed, one kind after another. The form of a parameter is
# a tree over its traits (its type, whether it is required …), the text around the parameters is a
# tree over the traits of the tool.

_TYPES = ("string", "integer", "number", "boolean", "array", "object")
_OF_TOOL = (ProbedTrait.PARAMETERS, ProbedTrait.SOME_REQUIRED, ProbedTrait.DESCRIBED)
_OF_PARAMETER = tuple(trait for trait in ProbedTrait if trait not in _OF_TOOL)
_KINDS = (
    *(ToolOffer(type=name) for name in _TYPES),
    *(ToolOffer(type="array", items=name) for name in _TYPES[:4]),
    ToolOffer(enum=True),
)


def probe_tools(prober: Prober) -> tuple[Form, Form] | None:
    """Return how the marked tools are written and how any tool is; None if a tool is a single JSON
    value.

    Raises NotDerivableError if the template depends on more traits of a parameter than are modeled
    here.
    """
    plain = _find_tools_loop(prober, PLAIN_OFFER)
    if plain is None:
        return None
    unit = _to_turn(plain.unit)
    if any(map(_is_parameters, unit)):
        return plain.unit, _generalize_tool(prober, plain)
    if sum(isinstance(part, ValuePart) for part in unit) > 1:
        with suppress(NotDerivableError):
            return plain.unit, _generalize_tool(prober, plain)
    return None


def _generalize_tool(prober: Prober, plain: LoopPart) -> Form:
    """Return how any tool is written, learned from tools of every kind."""
    loose = _probe_unit(prober, replace(PLAIN_OFFER, required=False), plain)
    names = _list_of_required(_to_turn(plain.unit), loose) if loose else None
    of_tools: list[ProbeSample] = []
    of_parameters: list[list[tuple[ToolOffer, Turn]]] = []
    for offer in _iter_offers():
        if (whole := _probe_unit(prober, offer, plain)) is None:
            continue
        unit, loops = _separate_parameters(whole, names if offer.required else None)
        of_tools.append(ProbeSample("offer", offer.tool_traits, unit))
        of_parameters = of_parameters or [[] for _ in loops]
        if offer.parameters and len(loops) != len(of_parameters):
            raise NotDerivableError("only some tools have their parameters written")
        for seen, loop in zip(of_parameters, loops, strict=False):
            seen.append((offer, _to_turn(loop.unit)))
    units = [_fit_parameter_form(seen) for seen in of_parameters]
    return map_loops(fit_tree(of_tools, _OF_TOOL), lambda loop: _fill_loop(loop, units))


def _iter_offers() -> Iterator[ToolOffer]:
    plain = replace(PLAIN_OFFER, apart=True)
    for kind in _KINDS:
        for about in (True, False):
            for required in (True, False):
                yield replace(kind, about=about, required=required, apart=True)
    for required in (True, False):
        yield replace(plain, described=False, required=required)
    for described in (True, False):
        yield replace(plain, parameters=0, described=described)


def _find_tools_loop(prober: Prober, offer: ToolOffer) -> LoopPart | None:
    """Return the loop over tools in the text of one user message."""
    samples = prober.samples(ProbeConversation("u", tools=2, offer=offer))
    loops = [part for sample in samples for part in sample.turn if isinstance(part, LoopPart)]
    tool_loops = [loop for loop in loops if loop.over == "tools"]
    return tool_loops[0] if len(tool_loops) == 1 else None


def _probe_unit(prober: Prober, offer: ToolOffer, plain: LoopPart) -> Turn | None:
    """Return the text of each tool; None if the chat template refuses such tools."""
    try:
        loop = _find_tools_loop(prober, offer)
    except NotDerivableError:
        raise
    except Exception:  # foreign code may raise anything; the proof finds out what is refused
        return None
    if loop is None or loop.separator != plain.separator:
        raise NotDerivableError("the text around a tool depends on its parameters")
    return _to_turn(loop.unit)


def _to_turn(form: Form) -> Turn:
    assert isinstance(form, tuple)
    return form


def _is_parameters(part: Part) -> bool:
    return isinstance(part, LoopPart) and part.over == "parameters"


def _list_of_required(strict: Turn, loose: Turn) -> int | None:
    """Return the loop over parameters that lists the required ones: it vanishes if none is
    required.
    """
    loops = [part for part in strict if isinstance(part, LoopPart) and _is_parameters(part)]
    vanished = len(loops) - sum(map(_is_parameters, loose))
    bare = [
        index
        for index, loop in enumerate(loops)
        if {p.name for p in iter_parts(_to_turn(loop.unit)) if isinstance(p, ValuePart)}
        == {"parameter"}
    ]
    if not vanished:
        return None
    if vanished > 1 or not bare:
        raise NotDerivableError("optional parameters are not written like required ones")
    return bare[-1]


def _separate_parameters(unit: Turn, names: int | None) -> tuple[Turn, list[LoopPart]]:
    """Return the text around the parameters, with numbers for parameter forms, and these forms."""
    parts: list[Part] = []
    loops: list[LoopPart] = []
    number = 0
    for part in unit:
        if isinstance(part, LoopPart) and _is_parameters(part):
            if number == names:
                of_each = _to_turn(part.unit)
                needed = tuple(
                    ValuePart("needed") if isinstance(p, ValuePart) else p for p in of_each
                )
                parts.append(LoopPart("required", needed, part.separator))
            else:
                parts.append(replace(part, unit=(FixedPart(str(len(loops))),)))
                loops.append(part)
            number += 1
        else:
            parts.append(part)
    return tuple(parts), loops


def _fill_loop(loop: LoopPart, units: Sequence[Form]) -> LoopPart:
    """Return a loop over parameters with the form in place of its number."""
    if loop.over != "parameters" or not isinstance(loop.unit, tuple):
        return loop
    number = loop.unit[0]
    assert isinstance(number, FixedPart)
    return replace(loop, unit=units[int(number.text)])


def _fit_parameter_form(seen: Sequence[tuple[ToolOffer, Turn]]) -> Form:
    """Return the tree for a parameter, with its type as a value if that leads to fewer forms."""
    forms = [
        fit_tree([ProbeSample("parameter", offer.parameter_traits, _generalize_turn(turn, offer, named=with_type))
             for offer, turn in seen], _OF_PARAMETER)
        for with_type in (True, False)
    ]  # fmt: skip
    return min(forms, key=lambda form: sum(1 for _ in iter_turns(form)))


def _generalize_turn(turn: Turn, offer: ToolOffer, *, named: bool) -> Turn:
    """Return the turn with values for the items' description and, if `named`, the type."""
    values: dict[str, ValuePart] = {}
    if offer.items:
        for layout in LAYOUTS:
            values.setdefault(dump_json({"type": offer.items}, layout), ValuePart("items", layout))
    patterns = [re.escape(text) for text in values]
    if named:
        values[offer.type] = ValuePart("type")
        patterns.append(rf"(?<![^\W\d_]){offer.type}(?![^\W\d_])")
    if not patterns:
        return turn
    parts: list[Part] = []
    for part in turn:
        if isinstance(part, FixedPart):
            pieces = re.split(f"({'|'.join(patterns)})", part.text)
            parts += [values[text] if n % 2 else FixedPart(text) for n, text in enumerate(pieces)]
        else:
            parts.append(part)
    return merge_fixed_parts(parts)


# Detect the form in which a chat template expects tool calls, and how it writes them.
#
# Templates differ in both: arguments are objects or JSON, results refer to their call by id or name,
# calls may be numbered, and non-text values may be written as in Python.

_ARGUMENTS: tuple[Literal["object", "json"], ...] = ("object", "json")
_STYLES = tuple(
    ProbeStyle(arguments, empty, results=role, nested=nested)
    for role, nested, empty, arguments in product(
        RESULT_ROLES, (True, False), ("", None), _ARGUMENTS
    )
)
#: What a chat template writes of a call and its result, and of the answer after them.
_CALL_MARKS = ("Zn0nZ", "Zv0vZ", "Zt2", "Za3aZ")
_NUMBERINGS = (
    CountPart("call", 0),
    CountPart("made", 0),
    CountPart("call", 1),
    CountPart("made", 1),
)


def probe_calls(prober: Prober) -> Prober | None:
    """Return the prober in the first style that writes a call, its arguments and its result.

    Returns None if there is none.
    """
    for style in _STYLES:
        styled = replace(prober, style=style)
        for tools in (1, 0):
            text = try_render(styled, ProbeConversation("u c t a u", tools=tools)) or ""
            if all(mark in text for mark in _CALL_MARKS):
                if _has_call_lookup(styled):
                    styled = replace(styled, style=replace(style, matched=True), _seen={})
                styled = replace(styled, numbering=_probe_numbering(styled), _seen={})
                return replace(styled, other_unit=_probe_other_unit(styled), _seen={})
    return None


def find_result_style(prober: Prober) -> ProbeStyle:
    """Return the style with which a template without full support writes the most of calls and results."""
    shown: dict[ProbeStyle, int] = {}
    for style in _STYLES:
        styled = prober.with_style(style)
        texts = [
            try_render(styled, ProbeConversation(shape, tools=tools)) or ""
            for shape in ("u c t a u", "u a t a u")
            for tools in (1, 0)
        ]
        shown[style] = sum(mark in text for text in texts for mark in _CALL_MARKS)
    return max(shown, key=shown.__getitem__)  # the first of the best


def _probe_other_unit(prober: Prober) -> Turn:
    """Return how a non-text argument is written; empty if it is written as a text is."""
    messages = ProbeConversation("u n t").build_messages()

    def written(value: object) -> str:
        messages[1]["tool_calls"][0]["function"]["arguments"] = {"Zv0vZ": value}
        return prober.text(messages).partition("Zv0vZ")[2][:80]

    try:
        turns = [
            prober.samples(ProbeConversation(shape))[1].turn for shape in ("u cc t t", "u nn t t")
        ]
        words = "True" in written(True)
    except Exception:  # foreign code; the proof decides what this means
        return ()
    texts, numbers = (find_argument_loop(turn) for turn in turns)
    if texts is None or numbers is None or texts.separator != numbers.separator:
        return ()
    assert isinstance(numbers.unit, tuple)
    value = ValuePart("value", python_words=words)
    other = tuple(value if part == ValuePart("value") else part for part in numbers.unit)
    return () if other == texts.unit else other


def _has_call_lookup(prober: Prober) -> bool:
    """Return whether more than the ids changes when results have the ids of their calls."""
    talk = ProbeConversation("u cc t t a u")
    matched = replace(prober, style=replace(prober.style, matched=True))
    text, other = try_render(prober, talk), try_render(matched, talk)
    if text is None or other is None:
        return other is not None
    for call, index in enumerate((2, 3)):
        text = text.replace(f"Zi{index:05d}iZ", f"Zj{call:05d}jZ")
    return text != other


def _probe_numbering(prober: Prober) -> CountPart | None:
    """Return how calls are numbered; None if they are not, or in an unknown way."""
    for numbering in (None, *_NUMBERINGS):
        counting = replace(prober, numbering=numbering, _seen={}, _folder=JsonFolder())
        try:
            samples = counting.samples(ProbeConversation("u ccc t t t ccc t t t"))
        except Exception:  # foreign code may raise anything
            continue
        loops = [
            [part for part in samples[index].turn if isinstance(part, LoopPart)] for index in (1, 5)
        ]
        if loops[0] == loops[1]:
            return numbering
    return None


def try_render(prober: Prober, talk: ProbeConversation) -> str | None:
    """Return the rendering of a marked conversation; None if the chat template refuses it."""
    try:
        return prober.talk(talk)
    except Exception:  # foreign code may raise anything
        return None
