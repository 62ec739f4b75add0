"""Marked conversations to probe a chat template with, as the server and as Jinja see them.

Every text that a template may write is a unique mark: Zu2uZ is the content of the user message at
index 2. Marks of texts that a template may write as JSON contain a quotation mark, which
distinguishes JSON from plain text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lora_studio.core.templates.probing.decision_trees import (
    CountOf,
    PositionPart,
    ProbedFact,
    ProbedTrait,
    Role,
)
from lora_studio.core.templates.server.rendering import Message, Tool
from lora_studio.core.templates.server.terms import TemplateFeature

SYSTEM_MARK = "Zs0sZ"
SystemState = Literal["absent", "given", "empty"]
#: Key of chat templates that have reasoning in the content of an answer.
IN_CONTENT = "content"
#: Roles that chat templates accept for tool results, the most common first.
RESULT_ROLES = ("tool", "ipython", "function", "observation", "tool_response", "tool_results")


def put_thoughts_in_content(message: Message) -> Message:
    """Return a message with its reasoning before its content, as training writes it there."""
    thinking = message.get("thinking")
    content = f"<think>\n{thinking}\n</think>\n\n{message['content']}"
    rest = {key: value for key, value in message.items() if key != "thinking"}
    return {**rest, "content": content} if thinking else message


@dataclass(frozen=True)
class ProbeStyle:
    """The form in which a chat template expects calls and reasoning.

    Templates agree on role and content and on little else. `thoughts` is the message key for
    reasoning, `empty` the content of a message with calls only, `results` the role of tool results.
    `nested`: name and arguments of a call are in its `function`. `matched`: the template looks up
    results by the ids of their calls, so the ids must agree.
    """

    arguments: Literal["object", "json"] = "object"
    empty: str | None = ""
    thoughts: str = "reasoning_content"
    matched: bool = False
    results: str = "tool"
    nested: bool = True

    def message(self, message: Message) -> Message:
        """Return a message of the server in the form that the chat template expects."""
        if self.thoughts == IN_CONTENT:
            message = put_thoughts_in_content(message)
        written: Message = {"role": message["role"], "content": message["content"]}
        if thinking := message.get("thinking"):
            written[self.thoughts] = thinking
        if calls := message.get("tool_calls"):
            written["content"] = message["content"] or self.empty
            written["tool_calls"] = [self._call(call) for call in calls]
        if message["role"] == "tool":
            written["role"] = self.results
            written["name"] = message.get("tool_name", "")
            written["tool_call_id"] = message.get("tool_call_id", "")
        return written

    def _call(self, call: Mapping[str, Any]) -> dict[str, Any]:
        function = call["function"]
        arguments = function["arguments"]
        if self.arguments == "json":
            arguments = json.dumps(arguments, ensure_ascii=False)
        function_call = {"name": function["name"], "arguments": arguments}
        about = {"function": function_call} if self.nested else function_call
        return {"id": call.get("id", ""), "type": "function", **about}


# ------------------------------------------------------------------------------------------- marks


def build_marked_call(number: int, *, numbers: bool = False) -> dict[str, Any]:
    """Return the call with this number, counted over the conversation; its two arguments are marks.

    With `numbers`, the values are numbers that are unlikely to occur elsewhere.
    """
    values = (9_700_001 + 10 * number, 9_700_002 + 10 * number)
    texts = (f'Zx{number}"xZ', f'Zy{number}"yZ')
    keys = (f"Zv{number}vZ", f"Zw{number}wZ")
    arguments = dict(zip(keys, values if numbers else texts, strict=True))
    return {
        "id": f"Zj{number:05d}jZ",
        "function": {"name": f"Zn{number}nZ", "arguments": arguments},
    }


@dataclass(frozen=True)
class ToolOffer:
    """The properties of marked tools: the number of parameters, and what all parameters have in
    common.

    `items` is the type of list items, empty if not described; `about` says whether parameters have
    a description, `described` whether the tool has one. `apart`: the tool is known to be written in
    parts, even if the text looks like JSON.
    """

    parameters: int = 2
    type: str = "string"
    items: str = ""
    enum: bool = False
    about: bool = True
    required: bool = True
    described: bool = True
    apart: bool = False

    @property
    def parameter_traits(self) -> frozenset[ProbedTrait]:
        """Return the traits of each parameter."""
        true = {
            ProbedTrait[self.type.upper()]: True,
            ProbedTrait[f"OF_{(self.items or 'string').upper()}"]: self.items != "",
            ProbedTrait.ITEMS: self.items != "",
            ProbedTrait.ENUM: self.enum,
            ProbedTrait.ABOUT: self.about,
            ProbedTrait.REQUIRED: self.required,
        }
        return frozenset(trait for trait, holds in true.items() if holds)

    @property
    def tool_traits(self) -> frozenset[ProbedTrait]:
        """Return the traits of each tool."""
        true = {
            ProbedTrait.PARAMETERS: self.parameters > 0,
            ProbedTrait.SOME_REQUIRED: self.required and self.parameters > 0,
            ProbedTrait.DESCRIBED: self.described,
        }
        return frozenset(trait for trait, holds in true.items() if holds)

    def schema(self, mark: str) -> dict[str, Any]:
        """Return the schema of the parameter with this mark, with the keys in the server's order."""
        schema: dict[str, Any] = {"type": self.type}
        if self.items:
            schema["items"] = {"type": self.items}
        if self.about:
            schema["description"] = f"Zq{mark}qZ"
        if self.enum:
            schema["enum"] = [f"Zc{mark}{letter}cZ" for letter in "ab"]
        return schema


#: The tools of most conversations.
PLAIN_OFFER = ToolOffer()


def build_marked_tool(number: int, offer: ToolOffer = PLAIN_OFFER) -> dict[str, Any]:
    """Return a tool with marks for name, description and parameters, in OpenAI's order."""
    marks = [f"{number}{letter}" for letter in "abc"[: offer.parameters]]
    properties = {f"Zp{mark}pZ": offer.schema(mark) for mark in marks}
    parameters: dict[str, Any] = {"type": "object", "properties": properties}
    if offer.required and marks:
        parameters["required"] = list(properties)
    function = {"name": f"Zf{number}fZ"}
    described = {"description": f'Zg{number}"gZ'} if offer.described else {}
    return {"type": "function", "function": {**function, **described, "parameters": parameters}}


@dataclass(frozen=True)
class ProbeConversation:
    """A conversation in short form: `shape` has a code for each message.

    u is a user, a an assistant, t a tool result, s a system text in between, d a developer's; c is a call, cc are
    two, Cc and Ccc are calls with content, n is a call with numbers. A trailing k adds reasoning to
    an answer or a call.
    """

    shape: str
    system: SystemState = "absent"
    tools: int = 0
    think: bool | None = None
    offer: ToolOffer = PLAIN_OFFER

    @classmethod
    def like(cls, messages: Sequence[Message], tools: int, think: bool | None) -> ProbeConversation:
        """Return the marked conversation with the shape of a given one."""
        system: SystemState = "absent"
        codes: list[str] = []
        for index, message in enumerate(messages):
            match message["role"]:
                case "system" if not index:
                    system = "given" if message["content"] else "empty"
                case "assistant":
                    calls = "c" * len(message.get("tool_calls") or ())
                    content = ("C" if message["content"] else "") if calls else "a"
                    codes.append(content + calls + "k" * bool(message.get("thinking")))
                case role:
                    codes.append(role[0])
        return cls(" ".join(codes), system, tools, think)

    @property
    def codes(self) -> list[str]:
        """Return the codes of the messages."""
        return self.shape.split()

    def build_messages(self, write: Callable[[str], str] = lambda mark: mark) -> list[Message]:
        """Return the conversation as the server has it; `write` turns marks into contents."""
        messages: list[Message] = []
        if self.system != "absent":
            text = write(SYSTEM_MARK) if self.system == "given" else ""
            messages.append({"role": "system", "content": text})
        calls = 0
        for index, word in enumerate(self.codes):
            match word[0]:
                case "u":
                    message: Message = {"role": "user", "content": write(f"Zu{index}uZ")}
                case "s":
                    message = {"role": "system", "content": write(f"Zb{index}bZ")}
                case "d":
                    message = {"role": "developer", "content": write(f"Zo{index}oZ")}
                case "t":
                    message = {
                        "role": "tool",
                        "content": write(f'Zt{index}"tZ'),
                        "tool_name": f"Zm{index}mZ",
                        "tool_call_id": f"Zi{index:05d}iZ",
                    }
                case _:
                    content = "" if word[0] in "cn" else write(f"Za{index}aZ")
                    message = {"role": "assistant", "content": content}
                    if call_count := count_calls(word):
                        numbers = "n" in word
                        message["tool_calls"] = [
                            build_marked_call(calls + n, numbers=numbers) for n in range(call_count)
                        ]
                    calls += call_count
                    if word.endswith("k"):
                        message["thinking"] = write(f"Zk{index}kZ")
            messages.append(message)
        return messages

    def tool_list(self) -> list[Tool]:
        """Return the tools on offer."""
        return [build_marked_tool(number, self.offer) for number in range(self.tools)]

    def counts(self, index: int | None) -> tuple[tuple[CountOf, int], ...]:
        """Return the counts of messages before an index, by what is counted."""
        before = self.codes[:index]
        system = self.system != "absent"
        return (
            ("user", before.count("u")),
            ("tool", before.count("t")),
            ("row", len(before) - len(" ".join(before).rstrip(" t").split())),
            ("turn", sum(word != "s" for word in before)),
            ("message", len(before) + system),
        )

    def places(self, index: int | None) -> frozenset[PositionPart]:
        """Return the position questions that hold for the message at an index."""
        length = len(self.codes)
        before = (length if index is None else index) + (self.system != "absent")
        after = 0 if index is None else length - index - 1
        return frozenset(
            [PositionPart("before", count) for count in range(1, before + 1)]
            + [PositionPart("after", count) for count in range(1, after + 1)]
        )

    def facts(self, index: int | None) -> frozenset[ProbedFact]:
        """Return the facts that hold for the message at an index, None for the tail."""
        codes = self.codes
        end = len(codes) if index is None else index
        word = "" if index is None else codes[index]
        before, after = codes[:end], codes[end + 1 :]
        same_role = [w for w in before if parse_role(w) == parse_role(word or "a")]
        left = len(codes) - end
        true = {
            ProbedFact.SYSTEM: self.system == "given",
            ProbedFact.MESSAGE: self.system != "absent",
            ProbedFact.TOOLS: self.tools > 0,
            ProbedFact.CALLS: count_calls(word) > 0,
            ProbedFact.CONTENT: word.startswith("C"),
            ProbedFact.THOUGHT: word.endswith("k"),
            ProbedFact.AFTER_TOOL: before[-1:] == ["t"],
            ProbedFact.CALLED: any(map(count_calls, before)),
            ProbedFact.RETURNED: "t" in before,
            ProbedFact.FIRST: not same_role and parse_role(word) in ("user", "assistant", "tail"),
            ProbedFact.LAST: left == (1 if word == "u" else 2),
            ProbedFact.FINAL: left == 1,
            ProbedFact.LATEST: "u" not in after,
            ProbedFact.LEADS: index == 0,
            ProbedFact.BEFORE_USERS: "u" not in before,
            ProbedFact.ANSWERED: index is None and parse_role(codes[-1]) == "assistant",
            ProbedFact.NO_THINK: self.think is False,
        }
        return frozenset(fact for fact, holds in true.items() if holds)


def count_calls(word: str) -> int:
    """Return the number of calls that a message code makes."""
    return word.count("c") + word.count("n")


def parse_role(word: str) -> Role:
    """Return the role of a message code."""
    roles: dict[str, Role] = {"u": "user", "t": "tool", "s": "system", "": "tail"}
    return roles.get(word, "assistant")


def to_jinja_messages(messages: Sequence[Message], style: ProbeStyle) -> list[Message]:
    """Return a conversation of the server in the form that the chat template expects."""
    written = [style.message(message) for message in messages]
    if style.matched:
        waiting: list[str] = []
        for message in written:
            waiting += [call["id"] for call in message.get("tool_calls", ())]
            if message["role"] == style.results and waiting:
                message["tool_call_id"] = waiting.pop(0)
    return written


# The conversations that a chat template is probed with, one code per message (see
# ProbeConversation).

PLAIN = ("u", "u a u", "u a u a u", "u a u a u a u", "u a u a u a u a u")
WITH_TOOLS = ("u", "u a u", "u a u a u")
#: Several calls first: a single call doesn't show where a call starts and ends.
WITH_CALLS = (
    "u cc t t a u", "u ccc t t t", "u c t", "u c t a u", "u c t c t", "u c t cc t t", "u c t c t a u",
    "u a u c t",
    "u c t a u c t", "u a u c t a u",
)  # fmt: skip
CONTENT_BESIDE_CALLS_SHAPES = (
    "u Ccc t t a u",
    "u Cc t",
    "u Cc t a u",
    "u c t Cc t",
    "u c t Ccc t t",
    "u c t a u Cc t",
)
#: Tool results without calls, which models may write into their answers; system messages between others;
#: conversations that end or begin with an answer.
UNUSUAL = {
    TemplateFeature.RESULTS: ("u a t", "u a t a u", "u a t t a u", "u a t a t", "u a u a t"),
    TemplateFeature.SYSTEMS: ("u a s u", "u s a u", "u a u s a u", "u a s u a u"),
    TemplateFeature.ENDINGS: ("u a", "u a u a", "u a u a u a"),
    TemplateFeature.BEGINNINGS: ("a u", "a u a u", "a u a u a u"),
}
WITH_THOUGHTS = ("u ak u", "u ak u ak u", "u a u ak u")
