"""Measures of answers in JSON: whether they can be parsed, follow a schema, and have equal fields."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lora_studio.core.evaluation.items import EvaluationItem
from lora_studio.core.evaluation.measures.base import ReferenceMeasure
from lora_studio.core.evaluation.measures.normalization import remove_fence
from lora_studio.core.messages import Text
from lora_studio.core.problems import ProblemError, fail
from lora_studio.core.system.foreign_files import read_text

#: Stands for an answer that is no JSON; JSON has no such value.
_INVALID = object()


def parse_json(answer: str) -> Any:
    """Return the value of an answer in JSON, `_INVALID` if it isn't JSON.

    One Markdown code block around it is accepted; NaN and Infinity, which JSON lacks, are not.
    """
    try:
        return json.loads(remove_fence(answer), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return _INVALID


def is_json_object(answer: str) -> bool:
    """Return whether an answer is a JSON object or array."""
    return isinstance(parse_json(answer), dict | list)


class ValidJson(ReferenceMeasure):
    """1 for an answer that is JSON; the reference isn't used."""

    def score(self, item: EvaluationItem, answer: str) -> float | None:
        """Return whether the answer can be parsed."""
        return float(parse_json(answer) is not _INVALID)


class JsonSchema(ReferenceMeasure):
    """1 for an answer in JSON that follows a JSON schema, given in a file or in the name itself."""

    has_parameter = True

    def __init__(self, kind: str, title: Text, parameter: str = "") -> None:
        """Read the schema; raises ProblemError if it is missing or invalid."""
        super().__init__(kind, title, parameter)
        self._schema = _read_schema(parameter)
        self._validator: Any = None

    def score(self, item: EvaluationItem, answer: str) -> float | None:
        """Return whether the answer is valid; raises ProblemError for a schema that can't be used."""
        value = parse_json(answer)
        if value is _INVALID:
            return 0.0
        if self._validator is None:
            self._validator = _make_validator(self._schema, self.parameter)
        try:
            return float(self._validator.is_valid(value))
        except RecursionError:
            return 0.0
        except (
            Exception
        ) as error:  # such as a reference to another document, which is never fetched
            raise _invalid_schema(self.parameter, str(error)) from error


class EqualFields(ReferenceMeasure):
    """The share of equal fields of two JSON objects, of all that either has.

    "fields:name,total" looks at these fields only. Fields of nested objects and items of lists count
    by themselves. Numbers are equal regardless of how they are written, and texts after Unicode's
    NFKC normalization, without spaces around them.
    """

    is_binary = False
    has_parameter = True

    def compare(self, reference: str, answer: str) -> float | None:
        """Return the share of equal fields; None for a reference that isn't a JSON object or array."""
        wanted = parse_json(reference)
        if not isinstance(wanted, dict | list):
            return None
        found = parse_json(answer)
        if not isinstance(found, dict | list):
            return 0.0
        try:
            return self._compare_values(self._select(wanted), self._select(found))
        except RecursionError:
            return 0.0

    def _select(self, value: Any) -> Any:
        names = [name.strip() for name in self.parameter.split(",") if name.strip()]
        if not names or not isinstance(value, dict):
            return value
        return {name: value[name] for name in names if name in value}

    def _compare_values(self, wanted: Any, found: Any) -> float | None:
        expected, given = dict(_list_leaves(wanted)), dict(_list_leaves(found))
        if not expected:
            return None if self.parameter else float(not given)
        equal = sum(
            path in given and _is_equal(value, given[path]) for path, value in expected.items()
        )
        return equal / len(expected.keys() | given.keys())


def _list_leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[Any, Any]]:
    """Yield the path and value of every field that isn't itself an object or a list with content."""
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from _list_leaves(part, (*path, name))
    elif isinstance(value, list) and value:
        for index, part in enumerate(value):
            yield from _list_leaves(part, (*path, index))
    elif path or not isinstance(value, dict | list):
        yield path, value


def _is_equal(first: Any, second: Any) -> bool:
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, int | float) and isinstance(second, int | float):
        try:
            return math.isclose(first, second, rel_tol=1e-9, abs_tol=1e-12)
        except OverflowError:  # an integer beyond the range of floats
            return first == second
    if isinstance(first, str) and isinstance(second, str):
        return _normalize(first) == _normalize(second)
    return bool(first == second)


def _normalize(value: str) -> str:
    return unicodedata.normalize("NFKC", value).strip()


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _read_schema(parameter: str) -> Any:
    if not parameter:
        raise _invalid_schema(parameter, "no schema is given")
    try:
        content = parameter if parameter.lstrip().startswith("{") else read_text(Path(parameter))
        schema = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise _invalid_schema(parameter, str(error)) from error
    if not isinstance(schema, dict):
        raise _invalid_schema(parameter, "it is not a JSON object")
    return schema


def _make_validator(schema: Any, parameter: str) -> Any:
    """Return a validator that fetches nothing: a reference to another document is an error."""
    import jsonschema
    from jsonschema_specifications import REGISTRY

    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except (jsonschema.SchemaError, RecursionError) as error:
        raise _invalid_schema(parameter, getattr(error, "message", str(error))) from error
    return kind(schema, registry=REGISTRY)


def _invalid_schema(parameter: str, reason: str) -> ProblemError:
    return fail(
        "evaluation.invalid_schema",
        "The JSON schema {schema} can't be used: {reason}.",
        "Enter the path of a JSON schema after json_schema:, or the schema itself.",
        schema=parameter[:200],
        reason=reason[:300],
    )
