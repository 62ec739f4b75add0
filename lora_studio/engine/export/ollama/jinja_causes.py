"""Find out why llama-server builds another prompt than the training's, by asking again.

The causes are things that llama.cpp's server does around a chat template (common/chat.cpp and
common/jinja/caps.cpp, build 11434). Each is tried: it is the cause if undoing it on the server, or
doing it to the training's prompt, makes the token IDs equal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from itertools import product
from typing import Any

from transformers import PreTrainedTokenizerBase

from lora_studio.core.templates.chat_template import ChatTemplate
from lora_studio.engine.export.gguf.llama_server import LlamaServer, ServerError
from lora_studio.engine.runtime.failures import CancelledError
from lora_studio.engine.tokens.chat_format import ChatFormat
from lora_studio.engine.tokens.trained_prompts import TrainedPrompt


class JinjaCause(StrEnum):
    """What the server does around a chat template that training doesn't."""

    REASONING = "reasoning"
    REASONING_SET = "reasoning_set"
    EARLIER_REASONING = "earlier_reasoning"
    DATE = "date"
    SYSTEM = "system"
    TRIMMED = "trimmed"
    SAFE = "safe"
    UNKNOWN = "unknown"


#: Variables with which a request undoes what the server does by default.
_SWITCHES: dict[JinjaCause, dict[str, bool]] = {
    JinjaCause.REASONING: {"enable_thinking": False, "thinking": False},
    JinjaCause.EARLIER_REASONING: {"preserve_reasoning": False},
}

#: What can only be done to the training's prompt, since no request undoes it.
_IMITATED = (
    JinjaCause.REASONING_SET,
    JinjaCause.DATE,
    JinjaCause.SYSTEM,
    JinjaCause.TRIMMED,
    JinjaCause.SAFE,
)

_SAFE_FILTER = re.compile(r"\|\s*safe\b")

Causes = tuple[JinjaCause, ...]


class CauseFinder:
    """Tries the causes of one chat template's differences on a running server."""

    def __init__(self, server: LlamaServer, tokenizer: PreTrainedTokenizerBase) -> None:
        """Prepare for a tokenizer whose chat template compiles."""
        self._server = server
        self._tokenizer = tokenizer
        self._last: tuple[Causes, Causes] = ((), ())

    @cached_property
    def _template(self) -> ChatTemplate:
        return ChatFormat(self._tokenizer).template

    def find(self, trained: TrainedPrompt) -> frozenset[JinjaCause]:
        """Return the fewest causes that together explain a difference, UNKNOWN if none do."""
        combinations = _list_combinations(trained)
        if self._last in combinations:  # one template's conversations mostly differ for one reason
            combinations.insert(0, self._last)
        for undone, imitated in combinations:
            if self._is_explained(trained, undone, imitated):
                self._last = undone, imitated
                return frozenset((*undone, *imitated))
        return frozenset({JinjaCause.UNKNOWN})

    def _is_explained(self, trained: TrainedPrompt, undone: Causes, imitated: Causes) -> bool:
        switches = trained.probe.switches
        for cause in undone:
            switches |= _SWITCHES[cause]
        try:
            expected = self._imitate(trained, imitated) if imitated else trained.ids
            prompt = self._server.apply_template(trained.messages, trained.probe.tools, switches)
        except (CancelledError, ServerError):
            raise
        except Exception:  # the server refuses it, or foreign code in the template fails
            return False
        return self._server.tokenize(prompt) == expected

    def _imitate(self, trained: TrainedPrompt, causes: Causes) -> list[int]:
        """Return the training's token IDs of a conversation after what the server does to it."""
        messages, template = trained.messages, self._template
        variables: dict[str, Any] = dict(trained.probe.switches)
        for cause in causes:
            match cause:
                case JinjaCause.REASONING_SET:
                    variables = {"enable_thinking": True} | variables
                case JinjaCause.SAFE:
                    source = _SAFE_FILTER.sub("", template.source)
                    template = ChatTemplate(source, template.special_tokens)
                case JinjaCause.SYSTEM:
                    messages = _merge_system(messages)
                case JinjaCause.TRIMMED:
                    messages = [_trim(message) for message in messages]
                case JinjaCause.DATE:
                    now = datetime.now()
                    variables["date_string"] = now.strftime("%d %b %Y")
                    variables["datetime"] = now.strftime("%b %d %Y")
        prompt = template.render(
            messages, True, tools=list(trained.probe.tools) or None, **variables
        )
        return list(self._tokenizer(prompt, add_special_tokens=False).input_ids)


def _list_combinations(trained: TrainedPrompt) -> list[tuple[Causes, Causes]]:
    """Return what to undo on the server and what to do in training, the fewest and undone first."""
    undone: list[Causes] = [(), (JinjaCause.EARLIER_REASONING,)]
    # A conversation that sets the switch itself doesn't differ because of the server's default.
    if trained.probe.think is None:
        undone += [(JinjaCause.REASONING,), (JinjaCause.REASONING, JinjaCause.EARLIER_REASONING)]
    imitated: list[Causes] = [(), *((cause,) for cause in _IMITATED)]
    pairs = [pair for pair in product(undone, imitated) if any(pair)]
    return sorted(pairs, key=lambda pair: (len(pair[0]) + len(pair[1]), len(pair[1])))


def _merge_system(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    first, second, *rest = messages
    if first["role"] != "system":
        return messages
    return [second | {"content": f"{first['content']}\n{second['content']}"}, *rest]


def _trim(message: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value.strip() if key != "role" and isinstance(value, str) else value
        for key, value in message.items()
    }
