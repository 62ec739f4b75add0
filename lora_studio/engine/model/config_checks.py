"""Refuse a config.json that asks for code from the Hub, or whose sizes no model has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from lora_studio.core import limits
from lora_studio.core.problems import InvalidContentError

#: Names of numbers of layers, experts, and labels, as the configurations of transformers have them, and
#: how many there may be.
_COUNTS = (
    (re.compile(r"(layers?|blocks|depths?|stacks)$"), limits.MODEL_LAYERS),
    (re.compile(r"experts?($|_)"), limits.MODEL_EXPERTS),
    (re.compile(r"^num_labels$"), limits.MODEL_LABELS),
    (re.compile(r"^(hidden_size|intermediate_size|vocab_size|head_dim)$"), limits.MODEL_WIDTH),
)

#: Numbers that are at least 1 in every model.
_NEEDED = ("num_hidden_layers", "num_attention_heads", "hidden_size", "vocab_size")

#: Architectures that hold a mask of as many rows and columns as they have positions.
_MASKED = ("gpt_bigcode", "gpt_neo", "openai-gpt")
_POSITIONS = ("max_position_embeddings", "n_positions")

#: Names of the choices of attention and experts. transformers takes a value with a slash for a repository of
#: the Hub, from which it downloads and runs code.
_IMPLEMENTATION = re.compile(r"(_|^)implementation(_internal)?$")

#: Configurations inside each other, such as that of the text part.
_DEPTH = 8


def require_harmless(config: Mapping[str, Any]) -> None:
    """Raise InvalidContentError for a number or a size that no model has, and for code from the Hub."""
    for name, value in _iter_values(config, _DEPTH):
        if _IMPLEMENTATION.search(name) and isinstance(value, str) and not _is_plain(value):
            raise InvalidContentError(
                "{name} asks for the code of {value}", name=name, value=value[:100]
            )
        if name in _NEEDED and type(value) is int and value < 1:
            raise InvalidContentError(
                "{name} is {value}, but must be at least 1", name=name, value=_shorten(value)
            )
        if name in _POSITIONS and config.get("model_type") in _MASKED:
            _require_at_most(limits.MODEL_MASK, name, value)
        for pattern, limit in _COUNTS:
            if pattern.search(name):
                _require_at_most(limit, name, value)


def _require_at_most(limit: int, name: str, value: Any) -> None:
    if isinstance(value, int | float) and value > limit:
        raise InvalidContentError(
            "{name} is {value}, more than {limit:d}", name=name, value=_shorten(value), limit=limit
        )


def _shorten(number: float) -> str:
    """Return a number, which may have a thousand digits, as a short text."""
    try:
        return f"{number:g}"
    except OverflowError:
        return f"{str(number)[:10]}…"


def _is_plain(value: str) -> bool:
    """Return whether a choice is a name of transformers' own, such as `sdpa` or `paged|eager`."""
    return re.fullmatch(r"[\w|.-]*", value) is not None


def _iter_values(
    config: Mapping[str, Any], depth: int, parent: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield the names and values of a configuration; those of an object of choices have its name."""
    for name, value in config.items():
        name = parent if _IMPLEMENTATION.search(parent) else str(name)
        if isinstance(value, dict) and depth > 0:
            yield from _iter_values(value, depth - 1, name)
        elif isinstance(value, list):
            numbers = (item for item in value if isinstance(item, int | float))
            yield name, max(numbers, default=None)
        else:
            yield name, value
