"""What is known about the prompts of a created model: compared with the server's own, or predicted.

This module imports none of the template libraries, so the window and its events can use it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from lora_studio.core.messages import NO_TEXT, Text, counted, listed, text
from lora_studio.core.templates.server.probes import ProbeKind


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
