"""Prove a TEMPLATE: compare the original and the derived text on separate conversations.

Conversations are prepared as the server prepares them (system texts collected, neighbors of one
role merged) before either side renders them.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from functools import cache
from itertools import groupby, pairwise, product
from typing import Any

from lora_studio.core.messages import Template, Text, listed, text
from lora_studio.core.templates.go.rendering import GoTemplate, GoTemplateError
from lora_studio.core.templates.probing.probe_conversations import (
    IN_CONTENT,
    ProbeConversation,
    SystemState,
    put_thoughts_in_content,
)
from lora_studio.core.templates.probing.prober import THINK_END, Prober
from lora_studio.core.templates.server.rendering import (
    Message,
    Tool,
    build_template_data,
    merge_messages,
)
from lora_studio.core.templates.server.terms import (
    CONTENT_BESIDE_CALLS,
    SEVERAL_CALLS,
    RenderDifference,
    TemplateFeature,
)


class TemplateProof:
    """Compares one TEMPLATE with the original chat template."""

    def __init__(self, prober: Prober, template: str, *, may_refuse_tools: bool = False) -> None:
        """Prepare a proof; `prober` provides the original and the BOS to omit.

        With `may_refuse_tools`, tools that the original refuses are not compared.
        """
        self.may_refuse_tools = may_refuse_tools
        self.prober = prober
        self.template = template
        self.parsed = GoTemplate(template)

    def run(
        self, talks: Iterable[ProofCase], days: Sequence[date]
    ) -> tuple[int, RenderDifference | None]:
        """Return the number of renderings compared, and the first difference if there was one.

        The first conversations are compared on every day, the others on two.
        """
        checked = 0
        for number, case in enumerate(talks):
            prepared = replace(case, messages=merge_messages(case.messages))
            for today in days[:2] if number >= ON_EVERY_DAY else days:
                checked += 1
                if difference := self.find_difference(prepared, case, today):
                    return checked, difference
        return checked, None

    def render_original(self, case: ProofCase, today: date) -> str | None:
        """Return the chat template's text without BOS; None if it refuses the conversation."""
        try:
            return self.prober.text(case.messages, case.tools, case.think, today.strftime)
        except Exception:  # foreign code may raise anything
            return None

    def render_derived(self, case: ProofCase, today: date) -> str | None:
        """Return the TEMPLATE's text; None if it raises."""
        try:
            data = build_template_data(case.messages, case.tools, case.think)
            return self.parsed.render(data, today=today)
        except GoTemplateError:
            return None

    def find_difference(
        self, case: ProofCase, sent: ProofCase, today: date
    ) -> RenderDifference | None:
        """Return the first difference between the original's text of `case` and the TEMPLATE's
        text of `sent`.
        """
        expected, actual = self.render_original(case, today), self.render_derived(sent, today)
        if expected == actual or (expected is None and case.tools and self.may_refuse_tools):
            return None
        one, two = expected or "", actual or ""
        pairs = enumerate(zip(one, two, strict=False))
        position = next((i for i, (a, b) in pairs if a != b), min(len(one), len(two)))
        around = slice(max(0, position - 40), position + 40)
        return RenderDifference(
            messages=tuple(sent.messages),
            tools=tuple(dict(tool) for tool in sent.tools),
            think=sent.think,
            today=today,
            position=position,
            expected="(refused)" if expected is None else one[around],
            actual="(refused)" if actual is None else two[around],
        )

    def render_both(self, case: ProofCase, today: date) -> tuple[str | None, str | None]:
        """Return the original's and the TEMPLATE's text of a conversation as a client sends it.

        Reasoning that the chat template reads from the content is there for the TEMPLATE, too, if
        the server doesn't separate it.
        """
        sent = case
        if self.prober.style.thoughts == IN_CONTENT and ".Thinking" not in self.template:
            sent = replace(case, messages=[put_thoughts_in_content(m) for m in case.messages])
        return self.render_original(case, today), self.render_derived(sent, today)


# One day in each month, so that every month name occurs; the first two differ in
# all digits.
DAYS = (
    date(2025, 11, 28),
    date(2034, 2, 3),
    *(date(2026 + month % 4, month, 2 * month + 1) for month in (1, 3, 4, 5, 6, 7, 8, 9, 10, 12)),
)
PROOF_CONVERSATIONS = 72
_CONTENTS = (
    "Hello", "What is 2 + 2?", "  two blanks before", "two blanks after  ", "\n\nline feeds\n",
    "\t tab and blank \t", " \n mixed \n ", "Größe, 漢字, 😀", "\u00a0no-break blanks\u2003",
    "\u3000full width\u3000", 'He said "yes"', '"""', "{{.Content}} }}{", "a\n\nb\n  c", "- x\n- y",
    "<b>&amp;</b>", "\\n is no line feed", "[1, 2]", "x\u0085", "\u2028y\u2029", "%d %s", "l'été",
)  # fmt: skip
_ANSWERS_WITH_THOUGHTS = (
    f"<think>\nfirst\n{THINK_END}\n\nThe answer.",
    f"<think>why{THINK_END}Short. ",
    f"<think>\n{THINK_END}\t \n c",
)


def _create_tool(name: str, description: str, required: str = "", **parameters: Any) -> Tool:
    """Return a tool as clients send it; parameters are sorted by name, as the server writes them."""
    properties = {key: parameters[key] for key in sorted(parameters)}
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    schema |= {"required": required.split()} if required else {}
    described = {"description": description} if description else {}
    function = {"name": name, **described, "parameters": schema}
    return {"type": "function", "function": function}


CASES_WITH_ABILITIES = 120
ON_EVERY_DAY = 20
TOOLS: tuple[Tool, ...] = (
    _create_tool(
        "look_up", 'What an "encyclopaedia" says, if <known> & true', "about",
        about={"type": "string", "description": "What to look up: 'names', {things}, ünïcode"},
        long={"type": "boolean", "description": "Whether it is all of the text"},
    ),
    _create_tool(
        "weather_at", "Weather of a place", "days place",
        days={"type": "integer", "description": "How many days"},
        place={"type": "string", "description": "Town or co-ordinates"},
        unit={"type": "string", "description": "Scale", "enum": ["celsius", "kelvin"]},
    ),
    _create_tool(
        "now", "The time", "zone",
        at={"type": "number", "description": "Seconds"},
        days={"type": "array", "items": {"type": "integer"}, "description": "Of the week"},
        with_={"type": "object", "description": "More"},
        zone={"type": "string", "description": "Zone", "enum": ["UTC"]},
    ),
    _create_tool(
        "mean", "Mean of numbers\\n", "of",
        of={"type": "array", "items": {"type": "number"}, "description": "Numbers, [1, 2]"},
        names={"type": "array", "items": {"type": "string"}, "description": "Theirs"},
        exact={"type": "integer", "description": "Digits"},
    ),
    _create_tool(
        "all_of", "Whether all hold", "that this",
        this={"type": "array", "items": {"type": "boolean"}, "description": "Facts"},
        that={"type": "boolean", "description": "A fact"},
        more={"type": "array", "description": "Anything"},
    ),
)  # fmt: skip
#: Tools with fewer details than usual, which some chat templates refuse.
TERSE_TOOLS: tuple[Tool, ...] = (
    _create_tool(
        "find", "", "what",
        what={"type": "string"}, where={"type": "string", "enum": ["here", "there", "both"]},
        whole={"type": "boolean"}, most={"type": "integer"},
    ),
    _create_tool(
        "sort", "Puts in order",
        items={"type": "array", "items": {"type": "string"}}, by={"type": "object"},
        weights={"type": "array", "items": {"type": "number"}}, least={"type": "number"},
    ),
    _create_tool("list", "Lists all", ""),
    _create_tool(
        "keep", "Keeps a text", "bare kind", bare={"type": "array"},
        kind={"type": "string", "enum": ["a", "b"]}, of={"type": "array", "items": {"type": "boolean"}},
        then={"type": "array", "items": {"type": "integer"}},
    ),
)  # fmt: skip
_ARGUMENTS: tuple[dict[str, Any], ...] = (
    {"place": "Zürich"}, {"about": "l'a \"b\" <c> & \\d", "place": "x\ny"}, {"days": 3, "place": "北京"},
    {"flag": True, "ratio": 0.5}, {"yes": False},
)  # fmt: skip
_NESTED: tuple[dict[str, Any], ...] = (
    {"of": [1, 2.5, "x <y> & z"]}, {"of": {"a": {"b": []}}, "to": [{"c": None}]}, {"none": None},
)  # fmt: skip
_RESULTS = (
    "12", '{"degrees": 21.5, "sky": "clear"}', "two\nlines", "Größe < 5 & > 3", "  blanks  ", "[]",
)  # fmt: skip
_THOUGHTS = ("I should look.", "First this,\nthen that.", "\nwith line feeds\n")


@dataclass(frozen=True)
class ProofCase:
    """A conversation to compare on, with its tools and the requested thinking mode."""

    messages: list[Message]
    tools: tuple[Tool, ...] = ()
    think: bool | None = None

    @classmethod
    def from_difference(cls, difference: RenderDifference) -> ProofCase:
        """Return the conversation on which two renderings differed."""
        return cls([*difference.messages], difference.tools, difference.think)


def simplify(ability: str, case: ProofCase) -> ProofCase:
    """Return the conversation with plain content instead of what one of three abilities needs."""
    if ability == "terse_tools":
        tools = tuple(
            TOOLS[n] if tool in TERSE_TOOLS else tool for n, tool in enumerate(case.tools)
        )
        return replace(case, tools=tools)
    plain = _ARGUMENTS[0]

    def calm(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        nested = any(isinstance(value, list | dict | None) for value in arguments.values())
        return plain if (nested if ability == "nested_arguments" else not arguments) else arguments

    messages = []
    for message in case.messages:
        calls = [
            {
                **call,
                "function": {**call["function"], "arguments": calm(call["function"]["arguments"])},
            }
            for call in message.get("tool_calls", ())
        ]
        messages.append({**message, "tool_calls": calls} if calls else message)
    return replace(case, messages=messages)


def generate_conversations(*, thinks: bool = False) -> Iterator[list[Message]]:
    """Yield up to nine turns with every kind of system message; the same conversations on each
    call.
    """
    dice = random.Random(20240229)
    answers = _CONTENTS + (_ANSWERS_WITH_THOUGHTS * 3 if thinks else ())
    for number in range(PROOF_CONVERSATIONS):
        turns, kind = number % 9 + 1, number // 9 % 4
        messages: list[Message] = []
        if kind != 3:
            system = "" if kind == 2 else dice.choice(_CONTENTS)
            messages.append({"role": "system", "content": system})
        for turn in range(turns):
            messages.append({"role": "user", "content": dice.choice(_CONTENTS)})
            if turn < turns - 1:
                messages.append({"role": "assistant", "content": dice.choice(answers)})
        if number % 8 == 5:
            messages.append({"role": "user", "content": dice.choice(_CONTENTS)})
        yield messages


@dataclass(frozen=True)
class TemplateAbilities:
    """What the conversations of a proof may use, beyond users, answers and a system text."""

    features: frozenset[TemplateFeature] = frozenset()
    thinks_in_answers: bool = False
    terse_tools: bool = True
    refused_tools: bool = True
    several_calls: bool = True
    nested_arguments: bool = True
    empty_arguments: bool = True
    content_beside_calls: bool = True
    thoughts_beside_content: bool = True
    system: bool = True
    empty_system: bool = True


def generate_cases(able: TemplateAbilities) -> Iterator[ProofCase]:
    """Yield the conversations of a proof: first those with abilities, which reveal most
    differences.
    """
    dice = random.Random(20240301)
    for number in range(
        CASES_WITH_ABILITIES if able.features - {TemplateFeature.INTERRUPTIONS} else 0
    ):
        without = {TemplateFeature.TOOLS, TemplateFeature.CALLS} if number % 4 == 2 else set()
        now = replace(able, features=able.features - without)
        offered = TOOLS + TERSE_TOOLS * now.terse_tools
        tools = (
            tuple(dice.sample(offered, dice.randint(1, 3)))
            if TemplateFeature.TOOLS in now.features
            else ()
        )
        think = (
            dice.choice((None, False, True)) if TemplateFeature.SWITCH in able.features else None
        )
        yield ProofCase(_with_abilities(dice, now), tools, think)
    for messages in generate_conversations(thinks=able.thinks_in_answers):
        if able.empty_system or messages[0] != {"role": "system", "content": ""}:
            yield ProofCase(messages)


def _with_abilities(dice: random.Random, able: TemplateAbilities) -> list[Message]:
    messages: list[Message] = []
    if able.system and (roll := dice.randrange(5)) < 3:
        text = "" if roll == 2 and able.empty_system else dice.choice(_CONTENTS)
        messages.append({"role": "system", "content": text})
    # Some chat templates distinguish messages by their content.
    questions = dice.sample(_CONTENTS, dice.randint(1, 3))
    for question in questions:
        messages.append({"role": "user", "content": question})
        for _ in range(dice.choice((0, 1, 1, 2)) if TemplateFeature.CALLS in able.features else 0):
            messages += _iter_call_round(dice, able)
        if TemplateFeature.RESULTS in able.features and not dice.randrange(3):
            messages.append({"role": "assistant", "content": dice.choice(_CONTENTS)})
            messages += [_draw_result(dice) for _ in range(dice.choice((1, 1, 2)))]
        if (
            TemplateFeature.INTERRUPTIONS in able.features
            and messages[-1]["role"] == "tool"
            and not dice.randrange(3)
        ):
            continue
        if question is not questions[-1]:
            messages.append(_with_thinking(dice, able, dice.choice(_CONTENTS)))
    if TemplateFeature.ENDINGS in able.features and not dice.randrange(3):
        messages.append(_with_thinking(dice, able, dice.choice(_CONTENTS)))
    if TemplateFeature.BEGINNINGS in able.features and not dice.randrange(4):
        index = int(messages[0]["role"] == "system")
        messages.insert(index, {"role": "assistant", "content": dice.choice(_CONTENTS)})
    if TemplateFeature.SYSTEMS in able.features and not dice.randrange(3):
        # Never between a call and its result, nor directly after a result.
        places = [
            n
            for n, m in enumerate(messages)
            if n and m["role"] == "user" and messages[n - 1]["role"] != "tool"
        ]
        if places:
            text = dice.choice(("Be brief.", " Speak French.\n", "{{.System}}"))
            messages.insert(dice.choice(places), {"role": "system", "content": text})
    return messages


def _iter_call_round(dice: random.Random, able: TemplateAbilities) -> Iterator[Message]:
    """Yield an assistant message with tool calls, and the results."""
    content = dice.choice(("", "Let me see."))
    content = content if able.content_beside_calls else ""
    message = _with_thinking(dice, able, content)
    if content and not able.thoughts_beside_content:
        message.pop("thinking", None)
    number = dice.choice((1, 1, 2, 3)) if able.several_calls else 1
    calls: list[dict[str, Any]] = []
    for _ in range(number):
        name = dice.choice(TOOLS)["function"]["name"]
        identity = "".join(dice.choices("abcdefghijkmnpqrstuvwxyz23456789", k=9))
        argument_sets = _ARGUMENTS + _NESTED * able.nested_arguments + ({},) * able.empty_arguments
        arguments = dice.choice(argument_sets)
        function = {"name": name, "arguments": arguments}
        calls.append({"id": identity, "function": function})
    message["tool_calls"] = calls
    yield message
    for call in calls:
        yield {
            "role": "tool",
            "content": dice.choice(_RESULTS),
            "tool_name": call["function"]["name"],
            "tool_call_id": call["id"],
        }


def _draw_result(dice: random.Random) -> Message:
    """Return the result of a call that is part of an answer's text."""
    names = {"tool_name": dice.choice(TOOLS)["function"]["name"], "tool_call_id": ""}
    return {"role": "tool", "content": dice.choice(_RESULTS), **names}


def _with_thinking(dice: random.Random, able: TemplateAbilities, content: str) -> Message:
    message: Message = {"role": "assistant", "content": content}
    if TemplateFeature.THOUGHTS in able.features and dice.random() < 0.6:
        message["thinking"] = dice.choice(_THOUGHTS)
    return message


# Find the conversations in which a TEMPLATE writes something else than its chat template, by trying them.
#
# The proof covers the conversations that a TEMPLATE is derived for. Here, both render conversations of
# every kind: those whose messages, roles, or fields the TEMPLATE may not know, in every order. Each content
# is a mark, so that what one of the two omits is known by name.


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
    for description, short in _PROBED_CONTENTS.items():
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


_PROBED_CONTENTS: dict[Template, str] = {
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
