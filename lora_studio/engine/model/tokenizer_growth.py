"""Bound how much longer a tokenizer makes a text, before the first text is encoded.

A few rules that replace one character by a thousand multiply; tokenizers then allocates memory until
the process ends.
"""

from __future__ import annotations

import json
from typing import Any

from lora_studio.core import limits
from lora_studio.core.problems import InvalidContentError


def require_bounded(backend: Any) -> None:
    """Raise InvalidContentError if a part of a tokenizer of the library tokenizers isn't bounded.

    Nothing is checked for None: other tokenizers have no such rules.
    """
    if backend is None:
        return
    growth = _get_growth(_read_part(backend.normalizer))
    growth = max(growth, _get_growth(_read_part(backend.decoder)))
    if max(growth, _count_added(_read_part(backend.post_processor))) > limits.TOKENIZER_GROWTH:
        raise InvalidContentError("its tokenizer makes short texts too long")


def _read_part(part: Any) -> dict[str, Any]:
    """Return the settings of a part of a tokenizer, {} if there is none or it is Python code."""
    try:
        state = json.loads(part.__getstate__()) if part is not None else {}
    except Exception:  # parts in Python can't be saved
        return {}
    return state if isinstance(state, dict) else {}


def _get_growth(part: dict[str, Any]) -> float:
    """Return how many characters a normalizer or decoder makes of one, at most."""
    growth = 1.0
    for inner in part.get("normalizers") or part.get("decoders") or ():
        growth *= _get_growth(inner)
    for name in ("content", "prepend"):
        value = part.get(name) if part.get("type") in ("Replace", "Prepend") else None
        if isinstance(value, str):
            growth *= max(1, len(value) + (name == "prepend"))
    return growth


def _count_added(part: dict[str, Any]) -> int:
    """Return how many tokens and copies of a text a post-processor adds to one."""
    count = sum(_count_added(inner) for inner in part.get("processors") or ())
    count += max(len(part.get("single") or ()), len(part.get("pair") or ()))
    tokens = part.get("special_tokens")
    if isinstance(tokens, dict):
        count += sum(len(token.get("ids") or ()) for token in tokens.values())
    return count
