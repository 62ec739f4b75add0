"""Every spelling of a speaker's role that datasets use."""

from __future__ import annotations

from typing import Literal

from lora_studio.core.dataset.formats.values import normalize_name
from lora_studio.core.dataset.spec import Role

#: `call` is an assistant turn that contains only a tool call.
Speaker = Role | Literal["call"]

_SPELLINGS: dict[Speaker, tuple[str, ...]] = {
    "system": ("system", "sys", "systemprompt", "systemmessage", "systeminstruction", "developer",
        "context"),
    "user": (
        "user", "human", "prompter", "instruction", "question", "query", "prompt", "input", "asker",
        "customer", "client", "patient", "student", "usr", "q", "enduser", "requester", "visitor", "caller", "buyer",
    ),
    "assistant": (
        "assistant", "gpt", "bot", "model", "chatgpt", "ai", "chatbot", "llm", "bing", "bard",
        "claude", "gemini", "moss", "agent", "answer", "response", "output", "completion", "reply",
        "doctor", "therapist", "teacher", "tutor", "a", "support", "supportagent", "operator", "advisor", "helpdesk",
        "representative",
    ),
    "tool": (
        "tool", "function", "observation", "ipython", "functionresponse", "functionresult",
        "functionoutput", "toolresponse", "toolresponses", "toolresult", "toolresults",
        "tooloutput", "environment",
    ),
    "call": ("functioncall", "functioncalls", "toolcall", "toolcalls"),
}  # fmt: skip

_SPEAKERS: dict[str, Speaker] = {
    spelling: speaker for speaker, spellings in _SPELLINGS.items() for spelling in spellings
}
_MODEL_NAMES = ("gpt", "chatgpt", "claude", "gemini", "assistant")


def parse_speaker(name: str) -> Speaker | None:
    """Return the role that a speaker's name means; None if unknown.

    Handles decorated and versioned names: `<|Human|>`, `gpt-4`, `function-call`.
    """
    key = normalize_name(name)
    if key in _SPEAKERS:
        return _SPEAKERS[key]
    return "assistant" if key.startswith(_MODEL_NAMES) else None
