"""What is wrong with one tensor of a merged model or GGUF file, and what it looks like instead."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lora_studio.core.messages import NO_TEXT, Text, counted, text

FaultKind = Literal[
    "missing", "additional", "repeated", "moved", "shape", "type", "base", "scaled", "zeros", "infinite", "permuted",
    "other", "differs",
]  # fmt: skip

#: Factors of the updates that count as equal.
_SAME_FACTOR = 0.05


@dataclass(frozen=True)
class TensorFault:
    """A fault of one tensor.

    `other` names the tensor that it equals, or the actual and `expected` the right shape, type, or file;
    `factor` is that of a wrongly scaled update; `rows` of `total` rows differ.
    """

    name: str
    kind: FaultKind
    other: str = ""
    expected: str = ""
    factor: float = 1.0
    rows: int = 0
    total: int = 0

    def describe(self) -> Text:
        """Return the fault as part of a sentence."""
        templates: dict[FaultKind, str] = {
            "missing": "{tensor} is missing",
            "additional": "{tensor} is not part of the trained model",
            "repeated": "{tensor} is in two files",
            "moved": "{tensor} is in {actual} instead of {expected}",
            "shape": "{tensor} has the shape {actual} instead of {expected}",
            "type": "{tensor} is stored as {actual} instead of {expected}",
            "base": "{tensor} is the base model's, without the adapter",
            "scaled": "{tensor} has the adapter's update at {factor:.2f} times its scale",
            "zeros": "{tensor} contains only zeros",
            "infinite": "{tensor} contains NaN or infinite values",
            "permuted": "{tensor} has its rows in the wrong order",
            "other": "{tensor} contains the values of {actual}",
            "differs": "{tensor} differs from what was trained in {rows} of {total} rows",
        }
        return text(
            templates[self.kind],
            tensor=self.name,
            actual=self.other,
            expected=self.expected,
            factor=self.factor,
            rows=self.rows,
            total=self.total,
        )


def find_cause(faults: Sequence[TensorFault], changed: int) -> Text:
    """Return what explains the faults together; empty when nothing does.

    `changed` is the number of tensors that the adapter changes.
    """
    by_kind: dict[FaultKind, list[TensorFault]] = {}
    for fault in faults:
        by_kind.setdefault(fault.kind, []).append(fault)
    if len(by_kind) != 1 or not faults:
        return NO_TEXT
    kind, names = faults[0].kind, {fault.name for fault in faults}
    if kind == "base" and len(names) == changed:
        return text("the adapter was not merged: these are the base model's weights")
    if kind == "base":
        return counted(
            len(names),
            "the adapter's update is missing from {n} tensor",
            "the adapter's updates are missing from {n} tensors",
        )
    factors = [fault.factor for fault in faults]
    if kind == "scaled" and max(factors) - min(factors) < _SAME_FACTOR:
        return text("the updates were merged at {factor:.2f} times their scale", factor=factors[0])
    layers = {match[1] for name in names if (match := re.search(r"(?:layers|blk)\.(\d+)\.", name))}
    if kind == "missing" and layers:
        return text("layers are missing: {layers}", layers=", ".join(sorted(layers, key=int)))
    return NO_TEXT
