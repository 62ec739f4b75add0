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

#: Values that contain no others.
PLAIN = frozenset((str, int, float, bool, type(None)))


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
    length, pending = 0, [value]
    while pending and length <= limits.TEMPLATE_LENGTH:
        item = pending.pop()
        if type(item) in PLAIN or not isinstance(item, Collection) or isinstance(item, str):
            length += 2 + _measure_plain(item)
            continue
        length += 2 + len(item)
        if length <= limits.TEMPLATE_LENGTH:
            pending += item
            if isinstance(item, dict):
                pending += item.values()
    return length


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
        take_steps(length // 64)
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
