"""What is said about templates: a conversation to render, a TEMPLATE that was derived, a difference.

Apart from what works on templates, whose libraries neither the window nor its events need.
"""

from __future__ import annotations

from datetime import date
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator

from lora_studio.core import formatting

#: A message as clients send it: role and content, and tool_calls, thinking, tool_name … if any.
Message = dict[str, Any]
ROLES = ("system", "user", "assistant", "tool")


class RenderRequest(BaseModel):
    """What to render: a conversation, with tools and a system prompt of the model if any.

    `system` is the model's own (SYSTEM in a Modelfile): it counts where the conversation does not
    begin with a system message. `think` is what the client set, None when it set nothing.
    `prompt`, the form of /api/generate, is one user message; with `suffix` it is text to complete.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

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
                raise ValueError(f"message {number} has none of the roles {', '.join(ROLES)}")
            if not isinstance(message.get("content", ""), str | None):
                raise ValueError(f"the content of message {number} is not text")
        return tuple(message | {"content": message.get("content") or ""} for message in value)

    @property
    def conversation(self) -> list[Message]:
        """The messages with the model's system prompt and the prompt put in their places."""
        messages = [*self.messages]
        if self.prompt:
            messages.append({"role": "user", "content": self.prompt})
        if self.system and not (messages and messages[0]["role"] == "system"):
            messages.insert(0, {"role": "system", "content": self.system})
        return messages


class RenderDifference(BaseModel):
    """The first place where the two renderings of a conversation part.

    `position` counts characters from the start; `expected` (the original's) and `actual` are the
    text around it, or `(refused)` where one side raises.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()
    think: bool | None = None
    today: date
    position: int
    expected: str
    actual: str


class DerivedTemplate(BaseModel):
    """A TEMPLATE and what is known about it.

    `proven` says that all `conversations` (renderings compared) were equal. `limits` are the
    unusual conversations in which the original and this template are known to part; `needs` is
    what a server must have. `system` tells what becomes of a system message; `tools` and `thinking`
    whether the TEMPLATE can offer tools, and tells the server where thoughts begin and end; `covers`
    what was compared beyond users, answers and a system text; `notes` what was left out and why.
    `template` is empty when nothing could be derived; `reason` says why it is not proven, and
    `alternative` is the nearest TEMPLATE that is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    template: str = ""
    stops: tuple[str, ...] = ()
    proven: bool = False
    conversations: int = 0
    first_difference: RenderDifference | None = None
    reason: str = ""
    system: Literal["used", "ignored", "refused"] = "used"
    tools: bool = False
    thinking: bool = False
    covers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    alternative: TemplateAlternative | None = None

    @property
    def verdict(self) -> str:
        """Whether it is proven, in one sentence."""
        if not self.proven:
            return f"The TEMPLATE is not proven: {self.reason}"
        extras = f", with {formatting.listed(self.covers)}" if self.covers else ""
        return f"The TEMPLATE is proven: {self.conversations} renderings were equal{extras}."


class TemplateAlternative(BaseModel):
    """A proven TEMPLATE for less than the chat template does; `what` says what it gives up."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: str
    derived: DerivedTemplate
