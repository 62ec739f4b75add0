"""The conversations that a chat template is probed with, one code per message (see
ProbeConversation).
"""

from __future__ import annotations

from lora_studio.core.templates.features import TemplateFeature

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
