"""Messages as data: a template with named values that becomes a sentence only when it is shown."""

from __future__ import annotations

import math
import re
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from lora_studio.core import formatting, limits

#: Looks up the translation of a template; the number decides which plural form is returned.
Translate = Callable[[str, int | None], str]

#: Additional formats for template fields, as in `{free:size}`. Other formats are Python's.
FORMATS: Mapping[str, Callable[[Any], str | Text]] = {
    "number": formatting.format_number,
    "count": formatting.format_count,
    "size": formatting.format_size,
    "memory": formatting.format_memory,
    "percent": formatting.format_percent,
    "duration": formatting.format_duration,
    "remaining": lambda seconds: describe_remaining(seconds),
    "loss": formatting.format_loss,
    "small": formatting.format_setting,
    "date": formatting.format_day,
    "run": formatting.format_run_name,
}


#: An English template of a message, or a sentence without values. A literal passed to a parameter
#: of this type or `Text` is collected for translation (`packaging/translations.py`).
Template = str

#: Serialization context in which a message also carries its finished English text, for `--json`.
READABLE = {"readable": True}

#: The strings that numbers have in JSON, which has no others for them.
_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Text(BaseModel):
    """A sentence or phrase for people: an English `template` and the `values` of its fields.

    The template doubles as the key of its translation. `singular` is the template for exactly one,
    where `values["n"]` counts something. Without values, the template is shown unchanged, so its
    braces need no escaping. A plain string is also accepted, since the files of older runs contain
    them.
    """

    # JSON has no NaN, so it is written as a string.
    model_config = ConfigDict(
        defer_build=True, frozen=True, extra="forbid", ser_json_inf_nan="strings"
    )

    template: Template = ""
    values: dict[str, Text | tuple[Text, ...] | bool | int | float | str] = {}
    singular: Template = ""

    @model_validator(mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"template": value}
        if isinstance(value, dict) and "template" in value:  # with the finished text of `--json`
            return {name: part for name, part in value.items() if name != "text"}
        return value

    @field_validator("values", mode="before")
    @classmethod
    def _read_numbers(cls, value: Any) -> Any:
        """Return values in which the strings that JSON has for NaN and infinity are numbers again."""
        if not isinstance(value, dict):
            return value
        return {
            name: _NUMBERS.get(part, part) if isinstance(part, str) else part
            for name, part in value.items()
        }

    @model_serializer(mode="wrap")
    def _serialize(
        self, handler: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        return {"text": str(self), **fields} if info.context == READABLE else fields

    def __str__(self) -> str:
        """Return the text in English."""
        return render(self)

    def __bool__(self) -> bool:
        """Return whether there is anything to show."""
        return bool(self.template)

    def __hash__(self) -> int:
        """Return a hash over the template and its values."""
        return hash((self.template, tuple(sorted((k, str(v)) for k, v in self.values.items()))))


#: A message with nothing to show.
NO_TEXT = Text()


def text(template: Template, **values: Any) -> Text:
    """Return a message: `text("{file} is {bytes:size}", file=name, bytes=12_000)`."""
    return Text(template=template, values=values)


def fill(template: Template | Text, values: Mapping[str, Any]) -> Text:
    """Return a message with only those `values` that its template has fields for."""
    if isinstance(template, Text) or not values:
        return Text.model_validate(template)
    fields = {name.partition(".")[0] for _, name, _, _ in _PARSER.parse(template) if name}
    return Text(template=template, values={k: v for k, v in values.items() if k in fields})


def counted(n: int, singular: Template, plural: Template, **values: Any) -> Text:
    """Return a message about `n` things: `counted(3, "{n} row", "{n} rows")`."""
    return Text(template=plural, singular=singular, values={"n": n, **values})


def listed(items: Sequence[Text | str], joint: str = "and") -> Text:
    """Return names joined into one phrase: `a`, `a and b`, `a, b, and c`."""
    parts = tuple(Text.model_validate(item) for item in items)
    if len(parts) < 2:
        return parts[0] if parts else Text(template="")
    if len(parts) == 2:
        template = "{first} or {last}" if joint == "or" else "{first} and {last}"
    else:
        template = "{first}, or {last}" if joint == "or" else "{first}, and {last}"
    return Text(template=template, values={"first": parts[:-1], "last": parts[-1]})


def join_sentences(sentences: Sequence[Text]) -> Text:
    """Return sentences as one text."""
    named = {f"sentence_{number}": each for number, each in enumerate(sentences)}
    return Text(template=" ".join(f"{{{name}}}" for name in named), values=dict(named))


def describe_remaining(seconds: float | None) -> Text:
    """Return the remaining time, rounded: `about 12 min`, or a dash if unknown."""
    if seconds is None or not math.isfinite(seconds):
        return text("–")
    if seconds < 5:
        return text("a few seconds")
    if seconds < 55:
        return text("about {time:duration}", time=5 * round(seconds / 5))
    return text("about {time:duration}", time=seconds)


def render(message: Text | str, translate: Translate | None = None) -> str:
    """Return the finished sentence, in English or as translated by `translate`.

    Messages are also read from the files of runs, which anybody may have written: a template that
    doesn't fit its values is returned unchanged.
    """
    return message if isinstance(message, str) else _Formatter(translate).render(message)


_PARSER = string.Formatter()

#: Python's formats that a template may use; a width could fill the memory.
_PLAIN_FORMAT = re.compile(r"(0\d)?,?(\.\d{1,2})?[defgx%]?")


class _Formatter(string.Formatter):
    """Fills templates: integers with thousands separators, nested messages in the same language."""

    def __init__(self, translate: Translate | None) -> None:
        self._translate = translate
        self._fields = self._length = 0

    def render(self, message: Text) -> str:
        n = message.values.get("n") if message.singular else None
        count = n if isinstance(n, int) else None
        translate = self._translate
        template = translate(message.template, count) if translate else message.template
        if count == 1 and template == message.template:
            template = message.singular
        if not message.values:
            return template
        try:
            return self.vformat(template, (), message.values)
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
            return template

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:
        if not field_name.isidentifier():
            raise ValueError("a field is a name")
        return super().get_field(field_name, args, kwargs)

    def convert_field(self, value: Any, conversion: str | None) -> Any:
        if conversion:  # would render a nested message outside of these limits
            raise ValueError("the format is unknown")
        return value

    def format_field(self, value: Any, format_spec: str) -> str:
        self._fields += 1
        if self._fields > limits.TEXT_FIELDS or self._length > limits.TEXT_LENGTH:
            raise ValueError("too long")
        text = self._format(value, format_spec)
        self._length += len(text)
        return text

    def _format(self, value: Any, format_spec: str) -> str:
        if isinstance(value, Text):
            return self.render(value)
        if isinstance(value, tuple | list):
            return ", ".join(self.format_field(item, format_spec) for item in value)
        if format_spec in FORMATS:
            formatted = FORMATS[format_spec](value)
            return formatted if isinstance(formatted, str) else self.render(formatted)
        if isinstance(value, int) and not isinstance(value, bool) and not format_spec:
            return formatting.format_number(value)
        if isinstance(value, float) and not format_spec:
            return formatting.format_decimal(value)
        if not _PLAIN_FORMAT.fullmatch(format_spec):
            raise ValueError("the format is unknown")
        formatted = _truncate(str(super().format_field(value, format_spec)))
        return formatting.localize_digits(formatted) if isinstance(value, float) else formatted


def _truncate(value: str) -> str:
    if len(value) <= limits.TEXT_VALUE:
        return value
    return value[: limits.TEXT_VALUE] + "…"
