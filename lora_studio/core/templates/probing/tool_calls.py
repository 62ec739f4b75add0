"""Detect the form in which a chat template expects tool calls, and how it writes them.

Templates differ in both: arguments are objects or JSON, results refer to their call by id or name,
calls may be numbered, and non-text values may be written as in Python.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Literal

from lora_studio.core.templates.probing.decision_trees import (
    CountPart,
    LoopPart,
    Turn,
    ValuePart,
    find_argument_loop,
)
from lora_studio.core.templates.probing.probe_conversations import (
    RESULT_ROLES,
    ProbeConversation,
    ProbeStyle,
)
from lora_studio.core.templates.probing.prober import Prober
from lora_studio.core.templates.probing.value_finder import JsonFolder

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
