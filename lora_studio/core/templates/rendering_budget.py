"""The budget of one rendering of a chat template: its steps, its seconds, and the sizes of what it builds."""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import jinja2
from jinja2.runtime import Undefined

from lora_studio.core import limits

#: Steps between two looks at the clock, and the length of a text that counts as so many.
_CLOCK_STEPS, LONG = 1024, 100_000

#: Items of a collection that are measured in the time of about a step.
_ITEMS_PER_STEP = 16

#: Values that contain no others, and the usual ones that do.
PLAIN = frozenset((str, int, float, bool, type(None)))
_COLLECTIONS = frozenset((list, tuple, dict))


def measure(value: object) -> int:
    """Return the length of a text or collection, 0 for anything else."""
    return len(value) if isinstance(value, str | bytes | list | tuple | dict) else 0


def measure_deep(value: Any) -> int:
    """Return about how long a value is as text, a length beyond the limit for anything longer.

    A list may contain another one twice, that one a third one twice, and so on: each level doubles the
    text, the JSON, and the time to compare, and none of them takes memory before.
    """
    if type(value) in PLAIN:
        return _measure_plain(value)
    return (_budget.get(None) or _Budget()).measure(value)


def _is_collection(value: object) -> bool:
    kind = type(value)
    if kind in PLAIN or kind in _COLLECTIONS:  # many times as fast as the general case
        return kind in _COLLECTIONS
    return isinstance(value, Collection) and not isinstance(value, str)


def _list_parts(collection: Any) -> list[Any]:
    return [*collection, *collection.values()] if isinstance(collection, dict) else [*collection]


def _measure_plain(value: object) -> int:
    if isinstance(value, str):
        return len(value)
    return value.bit_length() // 3 if isinstance(value, int) else 8


class TemplateLimitError(jinja2.TemplateError):
    """Raised by a template that would take too much time or memory."""


class _Budget:
    """What is left for one rendering."""

    def __init__(self) -> None:
        self._steps, self._total = 0, 0
        self._deadline = time.monotonic() + limits.TEMPLATE_SECONDS
        # Collections inside of measured ones, such as messages, by their ID, and their length. Templates
        # can't change them.
        self._measured: dict[int, tuple[object, int]] = {}
        self._measured_length = 0

    def take_steps(self, count: int) -> None:
        before, self._steps = self._steps, self._steps + count
        if before // _CLOCK_STEPS != self._steps // _CLOCK_STEPS:
            self.check_clock()

    def build(self, length: int) -> None:
        self._total += length
        if length > limits.TEMPLATE_LENGTH or self._total > limits.TEMPLATE_TOTAL:
            raise TemplateLimitError("the chat template builds a text that is too long")
        if length > LONG:
            self.check_clock()

    def measure(self, value: Any) -> int:
        """Return the length of a collection with everything inside of it, or beyond the limit."""
        if not _is_collection(value):
            return _measure_plain(value)
        parts = _list_parts(value)
        self.take_steps(len(parts) // _ITEMS_PER_STEP)
        length = 2 + len(value)
        for part in parts:
            known = self._measured.get(id(part))
            length += self._measure_part(part) if known is None else known[1]
            if length > limits.TEMPLATE_LENGTH:
                break
        return length

    def _measure_part(self, part: Any) -> int:
        if not _is_collection(part):
            return 2 + _measure_plain(part)
        length, visited, pending = 0, 0, [part]
        while pending and length <= limits.TEMPLATE_LENGTH:
            item = pending.pop()
            visited += 1
            if not _is_collection(item):
                length += 2 + _measure_plain(item)
                continue
            length += 2 + len(item)
            if length <= limits.TEMPLATE_LENGTH:
                pending += _list_parts(item)
        self.take_steps(visited // _ITEMS_PER_STEP)
        self._measured_length += length
        if self._measured_length > limits.TEMPLATE_LENGTH:  # they can't be freed meanwhile
            self._measured.clear()
            self._measured_length = length
        self._measured[id(part)] = part, length
        return length

    def check_clock(self) -> None:
        if self._steps > limits.TEMPLATE_STEPS or time.monotonic() > self._deadline:
            raise TemplateLimitError("the chat template takes too long")


_budget: contextvars.ContextVar[_Budget] = contextvars.ContextVar("budget")


@contextlib.contextmanager
def limit_rendering() -> Iterator[None]:
    """Give the renderings inside one budget."""
    token = _budget.set(_Budget())
    try:
        yield
    finally:
        _budget.reset(token)


def take_steps(count: int) -> None:
    """Count steps, such as calls and rounds of loops."""
    if (budget := _budget.get(None)) is not None:
        budget.take_steps(count)


def check_clock() -> None:
    """Raise TemplateLimitError if the rendering has taken too long."""
    if (budget := _budget.get(None)) is not None:
        budget.check_clock()


def build(length: int) -> None:
    """Count a text or list before it is built; constants are folded outside of renderings."""
    (_budget.get(None) or _Budget()).build(length)


def check_value(value: Any) -> Any:
    """Pass on a value that was built of others, after checking its size with everything inside of it."""
    if type(value) not in PLAIN:
        length = measure_deep(value)
        if length > limits.TEMPLATE_LENGTH:
            raise TemplateLimitError("the chat template builds a list that is too long")
    return value


def check_copy(value: Any) -> Any:
    """Pass on a result that may be a copy of a long text or list, and count it."""
    if (length := measure(value)) > LONG:
        build(length)
    return value


def check_searched(value: Any) -> Any:
    """Pass on what is searched or compared, and take steps for its items; a dictionary is searched at once."""
    if isinstance(value, str | list | tuple) and len(value) > 64:
        if len(value) > LONG:
            check_clock()
        take_steps(len(value) // (4096 if isinstance(value, str) else 64))
    return value


def count_rounds(items: Any) -> Any:
    """Pass on the items of a loop, and take a step for each."""
    budget = _budget.get(None)
    if budget is None or isinstance(items, Undefined):
        return items
    if type(items) in (list, tuple, dict, str) and len(items) <= _CLOCK_STEPS:
        budget.take_steps(len(items))  # ten times as fast as one by one
        return items
    return _step(items, budget)


def _step(items: Iterable[Any], budget: _Budget) -> Iterator[Any]:
    for item in items:
        budget.take_steps(1)
        yield item
