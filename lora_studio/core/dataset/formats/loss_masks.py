"""Read which turns and parts of texts are excluded from the loss, as character ranges."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate, pairwise
from typing import Any

from lora_studio.core.dataset.formats.values import parse_literal
from lora_studio.core.dataset.samples import UnusableRow

#: Character ranges, end excluded, sorted and disjoint.
Ranges = tuple[tuple[int, int], ...]

_WEIGHTS = ("weight", "loss_weight", "loss_scale")
_TRAINS = ("train", "training", "loss")
_BEGIN, _END = "begin_offset", "end_offset"
_ALL_OF_THINKING = "the row masks parts of its reasoning, which is not supported"


def is_masked(value: Mapping[str, Any]) -> bool:
    """Return whether a turn or a part is marked as excluded from the loss."""
    weights = (value.get(name) for name in _WEIGHTS)
    if any(str(weight).strip() in ("0", "0.0", "False") for weight in weights):
        return True
    if value.get("masked") in (True, "true", "True"):
        return True
    return any(value.get(name) in (False, "false", "False") for name in _TRAINS)


def read_train_details(value: Any, length: int) -> Ranges:
    """Return the ranges of a text of `length` characters that a list of marked spans excludes.

    Each span is an object with `begin_offset`, `end_offset` (the last character, included) and
    `train`. Characters outside all spans do not train. Raises UnusableRow for anything else.
    """
    details = parse_literal(value)
    if not isinstance(details, list | tuple) or not all(map(_is_detail, details)):
        raise UnusableRow("the row masks parts of an answer in an unknown notation")
    trains = bytearray(length)
    for on in (True, False):
        for detail in details:
            begin, end = max(0, int(detail[_BEGIN])), min(length, int(detail[_END]) + 1)
            if is_masked(detail) is not on and begin < end:
                trains[begin:end] = bytes([on]) * (end - begin)
    return _build_ranges(trains)


def read_segments(value: Any) -> tuple[str, Ranges] | None:
    """Return the text of segments that each have a `label` for training, and its untrained ranges.

    Returns None if the value is not a list of such segments.
    """
    pieces = parse_literal(value)
    if not isinstance(pieces, list | tuple) or not pieces or not all(map(_is_segment, pieces)):
        return None
    edges = list(accumulate((len(piece["text"]) for piece in pieces), initial=0))
    spans = zip(pairwise(edges), pieces, strict=True)
    return (
        "".join(piece["text"] for piece in pieces),
        tuple(span for span, piece in spans if not piece["label"] and span[0] < span[1]),
    )


def invert_ranges(ranges: Ranges, length: int) -> Ranges:
    """Return the parts of a text of `length` characters that are in none of the ranges."""
    edges = [0, *(edge for span in ranges for edge in span), length]
    between = zip(edges[::2], edges[1::2], strict=True)
    return tuple((begin, end) for begin, end in between if begin < end)


def shift_ranges(ranges: Ranges, start: int, text: str) -> Ranges:
    """Return the ranges relative to `start`; raises UnusableRow if one excludes letters before it."""
    if any(text[begin : min(end, start)].strip() for begin, end in ranges if begin < start):
        raise UnusableRow(_ALL_OF_THINKING)
    return tuple((max(0, begin - start), end - start) for begin, end in ranges if end > start)


def _is_segment(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("text"), str)
        and isinstance(value.get("label"), bool)
    )


def _is_detail(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(name), int | float) and abs(value[name]) < 2**53
        for name in (_BEGIN, _END)
    )


def _build_ranges(trains: bytearray) -> Ranges:
    """Return the untrained spans as ranges."""
    edges = [0, *(at for at, (a, b) in enumerate(pairwise(trains), 1) if a != b), len(trains)]
    return tuple((a, b) for a, b in pairwise(edges) if a < b and not trains[a])
