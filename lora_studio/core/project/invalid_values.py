"""Describe what is wrong with the value of a setting, and which values it accepts."""

from __future__ import annotations

import re

from pydantic_core import ErrorDetails

from lora_studio.core import formatting
from lora_studio.core.messages import Text, text
from lora_studio.core.spec import FieldFacts

#: Descriptions by the first word of pydantic's error type.
_FAULTS = {
    "float": "{title}: {value} isn't a number.",
    "int": "{title}: {value} isn't a number.",
    "finite": "{title}: {value} is too large.",
    "bool": "{title}: {value} is neither true nor false.",
    "greater": "{title}: {value} is too small.",
    "less": "{title}: {value} is too large.",
    "literal": "{title}: {value} isn't one of the choices.",
    "tuple": "{title}: {value} isn't a list.",
    "list": "{title}: {value} isn't a list.",
}

#: Descriptions of what can be typed for a number but isn't one, or has no size.
_NOT_FINITE = {
    "nan": "{title}: {value} isn't a number.",
    "inf": "{title} must be a finite number, not {value}.",
    "infinity": "{title} must be a finite number, not {value}.",
}

#: Characters of a value that a message shows.
_MAX_SHOWN = 200


def describe_error(about: FieldFacts, detail: ErrorDetails) -> Text:
    """Return what pydantic found wrong with a field's value, with passwords masked."""
    value, title, kind = detail["input"], text(about.title), detail["type"]
    if kind == "value_error":  # raised by `refused` in a spec
        fault = text(detail["msg"].removeprefix("Value error, "))
        return text(
            "{title}: “{value}” {fault}.", title=title, value=_mask_value(value), fault=fault
        )
    if kind.endswith("too_short"):
        template = (
            "{title}: at least one is needed." if about.kind == "list" else "{title} is empty."
        )
        return text(template, title=title)
    is_quoted = isinstance(value, str | list | tuple)
    quoted = text("“{name}”", name=_mask_value(value)) if is_quoted else _print_value(value)
    if kind == "int_from_float" or (kind.startswith("int") and about.kind == "integer"):
        template = "{title}: {value} isn't a whole number."
    elif kind == "string_type":
        template = "{title}: {value} isn't text."
    else:
        fault_name = kind.partition("_")[0]
        template = _FAULTS.get(fault_name, "{title}: {value} can't be used.")
        if fault_name in ("finite", "greater", "less"):
            template = _NOT_FINITE.get(str(value).strip().lower().lstrip("+-"), template)
    return text(template, title=title, value=quoted)


def describe_remedy(about: FieldFacts, value: object) -> Text:
    """Return what to enter instead of a value: the same with a decimal point, or what the field accepts."""
    if about.kind in ("integer", "number") and isinstance(value, str):
        point = value.strip().replace(",", ".")
        if re.fullmatch(r"[+-]?\d+,\d+(e[+-]?\d+)?", value.strip(), re.IGNORECASE):
            return text("Use a decimal point: {value}.", value=point)
    return describe_allowed(about)


def describe_allowed(about: FieldFacts) -> Text:
    """Return the values that a field accepts, in one sentence."""
    if about.choices:
        return text("Choose one of: {names}.", names=", ".join(about.choices))
    if about.minimum is not None and about.maximum is not None:
        template = (
            "Enter a value above {low} and up to {high}."
            if about.exclusive_minimum
            else "Enter a value from {low} to {high}."
        )
        high = text("{number} {unit}", number=float(about.maximum), unit=text(about.unit))
        return text(
            template,
            low=float(about.minimum),
            high=high if about.unit else float(about.maximum),
        )
    return text("Enter true or false.") if about.kind == "flag" else text(about.description)


def get_reset_label(about: FieldFacts) -> Text:
    """Return the label of the button that resets the field to its default."""
    default = _mask_value(about.default)
    return text("Use the default ({value})", value=default) if default else text("Leave it empty")


def _print_value(value: object) -> str:
    """Return a value as people type it: a fraction without the decimals of a whole number, as in -1."""
    return f"{value:.12g}" if isinstance(value, float) else repr(value)


def _mask_value(value: object) -> str:
    """Return a value that is safe to show: in an address, the part before the @ can be a password."""
    if isinstance(value, float):
        return formatting.format_setting(value)
    printed = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    masked = re.sub(r"^(\w+://)?[^/@]*@", r"\1…@", printed[:_MAX_SHOWN])
    return masked if len(printed) <= _MAX_SHOWN else f"{masked}…"
