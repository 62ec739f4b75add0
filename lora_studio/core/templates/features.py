"""Features of chat templates beyond user, assistant and system messages, and the server support
they need.
"""

from __future__ import annotations

from enum import StrEnum

from lora_studio.core.messages import Text, text


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
