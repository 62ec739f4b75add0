"""Parse numbers as people type them ("2e-4", "8k", "0,05", "5 %") and format them."""

from __future__ import annotations

import math
import re

from lora_studio.core.formatting import format_decimal
from lora_studio.core.spec import FieldFacts

_FACTORS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}
#: Context lengths are counted in powers of two: 8k tokens are 8192.
_TOKEN_FACTORS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:([.,\u202f\u00a0' ])\d{3})(?:\1\d{3})*\Z")
_SIZED = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([kmg%]?)\Z", re.IGNORECASE)


def parse(text: str, about: FieldFacts) -> int | float | str:
    """Return the number that a text represents, or the text itself if it isn't a number."""
    plain = text.strip().replace("−", "-")
    if about.unit and plain.lower().endswith(about.unit.lower()):
        plain = plain[: -len(about.unit)].strip()
    is_decimal = about.kind == "number" and plain.count(",") + plain.count(".") == 1
    if _THOUSANDS.match(plain) and not is_decimal:
        plain = re.sub(r"[^\d+-]", "", plain)
    match = _SIZED.match(plain.replace(",", "."))
    if match is None:
        return text
    factor = match[2].lower()
    factors = _TOKEN_FACTORS if about.unit == "tokens" else _FACTORS
    value = float(match[1]) * (0.01 if factor == "%" else factors[factor])
    if math.isinf(value):
        return text
    if about.kind == "number":
        return float(f"{value:.12g}")
    if re.fullmatch(r"[+-]?\d+", match[1]) and factor == "":
        return int(match[1])
    return int(value) if value.is_integer() else text


def format_value(value: object, about: FieldFacts) -> str:
    """Return a value as text that `parse` reads back."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or about.kind == "integer":
        return str(value)
    return format_decimal(value)


def step_value(value: int | float, direction: int, about: FieldFacts) -> int | float:
    """Return the next value up or down within the bounds.

    Fields with a step change by that step, powers of two by a factor of two, and other whole numbers
    by one; small decimals follow the sequence 1, 2, 5 within each power of ten.
    """
    if about.step:
        result: int | float = round(value / about.step + direction) * about.step
        result = float(f"{result:.10g}")
    elif about.kind == "integer":
        power = value >= 8 and (int(value) & (int(value) - 1)) == 0
        result = (
            (int(value) * 2 if direction > 0 else int(value) // 2)
            if power
            else int(value) + direction
        )
    else:
        result = _step_one_two_five(value, direction)
    if about.minimum is not None and (
        result < about.minimum or (about.exclusive_minimum and result <= about.minimum)
    ):
        return value
    if about.maximum is not None and result > about.maximum:
        return value
    return int(result) if about.kind == "integer" else float(result)


def _step_one_two_five(value: float, direction: int) -> float:
    if value <= 0:
        return value
    steps = [digit * 10.0**exponent for exponent in range(-12, 7) for digit in (1, 2, 5)]
    if direction > 0:
        nearest = next(step for step in steps if step > value * 1.0001)
    else:
        nearest = next((step for step in reversed(steps) if step < value * 0.9999), value)
    return float(f"{nearest:.6g}")
