"""Conversations on which a server's own prompt is compared with the training's; deterministic."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from lora_studio.core.messages import Text, text
from lora_studio.core.tasks.samples import Message, Role, ToolCall

#: The most markers of a chat template that go into a user's text.
_MOST_MARKERS = 4


class ProbeKind(StrEnum):
    """What a probe conversation is about."""

    PLAIN = "plain"
    SYSTEM = "system"
    TURNS = "turns"
    BLANKS = "blanks"
    MARKERS = "markers"
    EMOJI = "emoji"
    RIGHT_TO_LEFT = "right_to_left"
    NEIGHBORS = "neighbors"
    TOOLS = "tools"
    THINKING = "thinking"

    @property
    def description(self) -> Text:
        """Return the kind as a phrase."""
        return _KINDS[self]

    @property
    def is_plain(self) -> bool:
        """Return whether it needs nothing but users, answers, and a system message in turn."""
        return self not in (self.NEIGHBORS, self.TOOLS, self.THINKING)


_KINDS = {
    ProbeKind.PLAIN: text("a question"),
    ProbeKind.SYSTEM: text("a system message"),
    ProbeKind.TURNS: text("many turns"),
    ProbeKind.BLANKS: text("white space around a message"),
    ProbeKind.MARKERS: text("the template's own markers in a message"),
    ProbeKind.EMOJI: text("emoji"),
    ProbeKind.RIGHT_TO_LEFT: text("right-to-left text"),
    ProbeKind.NEIGHBORS: text("two messages of one role in a row"),
    ProbeKind.TOOLS: text("tools"),
    ProbeKind.THINKING: text("reasoning"),
}


@dataclass(frozen=True)
class PromptProbe:
    """One conversation, with its tools and the request's `think` option (None: not set)."""

    kind: ProbeKind
    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()
    think: bool | None = None

    @property
    def switches(self) -> dict[str, bool]:
        """Return the variables of chat templates that `think` sets."""
        return {} if self.think is None else {"enable_thinking": self.think, "thinking": self.think}


_WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather_at",
        "description": "Returns the weather at a place.",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "The town"},
                "days": {"type": "integer", "description": "How many days"},
            },
            "required": ["place"],
        },
    },
}

_PLAIN = (
    "Hello",
    "What is 2 + 2?",
    "a\n\nb\n  c",
    'He said "yes" & <b>no</b>',
    "{{ .Content }} }}{",
)
_BLANKS = ("two blanks after  ", "  two blanks before", "line feed after\n", "\n\t both \t\n")
_EMOJI = ("😀", "👩🏽‍🚀 lifts off 🚀", "🇩🇪🏳️‍🌈 flags")
_RIGHT_TO_LEFT = ("مرحبا، كيف حالك؟", "שלום, מה שלומך?", "mixed: العربية and English")
_SYSTEMS = ("You are Pim.", "You are Pim.\nAnswer briefly. ")


def list_probes(markers: tuple[str, ...] = ()) -> tuple[PromptProbe, ...]:
    """Return the probe conversations; `markers` are texts that the chat template itself writes."""
    probes = [
        *(PromptProbe(kind, _talk(content)) for kind, content in _list_contents(markers)),
        *(
            PromptProbe(ProbeKind.SYSTEM, (_turn("system", system), *_talk(content)))
            for system in _SYSTEMS
            for content in ("Hello", _BLANKS[0])
        ),
        *_list_long_talks(),
        PromptProbe(ProbeKind.NEIGHBORS, _talk("First,", user="then.")),
        PromptProbe(
            ProbeKind.NEIGHBORS,
            (*_talk("Hi"), _turn("assistant", "Hello."), *_talk("First,", user="then.")),
        ),
        *_list_tool_talks(),
        *_list_thinking_talks(),
    ]
    return tuple(probes)


def _list_contents(markers: tuple[str, ...]) -> list[tuple[ProbeKind, str]]:
    marked = [f"What does {marker} mean?" for marker in markers[:_MOST_MARKERS]]
    groups = (
        (ProbeKind.PLAIN, _PLAIN),
        (ProbeKind.BLANKS, _BLANKS),
        (ProbeKind.EMOJI, _EMOJI),
        (ProbeKind.RIGHT_TO_LEFT, _RIGHT_TO_LEFT),
        (ProbeKind.MARKERS, marked),
    )
    return [(kind, content) for kind, contents in groups for content in contents]


def _turn(role: Role, content: str, **fields: Any) -> Message:
    return Message(role=role, content=content, **fields)


def _talk(content: str, *, user: str = "") -> tuple[Message, ...]:
    """Return one user message, or two in a row."""
    turns = [_turn("user", content)]
    return tuple(turns + [_turn("user", user)] * bool(user))


def _list_long_talks() -> list[PromptProbe]:
    turns: list[Message] = []
    for question, answer in (("Hi", "Hello."), ("And 3 + 4?", "7 "), ("Why?", "Because\n\nit is.")):
        turns += [_turn("user", question), _turn("assistant", answer)]
    ending = _turn("user", "Thanks. ")
    talks = [tuple(turns[:2]), tuple(turns[:4]), tuple(turns)]
    plain = [PromptProbe(ProbeKind.TURNS, (*talk, ending)) for talk in talks]
    system = _turn("system", "You are Pim.")
    return [*plain, PromptProbe(ProbeKind.TURNS, (system, *turns, ending))]


def _list_tool_talks() -> list[PromptProbe]:
    question = _turn("user", "How is it in Bern?")
    call = ToolCall(name="weather_at", arguments={"place": "Bern", "days": 3}, id="a1b2c3d4e")
    called = _turn("assistant", "", tool_calls=(call,))
    result = _turn("tool", '{"degrees": 21.5}', name="weather_at")
    tools = (_WEATHER,)
    return [
        PromptProbe(ProbeKind.TOOLS, (question,), tools),
        PromptProbe(ProbeKind.TOOLS, (question, called, result), tools),
        PromptProbe(
            ProbeKind.TOOLS,
            (question, called, result, _turn("assistant", "Mild."), _turn("user", "Thanks.")),
            tools,
        ),
    ]


def _list_thinking_talks() -> list[PromptProbe]:
    question, later = _turn("user", "Is it?"), _turn("user", "Sure?")
    thought = _turn("assistant", "Yes.", thinking="It looks like it.")
    return [
        PromptProbe(ProbeKind.THINKING, (question,), think=True),
        PromptProbe(ProbeKind.THINKING, (question,), think=False),
        PromptProbe(ProbeKind.THINKING, (question, thought, later)),
    ]
