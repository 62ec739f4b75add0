"""What is wrong with the value of a setting, and which values it takes, each in a sentence."""

from __future__ import annotations

import re

from pydantic_core import ErrorDetails

from lora_studio.core import formatting
from lora_studio.core.spec import FieldFacts


def sentence(about: FieldFacts, detail: ErrorDetails) -> str:
    """What pydantic found wrong with a value of the field, without a password that is in it."""
    value, title, kind = detail["input"], about.title, detail["type"]
    if kind == "value_error":  # the specs say it themselves
        fault = detail["msg"].removeprefix("Value error, ")
        return f"{title}: “{_plain(value)}” {fault}."
    if kind.endswith("too_short"):
        return f"{title}: at least one is needed." if about.kind == "list" else f"{title} is empty."
    shown = f"“{_plain(value)}”" if isinstance(value, str | list | tuple) else repr(value)
    match kind.partition("_")[0]:
        case "int" if kind == "int_from_float" or about.kind == "integer":
            return f"{title}: {shown} is no whole number."
        case "float" | "int" | "finite":
            return f"{title}: {shown} is no number."
        case "bool":
            return f"{title}: {shown} is neither true nor false."
        case "greater":
            return f"{title}: {shown} is too small."
        case "less":
            return f"{title}: {shown} is too large."
        case "literal":
            return f"{title}: {shown} is none of the choices."
        case "string" if kind == "string_type":
            return f"{title}: {shown} is no text."
        case "tuple" | "list":
            return f"{title}: {shown} is no list."
    return f"{title}: {shown} cannot be used."


def allowed(about: FieldFacts) -> str:
    """The values a field takes, in one sentence."""
    if about.choices:
        return f"Choose one of: {', '.join(about.choices)}."
    unit = f" {about.unit}" if about.unit else ""
    if about.minimum is not None and about.maximum is not None:
        low, high = f"{about.minimum:.12g}", f"{about.maximum:.12g}{unit}"
        if about.exclusive_minimum:
            return f"Enter a value above {low}, at most {high}."
        return f"Enter a value from {low} to {high}."
    return "Enter true or false." if about.kind == "flag" else about.description


def way_back(about: FieldFacts) -> str:
    """What the button is called that gives the field its default."""
    default = _plain(about.default)
    return f"Use the default ({default})" if default else "Leave it empty"


def _plain(value: object) -> str:
    """A value as it may be shown: in an address, what stands before its @ can be a password."""
    if isinstance(value, float):
        return formatting.small(value)
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return re.sub(r"^(\w+://)?[^/@]*@", r"\1…@", text)
