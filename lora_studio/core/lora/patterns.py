"""Regular expressions in the settings of foreign adapters, which PEFT matches against every module."""

from __future__ import annotations

import re
from re import _constants, _parser  # type: ignore[attr-defined]  # the only parser of expressions
from typing import Any

from lora_studio.core.problems import InvalidContentError

#: Settings of an adapter whose keys or values are regular expressions.
_TABLES = ("rank_pattern", "alpha_pattern")
_LISTS = ("target_modules", "exclude_modules", "layers_pattern")

_MAX_LENGTH = 2000

#: Most repetitions without an end, each of which multiplies the time by the length of a name.
_MAX_REPEATS = 3

#: From so many repetitions on, a repetition counts as one without an end.
_MANY = 16


def check_patterns(config: dict[str, Any]) -> None:
    """Raise InvalidContentError for an expression that is invalid or could take very long."""
    for table in _TABLES:
        for pattern in config.get(table) or {}:
            check_pattern(pattern)
    for name in _LISTS:
        if isinstance(value := config.get(name), str):
            check_pattern(value)


def check_pattern(pattern: str) -> None:
    """Raise InvalidContentError for an expression that is invalid or could take very long.

    Python's matcher tries every way to split a text among repetitions. With one inside another the
    number of ways grows exponentially.
    """
    try:
        if len(pattern) > _MAX_LENGTH:
            raise InvalidContentError("one of its module patterns is too long")
        repeats = _count_repeats(_parser.parse(pattern), inside=False)
    except (re.error, RecursionError, OverflowError):
        raise InvalidContentError(
            "the module pattern “{pattern}” is invalid", pattern=pattern
        ) from None
    if repeats > _MAX_REPEATS:
        raise InvalidContentError(
            "the module pattern “{pattern}” could take very long", pattern=pattern[:200]
        )


def _count_repeats(parsed: Any, *, inside: bool) -> int:
    """Return the number of open repetitions; one that contains a choice counts as too many."""
    count = 0
    for operator, argument in parsed:
        if operator in (_constants.MAX_REPEAT, _constants.MIN_REPEAT):
            _, most, body = argument
            is_open = most >= _MANY
            if is_open and inside:
                return _MAX_REPEATS + 1
            count += is_open + _count_repeats(body, inside=inside or is_open)
        elif operator is _constants.BRANCH:
            if inside:
                return _MAX_REPEATS + 1
            count += max(_count_repeats(branch, inside=inside) for branch in argument[1])
        elif operator is _constants.SUBPATTERN:
            count += _count_repeats(argument[3], inside=inside)
        elif operator in (_constants.ASSERT, _constants.ASSERT_NOT):
            count += _count_repeats(argument[1], inside=inside)
        elif operator in (_constants.GROUPREF, _constants.GROUPREF_EXISTS):
            return _MAX_REPEATS + 1
    return count
