"""What is wrong with one tensor of a merged model or GGUF file, and what it looks like instead."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

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
            "base": "{tensor} is still the base model's, without the adapter",
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


#: Characters of a value that are shown, and of a text before the first difference.
_SHOWN, _BEFORE = 60, 12

#: Texts longer than this are compared by character.
_LONG = 40


#: Stands for the value of a key that isn't there.
MISSING = object()


def iter_differences(expected: Any, actual: Any, key: str = "") -> Iterator[Text]:
    """Yield one text for each difference, named by the path of its key."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for name in [*expected, *(name for name in actual if name not in expected)]:
            path = f"{key}.{name}" if key else str(name)
            yield from iter_differences(
                expected.get(name, MISSING), actual.get(name, MISSING), path
            )
    elif isinstance(expected, list) and isinstance(actual, list):
        yield from _iter_list_differences(expected, actual, key)
    elif not is_same(expected, actual):
        yield describe_difference(key, expected, actual)


def is_same(expected: Any, actual: Any) -> bool:
    """Return whether two values are equal and of the same type, but for numbers.

    JSON writes the same setting as 10000 or 10000.0; True isn't 1 there. Loaders refuse a count with a
    decimal point.
    """
    if isinstance(expected, bool) or isinstance(actual, bool):
        return expected is actual
    if isinstance(expected, int) and isinstance(actual, float):
        return False
    if isinstance(expected, int | float) and isinstance(actual, int | float):
        return expected == actual or (expected != expected and actual != actual)
    return type(expected) is type(actual) and bool(expected == actual)


def describe_difference(key: str, expected: Any, actual: Any) -> Text:
    """Return what one value is and what it should be."""
    if actual is MISSING:
        return text("{key} is missing, expected {expected}", key=key, expected=_format(expected))
    if expected is MISSING:
        return text("{key} is {actual}, but should not be set", key=key, actual=_format(actual))
    if isinstance(expected, str) and isinstance(actual, str) and len(expected) > _LONG:
        return describe_text_difference(key, expected, actual)
    return text(
        "{key} is {actual} instead of {expected}",
        key=key,
        actual=_format(actual),
        expected=_format(expected),
    )


def describe_text_difference(key: str, expected: str, actual: str) -> Text:
    """Return where two texts start to differ."""
    pairs = enumerate(zip(expected, actual, strict=False))
    first = next((i for i, (a, b) in pairs if a != b), min(len(expected), len(actual)))
    begin = max(first - _BEFORE, 0)
    return text(
        "{key} differs from character {position} on: {actual} instead of {expected}",
        key=key,
        position=first + 1,
        actual=_format(actual[begin : begin + _SHOWN // 2]),
        expected=_format(expected[begin : begin + _SHOWN // 2]),
    )


def _iter_list_differences(expected: list[Any], actual: list[Any], key: str) -> Iterator[Text]:
    if len(expected) != len(actual):
        if max(len(expected), len(actual)) <= 8:
            yield describe_difference(key, expected, actual)
        else:
            yield text(
                "{key} has {actual} entries instead of {expected}",
                key=key,
                actual=len(actual),
                expected=len(expected),
            )
        return
    for index, (one, other) in enumerate(zip(expected, actual, strict=True)):
        yield from iter_differences(one, other, f"{key}[{index}]")


def _format(value: Any) -> str:
    shown = json.dumps(value, ensure_ascii=False, default=str)
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"
