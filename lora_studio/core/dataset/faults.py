"""Faults that are visible in a single row: empty turns, role order, broken characters, markers.

Everything here is a pure function of a `Sample`. Faults that need the whole dataset (duplicates,
leakage, swapped pairs) are found by `engine.dataset.quality`. `core.dataset.repairs` repairs or
removes the rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Literal

from lora_studio.core.dataset.personal_data import has_personal_data
from lora_studio.core.tasks.samples import Sample, iter_texts
from lora_studio.core.tasks.table import TASKS

Fault = Literal[
    "empty_turn", "role_twice", "role_order", "mojibake", "control_characters", "lost_characters",
    "markers", "media", "personal_data", "refusal", "same_pair", "identical_pair",
]  # fmt: skip

#: Control characters that text does not need: all except tab, newline and carriage return, and the
#: byte order mark, which doesn't belong inside text.
CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufeff]")

#: Markers that chat templates put between turns. A marker that is also an HTML tag (`<s>`) counts
#: only at the end of a text, where Llama and Mistral write their end token.
MARKERS = re.compile(
    r"<\|(?!fim_)[A-Za-z][A-Za-z0-9_]{1,30}\|>"
    r"|<｜(?!fim)[^<>｜\n]{1,40}｜>"
    r"|<s>(?=\s*\[INST\])|\[/?INST\]|<</?SYS>>|\[/?(?:AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]"
    r"|<(?:start|end)_of_turn>|<(?:bos|eos|pad)>|</s>\s*\Z"
)

_OTHER_MODEL = re.compile(
    r"\bas an? (?:ai|artificial intelligence)(?: language)? (?:model|assistant)\b"
    r"|\bi(?:['’]m| am) (?:just |only )?an? (?:ai|artificial intelligence|large)(?: language)? "
    r"(?:model|assistant)\b"
)
_REFUSAL = re.compile(
    r"\W*(?:i(?:['’]m| am) (?:very |so |really )?sorry|sorry|i apologi[sz]e|unfortunately)"
    r"[^.!?\n]{0,40}\b(?:i|we) (?:can(?:not|['’]?t| not)|am (?:not able|unable)|won['’]?t)\b"
    r"[^.!?\n]{0,40}\b(?:help|assist|provide|fulfil+|comply|answer|create|generate|engage|continue)\b"
    r"|\W*i (?:can(?:not|['’]?t)|am unable to|won['’]?t) (?:help|assist|fulfil+|comply)\b"
)

#: Single-byte encodings that UTF-8 is commonly decoded as by mistake.
_MISREADINGS = (
    "latin-1", "cp1252", "cp1251", "cp1250", "cp1253", "cp1254", "cp1257", "iso8859-2",
    "mac-roman", "cp437",
)  # fmt: skip


def find_faults(sample: Sample) -> frozenset[Fault]:
    """Return every fault that is visible in the row alone."""
    return frozenset(fault for fault in _TESTS if has_fault(sample, fault))


def has_fault(sample: Sample, fault: Fault) -> bool:
    """Return whether the row has the given fault."""
    return _TESTS[fault](sample)


def is_mojibake(text: str) -> bool:
    """Return whether the text contains UTF-8 decoded as another encoding, such as “Ã©” for “é”."""
    return not text.isascii() and fix_mojibake(text) != text


def fix_mojibake(text: str) -> str:
    """Return the text with misread UTF-8 decoded again, line by line and repeatedly if needed.

    ftfy decides what counts as misread: an unlikely sequence of characters that is valid UTF-8 when
    decoded again. Its pattern takes 0.4 µs per character (800 s for 2 GB). The pattern here matches
    every misread text and is fifty times faster, so it runs first.
    """
    if text.isascii() or not _build_mojibake_pattern().search(text):
        return text
    import ftfy

    return "".join(
        line if line.isascii() else ftfy.fix_encoding(line) for line in text.splitlines(True)
    )


@cache
def _build_mojibake_pattern() -> re.Pattern[str]:
    """Return a regex for a misread UTF-8 lead byte followed by a misread continuation byte."""

    def characters(start: int, end: int) -> str:
        read = (bytes([byte]).decode(name, "ignore") for name in _MISREADINGS for byte in range(start, end))  # fmt: skip
        return re.escape("".join(sorted({char for char in read if not char.isascii()})))

    # A no-break space inside misread text often became a plain one.
    return re.compile(f"[{characters(0xC2, 0xF5)}][{characters(0x80, 0xC0)}]|[ÃÂ] |[\x80-\x9f]")


def _has_empty_turn(sample: Sample) -> bool:
    if TASKS[sample.task].is_document:
        return not sample.text.strip()
    return any(
        not message.content.strip()
        and not message.tool_calls
        and message.role in ("user", "assistant")
        for message in sample.messages + sample.chosen + sample.rejected
    )


def _has_role_twice(sample: Sample) -> bool:
    """Return whether neighboring turns share a role; several tool results may follow each other."""
    return any(
        one.role == other.role != "tool"
        for turns in TASKS[sample.task].iter_conversations(sample)
        for one, other in pairwise(turns)
    )


def _has_role_order(sample: Sample) -> bool:
    """Return whether an answer has no question, a system message is in the middle, or a question
    stays open.
    """
    return any(
        _is_disordered([turn.role for turn in turns])
        for turns in TASKS[sample.task].iter_conversations(sample)
    )


def _is_disordered(roles: list[str]) -> bool:
    start = next((i for i, role in enumerate(roles) if role != "system"), len(roles))
    spoken = roles[start:]
    return not spoken or spoken[0] != "user" or "system" in spoken or spoken[-1] != "assistant"


def _has_refusal(sample: Sample) -> bool:
    """Return whether a trained answer refuses, or claims to come from another model."""
    if sample.label is False:
        return False
    answers = TASKS[sample.task].get_good_turns(sample)
    return any(turn.role == "assistant" and _is_refusal(turn.content.lower()) for turn in answers)


def _is_refusal(text: str) -> bool:
    if _REFUSAL.match(text):
        return True
    # Search for plain words first: the pattern is thirty times slower.
    return (" ai " in text or " model" in text) and bool(_OTHER_MODEL.search(text))


def _has_controls(text: str) -> bool:
    # Most lines are printable, so they contain none; this check is ten times faster.
    return not text.replace("\n", "").isprintable() and bool(CONTROLS.search(text))


def _has_markers(text: str) -> bool:
    return ("<" in text or "[" in text) and bool(MARKERS.search(text))


_TESTS: dict[Fault, Callable[[Sample], bool]] = {
    "empty_turn": _has_empty_turn,
    "role_twice": _has_role_twice,
    "role_order": _has_role_order,
    "mojibake": lambda sample: any(is_mojibake(text) for text in iter_texts(sample)),
    "control_characters": lambda sample: any(_has_controls(text) for text in iter_texts(sample)),
    "lost_characters": lambda sample: any("\ufffd" in text for text in iter_texts(sample)),
    "markers": lambda sample: any(_has_markers(text) for text in iter_texts(sample)),
    "personal_data": lambda sample: any(map(has_personal_data, iter_texts(sample))),
    "refusal": _has_refusal,
    "same_pair": lambda sample: "same_pair" in TASKS[sample.task].find_pair_faults(sample),
    "identical_pair": lambda sample: (
        "identical_pair" in TASKS[sample.task].find_pair_faults(sample)
    ),
}
