"""How a chat template writes tools whose parameters it writes separately, as XML, TypeScript or
Python.

Tools whose parameters are all alike are probed, one kind after another. The form of a parameter is
a tree over its traits (its type, whether it is required …), the text around the parameters is a
tree over the traits of the tool.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import product
from typing import Literal

from lora_studio.core.templates.probing.decision_trees import (
    CountPart,
    FixedPart,
    Form,
    LoopPart,
    NotDerivableError,
    Part,
    ProbedTrait,
    ProbeSample,
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
)
from lora_studio.core.templates.probing.prober import LAYOUTS, JsonFolder, Prober, dump_json

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
