"""Read which turns are excluded from the loss; masks of parts of an answer are refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lora_studio.core.dataset.formats.values import is_blank, parse_literal
from lora_studio.core.messages import Template

#: The reason against rows that mask parts of an answer, of a turn's content, or of a text.
PARTLY_MASKED: Template = "the row trains only parts of an answer, which isn't supported"
_WEIGHTS = ("weight", "loss_weight", "loss_scale")
_TRAINS = ("train", "training", "loss")
_DETAILS = ("train_detail", "training_detail")


def is_masked(value: Mapping[str, Any]) -> bool:
    """Return whether a turn or a part is marked as excluded from the loss."""
    weights = (value.get(name) for name in _WEIGHTS)
    if any(str(weight).strip() in ("0", "0.0", "False") for weight in weights):
        return True
    if value.get("masked") in (True, "true", "True"):
        return True
    return any(value.get(name) in (False, "false", "False") for name in _TRAINS)


def is_partly_masked(turn: Mapping[str, Any]) -> bool:
    """Return whether a turn marks the characters of its text that train, as Axolotl's do."""
    return any(not is_blank(turn.get(name)) for name in _DETAILS)


def has_segments(value: Any) -> bool:
    """Return whether a value is a list of texts that each have a `label` for training."""
    pieces = parse_literal(value)
    return isinstance(pieces, list | tuple) and bool(pieces) and all(map(_is_segment, pieces))


def _is_segment(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("text"), str)
        and isinstance(value.get("label"), bool)
    )
