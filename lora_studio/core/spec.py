"""Declare a setting once, with title, description, unit, bounds and default."""

from __future__ import annotations

import functools
import os
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from lora_studio.core import limits
from lora_studio.core.messages import Template

Kind = Literal["choice", "flag", "integer", "number", "text", "path", "list"]


class Spec(BaseModel):
    """Base of the six specs: immutable, closed, every field with a title and a description."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", validate_default=True)

    @field_validator("*")
    @classmethod
    def _check_text(cls, value: Any, info: ValidationInfo) -> Any:
        extra = cls.model_fields[info.field_name or ""].json_schema_extra
        is_path = isinstance(extra, dict) and bool(extra.get("path"))
        items = value if isinstance(value, tuple) else (value,)
        if len(items) > limits.SETTING_ENTRIES:
            raise value_error("has more than 1,000 entries")
        for item in items:
            if isinstance(item, str):
                check_text(item, is_path=is_path)
        return value


def setting(
    default: Any,
    title: str,
    description: str,
    *,
    unit: str = "",
    choices: dict[str, str] | None = None,
    choice_details: dict[str, str] | None = None,
    path: Literal["", "file", "folder", "any"] = "",
    advanced: bool = False,
    step: float | None = None,
    lines: bool = False,
    help_topic: str = "",
    **bounds: Any,
) -> Any:
    """Declare one field of a spec.

    `choices` gives the words shown for each value of a Literal, and `choice_details` a sentence on
    each; `path` marks a text field that names a file or folder; `advanced` puts it under "Advanced"; a list with `lines` has texts with
    blanks and commas, shown one per line; `help_topic` is the section of the help document that
    explains it (core/help/diagnostics.py); `bounds` are pydantic's ge, gt, le, lt, min_length,
    max_length, pattern.
    """
    return Field(
        default,
        title=title,
        description=description,
        json_schema_extra={
            "unit": unit,
            "choices": dict(choices or {}),
            "choice_details": dict(choice_details or {}),
            "path": path,
            "advanced": advanced,
            "step": step,
            "lines": lines,
            "help_topic": help_topic,
        },
        **bounds,
    )


def value_error(fault: Template) -> ValueError:
    """Return the error that a validator of a spec raises: `fault` follows the value, as in “is not
    a name”."""
    return ValueError(fault)


def check_text(value: str, *, is_path: bool) -> str:
    """Return the text; raises ValueError if no file or program could take it."""
    if "\0" in value:
        raise value_error("contains a null character")
    if is_path:
        if len(os.fsencode(value)) > limits.PATH_BYTES or any(
            len(os.fsencode(part)) > limits.NAME_BYTES
            for part in value.replace("\\", "/").split("/")
        ):
            raise value_error("is too long for a path")
        try:
            Path(value).expanduser()
        except RuntimeError:
            raise value_error("begins with ~ and an unknown user") from None
    return value


@dataclass(frozen=True)
class FieldFacts:
    """Everything that a label, an editor, a command-line option or a docs table needs to know about
    a field.
    """

    name: str
    title: str
    description: str
    unit: str
    kind: Kind
    default: Any
    choices: dict[str, str]
    path: str
    advanced: bool
    minimum: float | None
    maximum: float | None
    exclusive_minimum: bool
    step: float | None
    lines: bool = False
    help_topic: str = ""
    choice_details: dict[str, str] = field(default_factory=dict)


@functools.cache  # cached: called some hundred times per edit
def get_facts(spec: type[Spec], name: str) -> FieldFacts:
    """Return the facts of one field of a spec; raises KeyError for an unknown name."""
    info = spec.model_fields[name]
    extra = typing.cast(dict[str, Any], info.json_schema_extra or {})
    bounds = {type(item).__name__: item for item in info.metadata}
    minimum, exclusive = _find_lower_bound(bounds)
    maximum = getattr(bounds.get("Le"), "le", None)
    choices = dict(extra.get("choices", {}))
    for value in _list_literal_values(info.annotation):
        choices.setdefault(value, value)
    return FieldFacts(
        name=name,
        title=info.title or name,
        description=info.description or "",
        unit=extra.get("unit", ""),
        kind=_classify_field(info, extra),
        default=info.get_default(call_default_factory=True),
        choices=choices,
        path=extra.get("path", ""),
        advanced=bool(extra.get("advanced", False)),
        minimum=minimum,
        maximum=None if maximum is None else float(maximum),
        exclusive_minimum=exclusive,
        step=extra.get("step"),
        lines=bool(extra.get("lines", False)),
        help_topic=extra.get("help_topic", ""),
        choice_details=dict(extra.get("choice_details", {})),
    )


def list_facts(spec: type[Spec]) -> list[FieldFacts]:
    """Return the facts of every field of a spec, in the order of declaration."""
    return [get_facts(spec, name) for name in spec.model_fields]


def _find_lower_bound(bounds: dict[str, Any]) -> tuple[float | None, bool]:
    if "Gt" in bounds:
        return float(bounds["Gt"].gt), True
    if "Ge" in bounds:
        return float(bounds["Ge"].ge), False
    return None, False


def _list_literal_values(annotation: Any) -> tuple[str, ...]:
    if typing.get_origin(annotation) is Literal:
        return tuple(str(value) for value in typing.get_args(annotation))
    if typing.get_origin(annotation) is tuple:
        return _list_literal_values(typing.get_args(annotation)[0])
    return ()


def _classify_field(info: FieldInfo, extra: dict[str, Any]) -> Kind:
    annotation = info.annotation
    origin = typing.get_origin(annotation)
    if origin is tuple:
        return "list"
    if origin is Literal:
        return "choice"
    if origin in (Union, types.UnionType):
        annotation = next(arg for arg in typing.get_args(annotation) if arg is not type(None))
    if annotation is bool:
        return "flag"
    if annotation is int:
        return "integer"
    if annotation is float:
        return "number"
    return "path" if extra.get("path") else "text"
