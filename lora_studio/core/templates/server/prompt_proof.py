"""What is known about the prompts of a created model: compared with the server's own, or predicted.

This module imports none of the template libraries, so the window and its events can use it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from lora_studio.core.messages import NO_TEXT, Text, counted, listed, text
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
    def is_text_only(self) -> bool:
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


class PromptPath(StrEnum):
    """What an Ollama server makes the prompt of a chat with."""

    RENDERER = "renderer"
    TEMPLATE = "template"
    CHAT_TEMPLATE = "chat_template"
    NONE = "none"

    @property
    def description(self) -> Text:
        """Return the path as a phrase."""
        return _PATHS[self]


_PATHS = {
    PromptPath.RENDERER: text("its built-in renderer"),
    PromptPath.TEMPLATE: text("the TEMPLATE"),
    PromptPath.CHAT_TEMPLATE: text("the chat template in the GGUF file"),
    PromptPath.NONE: text("no template"),
}


class ProbeDifference(BaseModel):
    """A conversation whose prompt on the server differs from the training's.

    `expected` and `actual` are the texts around the first difference, or token IDs if the texts are
    equal; `refused` is the server's reason for building no prompt. `position` counts the characters of
    training's prompt before the difference, -1 if the texts are equal.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    kind: ProbeKind
    question: str
    expected: str = ""
    actual: str = ""
    refused: Text = NO_TEXT
    position: int = -1

    @property
    def details(self) -> Text:
        """Return the difference as a phrase: the conversation and both texts."""
        if self.refused:
            return text(
                "for “{question}” the server builds no prompt: {reason}",
                question=self.question,
                reason=self.refused,
            )
        return text(
            "for “{question}” it has {actual} instead of {expected}",
            question=self.question,
            actual=repr(self.actual),
            expected=repr(self.expected),
        )


class TemplateDifference(BaseModel):
    """A conversation for which llama-server or the TEMPLATE builds another prompt than the chat template.

    `causes` are what llama-server does otherwise. `line` of the chat template writes what differs, with
    the text `source`; 0 if it isn't known.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    by: Literal["llama_server", "template"]
    difference: ProbeDifference
    causes: tuple[Text, ...] = ()
    line: int = 0
    source: str = ""


class PromptProof(BaseModel):
    """How it is known which prompts a server builds for a model.

    `by`: the server showed its prompts, it only counted their tokens, or it wasn't asked (and
    `unasked` says why). `path` is the predicted one, for `reason`. `compared` conversations had a
    prompt in training; `equal` of them had the same token IDs on the server. `counted`: conversations
    whose number of prompt tokens was correct when the server ran them; `miscounted`: those whose number
    was wrong, though the server showed the right prompt if it showed any.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    by: Literal["server", "counts", "none"]
    version: str
    path: PromptPath
    reason: Text
    compared: int = 0
    equal: int = 0
    differences: tuple[ProbeDifference, ...] = ()
    counted: int = 0
    miscounted: int = 0
    unasked: Text = NO_TEXT

    @property
    def is_proven(self) -> bool:
        """Return whether the server showed the trained prompt of every conversation, and ran it.

        A server could show one prompt and run another; its token counts reveal that.
        """
        return self.shows_trained_prompts and self.shows_and_runs_prompts

    @property
    def shows_and_runs_prompts(self) -> bool:
        """Return whether the server showed its prompts, and its token counts confirm that it runs them."""
        return self.by == "server" and self.counted > 0 and not self.unasked

    @property
    def shows_trained_prompts(self) -> bool:
        """Return whether the server showed the trained prompt of every conversation."""
        return self.by == "server" and 0 < self.compared == self.equal and not self.differences

    @property
    def different_kinds(self) -> tuple[ProbeKind, ...]:
        """Return the kinds of conversations that differ, each once."""
        return tuple(dict.fromkeys(difference.kind for difference in self.differences))

    @property
    def verdict(self) -> Text:
        """Return in one sentence by whom, and on what, the prompts were proven."""
        values = {"version": self.version, "path": self.path.description}
        if self.is_proven:
            return counted(
                self.equal,
                "Verified by Ollama {version} on {n} conversation: it builds the prompt that the "
                "model was trained on, from {path}.",
                "Verified by Ollama {version} on {n} conversations: it builds the prompts that the "
                "model was trained on, from {path}.",
                **values,
            )
        if self.by == "server":
            return self._describe_server(values)
        if self.by == "counts":
            return counted(
                self.counted,
                "Predicted for Ollama {version}, which uses {path}: {reason}. Its token count is "
                "correct in {n} conversation; it doesn't show its prompts.",
                "Predicted for Ollama {version}, which uses {path}: {reason}. Its token counts are "
                "correct in {n} conversations; it doesn't show its prompts.",
                reason=self.reason,
                **values,
            )
        return text(
            "Predicted, not asked: Ollama {version} uses {path}, because {reason}.",
            reason=self.reason,
            **values,
        )

    def _describe_server(self, values: dict[str, Any]) -> Text:
        """Return the verdict of a server that showed its prompts and isn't proven."""
        if self.shows_trained_prompts:
            return text(
                "Ollama {version} shows the prompts that the model was trained on, from {path}. It "
                "wasn't confirmed that it runs them: {reason}.",
                reason=self.unasked,
                **values,
            )
        return text(
            "Verified by Ollama {version} on {equal} of {compared} conversations. It builds "
            "other prompts for {kinds}.",
            equal=self.equal,
            compared=self.compared,
            kinds=listed([kind.description for kind in self.different_kinds]),
            **values,
        )
