"""Check the rules of a loaded tokenizer, before the first text is encoded.

A few rules that replace one character by a thousand multiply; tokenizers then allocates memory until
the process ends. It doesn't check the offsets in a map of characters either. With dropout, a training could
neither be repeated nor compared with what llama.cpp runs, which has none.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from lora_studio.core import limits
from lora_studio.core.problems import InvalidContentError

#: Units in a block of a double array, and the bit of a unit that is a position.
_BLOCK, _LEAF = 256, np.uint32(1 << 31)


def require_bounded(backend: Any) -> None:
    """Raise InvalidContentError if a part of a tokenizer of the library tokenizers isn't bounded.

    Nothing is checked for None: other tokenizers have no such rules.
    """
    if backend is None:
        return
    if getattr(backend.model, "dropout", None):
        raise InvalidContentError(
            "its tokenizer splits the same text differently each time (dropout)"
        )
    normalizer = _read_part(backend.normalizer)
    for content in _iter_character_maps(normalizer):
        _check_character_map(content)
    growth = _get_growth(normalizer)
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


def _iter_character_maps(part: dict[str, Any]) -> Iterator[bytes]:
    """Yield the character maps of a normalizer and of those inside it."""
    for inner in part.get("normalizers") or ():
        yield from _iter_character_maps(inner)
    if part.get("type") == "Precompiled" and isinstance(part.get("precompiled_charsmap"), str):
        yield base64.b64decode(part["precompiled_charsmap"])


def _check_character_map(content: bytes) -> None:
    """Raise InvalidContentError if a lookup in a character map of SentencePiece may leave it.

    It has the size of a double array, the array, and the replacements, each ending in a zero byte. The
    array consists of blocks of 256 units; a unit leads to the block at its index XOR its offset, and the
    unit at that place has the position of a replacement if the unit has a leaf (darts-clone).
    """
    damaged = InvalidContentError("the character map of its tokenizer is damaged")
    size = struct.unpack_from("<I", content)[0] if len(content) >= 4 else -1
    if not content:
        return
    if size <= 0 or size % (4 * _BLOCK) or 4 + size > len(content):
        raise damaged
    units, replacements = np.frombuffer(content, "<u4", size // 4, 4), content[4 + size :]
    offsets = (units >> 10) << ((units & (1 << 9)) >> 6)
    targets = np.arange(len(units), dtype=np.uint32) ^ offsets
    is_inner = units < _LEAF  # others are positions
    if np.any(targets[is_inner] >= len(units)):
        raise damaged
    positions = units[targets[is_inner & (units & (1 << 8) != 0)]] & (_LEAF - 1)
    letters = np.frombuffer(replacements, np.uint8)
    if np.any(positions >= len(letters)) or np.any(letters[positions] & 0xC0 == 0x80):
        raise damaged  # beyond the end, or inside a character
    if max(map(len, replacements.split(b"\0"))) > limits.TOKENIZER_GROWTH:
        raise InvalidContentError("its tokenizer makes short texts too long")
