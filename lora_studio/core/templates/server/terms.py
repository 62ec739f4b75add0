"""Types of the template tools: a request to render, a derived TEMPLATE, a difference of renderings.

This module imports none of the template libraries, so the window and its events can use it.
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator

from lora_studio.core.messages import Text, counted, listed, text

# Features of chat templates beyond user, assistant and system messages, and the server support
# they need.


class TemplateFeature(StrEnum):
    """A feature of chat templates beyond user, assistant and system messages."""

    CALLS = "calls"
    TOOLS = "tools"
    RESULTS = "results"
    INTERRUPTIONS = "interruptions"
    SWITCH = "switch"
    THOUGHTS = "thoughts"
    SYSTEMS = "systems"
    ENDINGS = "endings"
    BEGINNINGS = "beginnings"

    @property
    def description(self) -> Text:
        """Return the feature as a phrase."""
        return _TITLES[self]

    @property
    def is_usual(self) -> bool:
        """Return whether a TEMPLATE without the feature deserves a note; others count as limits."""
        return self not in (
            self.INTERRUPTIONS,
            self.SYSTEMS,
            self.ENDINGS,
            self.BEGINNINGS,
        )


_TITLES = {
    TemplateFeature.CALLS: text("tool calls and tool results"),
    TemplateFeature.TOOLS: text("the list of tools"),
    TemplateFeature.RESULTS: text("tool results after an answer without tool calls"),
    TemplateFeature.INTERRUPTIONS: text("a user message right after a tool result"),
    TemplateFeature.SWITCH: text("the thinking switch"),
    TemplateFeature.THOUGHTS: text("the reasoning of earlier answers"),
    TemplateFeature.SYSTEMS: text("system messages in the middle of a conversation"),
    TemplateFeature.ENDINGS: text("a conversation that ends with an answer"),
    TemplateFeature.BEGINNINGS: text("a conversation that begins with an answer"),
}


#: Features that few chat templates write in a regular form.
IRREGULAR = (TemplateFeature.RESULTS, TemplateFeature.INTERRUPTIONS)

#: What a TEMPLATE may have to omit.
SEVERAL_CALLS = text("several tool calls in one message")
CONTENT_BESIDE_CALLS = text("an answer and tool calls in one message")


class ServerNeed(StrEnum):
    """What a TEMPLATE may require of an Ollama server, by server feature."""

    DATE = "current_date"
    RANGE = "range_over_number"
    CALL_IDS = "call_ids"
    TOOL_NAMES = "tool_names"

    @property
    def release(self) -> tuple[int, ...]:
        """Return the first Ollama release with this feature."""
        return _NEEDS[self][0]

    @property
    def description(self) -> Text:
        """Return the requirement as a phrase."""
        release, reason = _NEEDS[self]
        return text(
            "Ollama {release} or later ({reason})",
            release=".".join(map(str, release)),
            reason=reason,
        )


_NEEDS: dict[ServerNeed, tuple[tuple[int, ...], Text]] = {
    ServerNeed.DATE: ((0, 11), text("for the current date")),
    ServerNeed.RANGE: ((0, 6), text("to range over a number")),
    ServerNeed.CALL_IDS: ((0, 12), text("for the IDs of tool calls")),
    ServerNeed.TOOL_NAMES: ((0, 9, 6), text("for the tool names of results")),
}


#: A message as clients send it: role and content, optionally tool_calls, thinking, tool_name ….
Message = dict[str, Any]
ROLES = ("system", "user", "assistant", "tool")


class RenderRequest(BaseModel):
    """A conversation to render, with tools and the model's system prompt if any.

    `system` is the model's own (SYSTEM in a Modelfile): it is used if the conversation doesn't
    start with a system message. `think` is what the client set, None if nothing. `prompt`, the form
    of /api/generate, is one user message; with `suffix` it is text to complete.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    messages: tuple[Message, ...] = ()
    tools: tuple[dict[str, Any], ...] = ()
    system: str = ""
    prompt: str = ""
    suffix: str = ""
    think: bool | None = None

    @field_validator("messages")
    @classmethod
    def _each_has_role_and_content(cls, value: tuple[Message, ...]) -> tuple[Message, ...]:
        for number, message in enumerate(value, 1):
            if message.get("role") not in ROLES:
                raise ValueError(f"message {number} needs one of the roles {', '.join(ROLES)}")
            if not isinstance(message.get("content", ""), str | None):
                raise ValueError(f"the content of message {number} is not text")
        return tuple(message | {"content": message.get("content") or ""} for message in value)

    @property
    def conversation(self) -> list[Message]:
        """Return the messages, including the model's system prompt and the prompt."""
        messages = [*self.messages]
        if self.prompt:
            messages.append({"role": "user", "content": self.prompt})
        if self.system and not (messages and messages[0]["role"] == "system"):
            messages.insert(0, {"role": "system", "content": self.system})
        return messages


class RenderDifference(BaseModel):
    """The first position at which two renderings of a conversation differ.

    `position` counts characters from the start. `expected` (the original's) and `actual` are the
    text around it, or `(refused)` if that side raises.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()
    think: bool | None = None
    today: date
    position: int
    expected: str
    actual: str


class DerivedTemplate(BaseModel):
    """A TEMPLATE and the outcome of its proof.

    `proven`: all `conversations` (renderings compared) were equal. `limits`: unusual conversations
    in which the chat template and the TEMPLATE are known to differ. `needs`: what a server must
    support. `system`: what happens to a system message. `tools`, `thinking`: whether the TEMPLATE
    offers tools, and marks reasoning for the server. `covers`: what was compared beyond users,
    answers and a system text. `notes`: what was omitted and why. `template` is empty if nothing
    could be derived; `reason` says why it is not proven, and `alternative` is the nearest proven
    one.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    template: str = ""
    stops: tuple[str, ...] = ()
    proven: bool = False
    conversations: int = 0
    first_difference: RenderDifference | None = None
    reason: Text = Text(template="")
    system: Literal["used", "ignored", "refused"] = "used"
    tools: bool = False
    thinking: bool = False
    covers: tuple[TemplateFeature, ...] = ()
    notes: tuple[Text, ...] = ()
    limits: tuple[Text, ...] = ()
    needs: tuple[ServerNeed, ...] = ()
    alternative: TemplateAlternative | None = None

    @property
    def verdict(self) -> Text:
        """Return in one sentence whether the TEMPLATE is proven."""
        if not self.proven:
            return text("The TEMPLATE couldn't be verified: {reason}.", reason=self.reason)
        if not self.covers:
            return counted(
                self.conversations,
                "The TEMPLATE is verified: {n} rendering is identical.",
                "The TEMPLATE is verified: {n} renderings are identical.",
            )
        return counted(
            self.conversations,
            "The TEMPLATE is verified: {n} rendering is identical, with {features}.",
            "The TEMPLATE is verified: {n} renderings are identical, with {features}.",
            features=listed([feature.description for feature in self.covers]),
        )


class TemplateAlternative(BaseModel):
    """A proven TEMPLATE that does less than the chat template; `what` says what it omits."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    what: Text
    derived: DerivedTemplate
