"""Conversations written as numbered rounds of question, reasoning, calls, and answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lora_studio.core.dataset.formats.values import is_blank, normalize_name

_ROUND = re.compile(r"(?:turn|round)[ _-]?(\d{1,6})")
#: Markers around every field of such a round: `<|Human|>: …<eoh>`.
_BEFORE = re.compile(r"\A\s*<\|[^<>|\n]{1,40}\|>:[ \t]?\n?")
_BEHIND = re.compile(r"\s*<eo[chmrt]>\s*\Z")


def find_rounds(value: Any) -> list[dict[str, Any]]:
    """Return the rounds of {"turn_1": {…}, "turn_2": {…}} in order, [] for anything else."""
    if not isinstance(value, dict) or not value:
        return []
    numbers = {str(name): _ROUND.fullmatch(str(name).casefold()) for name in value}
    if not all(numbers.values()) or not all(isinstance(one, dict) for one in value.values()):
        return []
    order = sorted(value, key=lambda name: int(str(name).casefold().strip("turnod _-")))
    return [value[name] for name in order]


def iter_round_turns(fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the turns of a round. Calls have a notation of their own and stay texts."""
    texts = {normalize_name(str(name)): _strip_markers(text) for name, text in fields.items()}
    thought = _clean_text(texts.pop("innerthoughts", ""))
    calls, result = (
        _clean_text(texts.pop("commands", "")),
        _clean_text(texts.pop("toolresponses", "")),
    )
    answer = next((texts.pop(name) for name in ("moss", "assistant", "bot") if name in texts), None)
    yield from ({"role": name, "content": text} for name, text in texts.items())
    if calls:
        yield {"role": "assistant", "content": calls, "reasoning_content": thought}
        yield {"role": "tool", "content": result}
        thought = ""
    if answer is not None:
        yield {"role": "assistant", "content": answer, "reasoning_content": thought}


def _strip_markers(text: Any) -> Any:
    """Return a text without the markers around it."""
    return _BEHIND.sub("", _BEFORE.sub("", text)) if isinstance(text, str) else text


def _clean_text(text: Any) -> Any:
    """Return a text, "" if it is a placeholder for an empty one."""
    return "" if is_blank(text) or text == "None" else text
