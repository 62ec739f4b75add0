"""Settings of foreign adapters: their types, and regular expressions that PEFT matches against every
module.
"""

from __future__ import annotations

import math
import re
from re import _constants, _parser  # type: ignore[attr-defined]  # the only parser of expressions
from typing import Any

from lora_studio.core import limits
from lora_studio.core.problems import InvalidContentError

#: Settings whose keys are regular expressions, with numbers.
_TABLES = ("rank_pattern", "alpha_pattern")

#: Settings that are one regular expression or a list: of names, and in the last of expressions.
_LISTS = ("target_modules", "exclude_modules", "layers_pattern")

#: Settings that are lists of names, and those that are one whole number or several.
_NAMES = ("modules_to_save", "target_parameters")
_NUMBERS = ("layers_to_transform",)

#: Length of a long name: in so many ways an open repetition may end.
_LENGTH = 200

_REPEATS = (_constants.MAX_REPEAT, _constants.MIN_REPEAT, _constants.POSSESSIVE_REPEAT)


def check_settings(config: dict[str, Any]) -> None:
    """Raise InvalidContentError for a setting of a wrong type or with too many expressions, and for an
    expression that is invalid or could take very long.
    """
    for name in (*_TABLES, *_LISTS, *_NAMES, *_NUMBERS):
        value = config.get(name)
        if value is not None and not _has_right_type(name, value):
            raise InvalidContentError("the setting {name} is invalid", name=name)
    for table in _TABLES:
        patterns = config.get(table) or {}
        if len(patterns) > limits.PATTERNS:
            raise InvalidContentError("the setting {name} is invalid", name=table)
        for pattern in patterns:
            check_pattern(pattern)
    for name in _LISTS:
        value = config.get(name)
        expressions = value if name == "layers_pattern" and isinstance(value, list) else [value]
        for pattern in expressions:
            if isinstance(pattern, str):
                check_pattern(pattern)


def _has_right_type(name: str, value: Any) -> bool:
    if name in _TABLES:
        return isinstance(value, dict) and all(isinstance(x, int | float) for x in value.values())
    if name in _NUMBERS:
        return all(isinstance(x, int) for x in (value if isinstance(value, list) else [value]))
    if name in _LISTS and isinstance(value, str):
        return True
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def check_pattern(pattern: str) -> None:
    """Raise InvalidContentError for an expression that is invalid or could take very long.

    Python's matcher tries every way to split a text among repetitions. With one inside another the
    number of ways grows exponentially.
    """
    try:
        if len(pattern) > limits.PATTERN:
            raise InvalidContentError("one of its module patterns is too long")
        re.compile(rf"(.*\.)?({pattern})$")  # as it is matched: flags may only be at the start
        ways = _count_ways(_parser.parse(pattern))
    except (re.error, RecursionError, OverflowError):
        raise InvalidContentError(
            "the module pattern “{pattern}” is invalid", pattern=pattern
        ) from None
    if ways > limits.PATTERN_WAYS:
        raise InvalidContentError(
            "the module pattern “{pattern}” could take very long", pattern=pattern[:200]
        )


def _count_ways(parsed: Any) -> float:
    """Return in how many ways the matcher may try an expression, infinite for one that multiplies.

    A repetition of something that itself has several ways takes exponential time.
    """
    ways = 1.0
    for operator, argument in parsed:
        if operator in _REPEATS:
            least, most, body = argument
            inner = _count_ways(body)
            if most > 1 and inner > 1:
                return math.inf
            lengths = min(most - least + 1, _LENGTH)
            ways *= lengths if most > 1 else (most - least) + inner
        elif operator is _constants.BRANCH:
            ways *= sum(_count_ways(branch) for branch in argument[1])
        elif operator is _constants.SUBPATTERN:
            ways *= _count_ways(argument[3])
        elif operator in (_constants.ASSERT, _constants.ASSERT_NOT):
            ways *= _count_ways(argument[1])
        elif operator is _constants.ATOMIC_GROUP:
            ways *= _count_ways(argument)
        elif operator in (_constants.GROUPREF, _constants.GROUPREF_EXISTS):
            return math.inf
    return ways
