"""Find the conversations in which a TEMPLATE writes something else than its chat template, by trying them.

The proof covers the conversations that a TEMPLATE is derived for. Here, both render conversations of
every kind: those whose messages, roles, or fields the TEMPLATE may not know, in every order. Each content
is a mark, so that what one of the two omits is known by name.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cache
from itertools import groupby, pairwise, product

from lora_studio.core.messages import Template, Text, listed, text
from lora_studio.core.templates.probing.probe_conversations import (
    ProbeConversation,
    SystemState,
)
from lora_studio.core.templates.probing.prober import THINK_END
from lora_studio.core.templates.proof import ProofCase, TemplateProof
from lora_studio.core.templates.server.rendering import Message
from lora_studio.core.templates.server.terms import (
    CONTENT_BESIDE_CALLS,
    SEVERAL_CALLS,
    TemplateFeature,
)


class ConversationKind(StrEnum):
    """What distinguishes a conversation from questions and answers in turn."""

    EMPTY_SYSTEM = "empty_system"
    SYSTEMS = "systems"
    SYSTEM_ROW = "system_row"
    DEVELOPER = "developer"
    USER_ROW = "user_row"
    ANSWER_ROW = "answer_row"
    BEGINNING = "beginning"
    ENDING = "ending"
    TOOLS = "tools"
    CALLS = "calls"
    RESULTS_ALONE = "results_alone"
    CALL_ROW = "call_row"
    PENDING_CALLS = "pending_calls"
    INTERRUPTIONS = "interruptions"
    CONTENT_BESIDE_CALLS = "content_beside_calls"
    EARLIER_THOUGHTS = "earlier_thoughts"
    THOUGHTS_BESIDE_CALLS = "thoughts_beside_calls"
    THINK_ON = "think_on"
    THINK_OFF = "think_off"

    @property
    def description(self) -> Text:
        """Return the kind as a phrase."""
        return _KINDS[self]


_KINDS = {
    ConversationKind.EMPTY_SYSTEM: text("an empty system message"),
    ConversationKind.SYSTEMS: text("a system message in the middle of a conversation"),
    ConversationKind.SYSTEM_ROW: text("two system messages in a row"),
    ConversationKind.DEVELOPER: text("a message with the role “developer”"),
    ConversationKind.USER_ROW: text("two user messages in a row"),
    ConversationKind.ANSWER_ROW: text("two answers in a row"),
    ConversationKind.BEGINNING: TemplateFeature.BEGINNINGS.description,
    ConversationKind.ENDING: TemplateFeature.ENDINGS.description,
    ConversationKind.TOOLS: TemplateFeature.TOOLS.description,
    ConversationKind.CALLS: TemplateFeature.CALLS.description,
    ConversationKind.RESULTS_ALONE: TemplateFeature.RESULTS.description,
    ConversationKind.CALL_ROW: SEVERAL_CALLS,
    ConversationKind.PENDING_CALLS: text("a tool call without a result"),
    ConversationKind.INTERRUPTIONS: TemplateFeature.INTERRUPTIONS.description,
    ConversationKind.CONTENT_BESIDE_CALLS: CONTENT_BESIDE_CALLS,
    ConversationKind.EARLIER_THOUGHTS: TemplateFeature.THOUGHTS.description,
    ConversationKind.THOUGHTS_BESIDE_CALLS: text("reasoning in a message with tool calls"),
    ConversationKind.THINK_ON: text("reasoning that a request turns on"),
    ConversationKind.THINK_OFF: text("reasoning that a request turns off"),
}


def find_kinds(case: ProofCase) -> frozenset[ConversationKind]:
    """Return everything that distinguishes a conversation from questions and answers in turn."""
    messages = case.messages
    roles = [message["role"] for message in messages]
    first = next((role for role in roles if role != "system"), "")
    answers = [message for message in messages if message["role"] == "assistant"]
    calling = [message for message in answers if message.get("tool_calls")]
    kind = ConversationKind
    holds = {
        kind.EMPTY_SYSTEM: roles[:1] == ["system"] and not messages[0]["content"],
        kind.SYSTEMS: "system" in [role for role, _ in groupby(roles)][1:],
        kind.SYSTEM_ROW: ("system", "system") in pairwise(roles),
        kind.DEVELOPER: "developer" in roles,
        kind.USER_ROW: ("user", "user") in pairwise(roles),
        kind.ANSWER_ROW: ("assistant", "assistant") in pairwise(roles),
        kind.BEGINNING: first == "assistant",
        kind.ENDING: roles[-1:] == ["assistant"] and not answers[-1].get("tool_calls"),
        kind.TOOLS: bool(case.tools),
        kind.CALLS: bool(calling),
        kind.RESULTS_ALONE: any(
            one["role"] != "tool" and not one.get("tool_calls") and other["role"] == "tool"
            for one, other in pairwise([{"role": ""}, *messages])
        ),
        kind.CALL_ROW: any(len(message["tool_calls"]) > 1 for message in calling),
        kind.PENDING_CALLS: bool(_count_pending_calls(messages)),
        kind.INTERRUPTIONS: ("tool", "user") in pairwise(roles),
        kind.CONTENT_BESIDE_CALLS: any(message["content"] for message in calling),
        kind.EARLIER_THOUGHTS: any(
            message.get("thinking") and not message.get("tool_calls") for message in answers
        ),
        kind.THOUGHTS_BESIDE_CALLS: any(message.get("thinking") for message in calling),
        kind.THINK_ON: case.think is True,
        kind.THINK_OFF: case.think is False,
    }
    return frozenset(name for name, is_so in holds.items() if is_so)


def _count_pending_calls(messages: Sequence[Message]) -> int:
    """Return the number of calls that another message than their results follows."""
    pending = left = 0
    for message in messages:
        if message["role"] == "tool":
            pending = max(0, pending - 1)
        else:
            left += pending
            pending = len(message.get("tool_calls") or ())
    return left + pending


# ---------------------------------------------------------------------------------- conversations

_WORDS = ("u", "a", "s", "d", "t", "c", "cc", "Cc", "ak", "ck", "Cck")
_LAST_WORDS = ("u", "t", "a", "ak")
_LONGEST = 4
#: Random ones of the longest conversations, and of those with several kinds, since there are thousands.
_DRAWN, _MIXED = 250, 120
#: Longer than the others, for templates that look further back.
_LONG = (
    "u a a u", "u a u u", "u c t u", "u a t u", "u cc t t", "u Cc t a", "u ck t a", "u c t ak",
    "u a u a s u", "u a s u a s u", "u a u u a u", "u c t c t a u", "u c t a u c t", "u cc t t a u", "u ccc t t t a u",
    "u a t a u a t", "u a t t a u", "u ck t ck t ak u", "u ak u ak u a u", "u ck t ak u ck t", "u Cck t ak u",
    "u a c t a u", "u c t s a u", "u c t a s u c t", "u c t u", "u cc t a u", "s u a s u", "u a u a u a",
)  # fmt: skip


@cache
def _list_conversations() -> tuple[tuple[frozenset[ConversationKind], ProbeConversation], ...]:
    """Return the conversations to try with their kinds, the ones with the fewest kinds first."""
    tried: list[tuple[frozenset[ConversationKind], ProbeConversation]] = []
    mixed: list[tuple[frozenset[ConversationKind], ProbeConversation]] = []
    dice = random.Random(20240302)
    shapes: list[str] = []
    for length in range(1, _LONGEST + 1):
        possible = [words for words in product(_WORDS, repeat=length) if _is_possible(words)]
        shapes += map(" ".join, possible if length < _LONGEST else dice.sample(possible, _DRAWN))
    for shape in (*shapes, *_LONG):
        for talk in _iter_variants(shape):
            kinds = find_kinds(
                ProofCase(talk.build_messages(), tuple(talk.tool_list()), talk.think)
            )
            few = len(kinds - {ConversationKind.CALLS, ConversationKind.TOOLS}) < 2
            (tried if few or shape in _LONG else mixed).append((kinds, talk))
    tried += dice.sample(mixed, _MIXED)
    return tuple(sorted(tried, key=lambda one: (len(one[0]), len(one[1].codes))))


def _is_possible(words: Sequence[str]) -> bool:
    """Return whether a conversation can occur: results follow answers, and a prompt is of use at its end."""
    pairs = pairwise(["", *words])
    return (
        words[-1] in _LAST_WORDS
        and "u" in words
        and all(word != "t" or before[:1] in {*"acCt"} for before, word in pairs)
    )


def _iter_variants(shape: str) -> Iterator[ProbeConversation]:
    systems: tuple[SystemState, ...] = ("absent", "given")
    if shape in ("u", "u a u"):
        systems += ("empty",)
        for think in (True, False):
            yield ProbeConversation(shape, think=think)
    for system in systems:
        yield ProbeConversation(shape, system)
        if "c" in shape or shape in ("u", "u a u"):
            yield ProbeConversation(shape, system, 2)


# ------------------------------------------------------------------------------------ differences

_PARTS: Mapping[str, Text] = {
    "u": text("user messages"),
    "a": text("answers"),
    "s": text("the system message"),
    "b": text("later system messages"),
    "o": text("developer messages"),
    "t": text("tool results"),
    "m": text("the tool names of results"),
    "i": text("the call IDs of results"),
    "k": text("reasoning"),
    "n": text("tool calls"),
    "x": text("the arguments of tool calls"),
    "j": text("the IDs of tool calls"),
    "f": text("tools"),
}
_FOUND = re.compile(r"Z([" + "".join(_PARTS) + r"])(\d+)\"?\\?\"?\1Z")


@dataclass(frozen=True)
class OmittedParts:
    """The parts of a conversation that only one of the two renderings has."""

    by_template: tuple[Text, ...]
    by_original: tuple[Text, ...]

    def describe(self, conversation: Text) -> Text:
        """Return the phrase for a conversation with what is omitted."""
        if self.by_template:
            return text(
                "{conversation} (the TEMPLATE omits {parts})",
                conversation=conversation,
                parts=listed(list(self.by_template)),
            )
        if self.by_original:
            return text(
                "{conversation} (only the TEMPLATE writes {parts})",
                conversation=conversation,
                parts=listed(list(self.by_original)),
            )
        return conversation


def _compare_marks(expected: str, actual: str) -> OmittedParts:
    one, two = set(_FOUND.findall(expected)), set(_FOUND.findall(actual))

    def name(marks: set[tuple[str, str]]) -> tuple[Text, ...]:
        letters = {letter for letter, _ in marks}
        return tuple(part for letter, part in _PARTS.items() if letter in letters)

    return OmittedParts(name(one - two), name(two - one))


def list_differences(proof: TemplateProof, today: date) -> Iterator[Text]:
    """Yield the conversations that the chat template and the TEMPLATE render differently.

    Of the kinds that a conversation combines, one that alone makes a difference explains it.
    """
    explained: set[frozenset[ConversationKind]] = set()
    rejected: dict[ConversationKind, None] = {}
    for kinds, talk in _list_conversations():
        if any(kinds >= known for known in explained) or kinds & rejected.keys():
            continue
        case = ProofCase(talk.build_messages(), tuple(talk.tool_list()), talk.think)
        expected, actual = proof.render_both(case, today)
        if expected == actual:
            continue
        if expected is not None:
            explained.add(kinds)
            name = _name(kinds, talk)
            if actual is None:
                yield text("{conversation}, which the TEMPLATE rejects", conversation=name)
            else:
                yield _compare_marks(expected, actual).describe(name)
        elif len(kinds) == 1:
            rejected |= dict.fromkeys(kinds)
    for description, short in _CONTENTS.items():
        expected, actual = proof.render_both(ProofCase(_expand_conversation(short)), today)
        if expected is not None and expected != actual:
            yield text(description)
    yield from _list_part_differences(proof, today)
    if rejected:
        yield text(
            "what the chat template rejects: {kinds}",
            kinds=listed([kind.description for kind in rejected]),
        )


def _list_part_differences(proof: TemplateProof, today: date) -> Iterator[Text]:
    """Yield what a message in parts can hold that the TEMPLATE writes differently.

    Chat templates of models that see take the content as a list of parts.
    """
    one, other = ({"type": "text", "text": f"Zu{n}uZ"} for n in range(2))
    cases: tuple[tuple[Text, list[dict[str, str]], tuple[str, ...]], ...] = (
        (text("a message of several text parts"), [one, other], ("", "\n", "\n\n")),
        (text("a message with a picture"), [{"type": "image"}, one], ()),
    )
    plain = proof.render_derived(ProofCase([{"role": "user", "content": "Zu0uZ"}]), today)
    for description, parts, joints in cases:
        expected = proof.render_original(ProofCase([{"role": "user", "content": parts}]), today)
        if expected is None or "Zu0uZ" not in expected or "'type'" in expected:
            continue
        flat = [ProofCase([{"role": "user", "content": f"Zu0uZ{joint}Zu1uZ"}]) for joint in joints]
        actual = [proof.render_derived(case, today) for case in flat] or [plain]
        if expected not in actual:
            yield description


def _name(kinds: frozenset[ConversationKind], talk: ProbeConversation) -> Text:
    """Return what distinguishes a conversation, without what others of its kinds imply."""
    kind = ConversationKind
    implied = {
        kind.PENDING_CALLS: {kind.CALLS},
        kind.CALL_ROW: {kind.CALLS},
        kind.CONTENT_BESIDE_CALLS: {kind.CALLS},
        kind.THOUGHTS_BESIDE_CALLS: {kind.CALLS},
    }
    shown = kinds - {other for one in kinds for other in implied.get(one, ())}
    if not shown:
        return text("a conversation of {n} messages", n=len(talk.codes))
    phrases = [one.description for one in kind if one in shown]
    return phrases[0] if len(phrases) == 1 else text("{kinds} together", kinds=listed(phrases))


_CONTENTS: dict[Template, str] = {
    "an earlier answer with a <think> block": f"uHi\na<think>~why~{THINK_END}~~Hello\nuOn",
    "an earlier answer with only a closing </think>": f"uHi\nawhy{THINK_END}~~Hello\nuOn",
    "a blank answer": "uHi\na \nuOn",
    "an empty answer": "uHi\na\nuOn",
    "a blank user message": "u ",
    "an empty user message": "u",
    "a blank system message": "s \nuHi",
    "/no_think in a user message": "uHi /no_think",
    "/no_think in the system message": "sBe brief. /no_think\nuHi",
    "the same user message twice": "uOn\naHello\nuOn",
}


def _expand_conversation(short: str) -> list[Message]:
    """Return a conversation from its short form: a message per line, starting with its role's
    initial; ~ is a line feed.
    """
    roles = {"s": "system", "u": "user", "a": "assistant"}
    return [
        {"role": roles[line[0]], "content": line[1:].replace("~", "\n")}
        for line in short.split("\n")
    ]
