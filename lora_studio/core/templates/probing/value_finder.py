"""Find tools and calls in the text that a chat template wrote, and fold them into loops.

A tool can be written as JSON, whole or in parts, in several layouts; every text that a marked tool
or call could produce is searched for. Repetition from one item to the next is a loop.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal

from lora_studio.core.messages import Text, text
from lora_studio.core.templates.probing.decision_trees import (
    FixedPart,
    Layout,
    LoopPart,
    NotDerivableError,
    Part,
    Turn,
    ValuePart,
    merge_fixed_parts,
)
from lora_studio.core.templates.probing.probe_conversations import (
    PLAIN_OFFER,
    ToolOffer,
    build_marked_call,
    build_marked_tool,
)

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


_LEFT = re.compile(r"Z[fgpqcnjvwxy]\d+")


def _check_text(text: str) -> str:
    if match := _LEFT.search(text):
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
