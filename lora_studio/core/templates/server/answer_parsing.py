"""Predict which parts of answers an Ollama server separates: reasoning and tool calls.

A part that it doesn't recognize arrives as text in `content`. The rules are those of its source at
0.33.0-rc2 of 2026-08-21 (server/routes.go, ChatHandler; thinking/template.go; tools/tools.go;
llm/llama_server.go); the first version with each rule is from the tags of its repository.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

from lora_studio.core.messages import Text, text
from lora_studio.core.templates.server.prompt_path import (
    PromptPath,
    ServedModel,
    Version,
    list_chat_template_abilities,
    list_template_abilities,
)

#: Servers return reasoning in `thinking`.
_THINKING_SINCE: Version = (0, 9)


class AnswerPart(StrEnum):
    """A part of an answer that clients expect in a field of its own."""

    THINKING = "thinking"
    TOOLS = "tools"

    @property
    def description(self) -> Text:
        """Return the part as a phrase."""
        return _PARTS[self]


_PARTS = {
    AnswerPart.THINKING: text("reasoning (`thinking`)"),
    AnswerPart.TOOLS: text("tool calls (`tool_calls`)"),
}


def list_unparsed_parts(
    version: Version, model: ServedModel, path: PromptPath, parts: Mapping[AnswerPart, str]
) -> tuple[AnswerPart, ...]:
    """Return the parts that a server leaves in the text of answers.

    `parts` are those that the model was trained to write, each with an answer that has it.
    """
    match path:
        case PromptPath.RENDERER:  # `create` sets a parser with each renderer
            return ()
        case PromptPath.CHAT_TEMPLATE:
            # llama.cpp separates both; requests with tools are refused without this capability.
            parsed = {AnswerPart.THINKING, *list_chat_template_abilities(model.chat_template)}
        case PromptPath.TEMPLATE if not model.parser:
            parsed = {*list_template_abilities(model.template)}
            if version < _THINKING_SINCE:
                parsed.discard(AnswerPart.THINKING)
            if not _has_json_call(parts.get(AnswerPart.TOOLS, "")):
                parsed.discard(AnswerPart.TOOLS)
        case PromptPath.TEMPLATE:
            return ()
        case _:
            parsed = set()
    return tuple(part for part in parts if part not in parsed)


def _has_json_call(answer: str) -> bool:
    """Return whether arguments are written as a JSON object, the only form that is recognized."""
    return bool(re.search(r'\{\s*"[^"]*"\s*:', answer))
