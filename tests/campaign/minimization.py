"""Make an input smaller as long as it still shows the same fault (delta debugging, Zeller 1999)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

#: Most attempts and seconds for one input.
_MAX_ATTEMPTS, _MAX_SECONDS = 2000, 40.0


class Minimizer:
    """Tries smaller and smaller inputs."""

    def __init__(
        self, shows_fault: Callable[[bytes], bool], *, attempts: int = _MAX_ATTEMPTS
    ) -> None:
        """`shows_fault` runs an input and says whether it still has the same outcome."""
        self._shows_fault = shows_fault
        self._left = attempts
        self._deadline = time.monotonic() + _MAX_SECONDS

    def _try(self, content: bytes) -> bool:
        self._left -= 1
        return self._shows_fault(content)

    @property
    def _has_time(self) -> bool:
        return self._left > 0 and time.monotonic() < self._deadline

    def minimize(self, content: bytes, split: Callable[[bytes], list[bytes] | None]) -> bytes:
        """Return a smaller input: first by the parts of its structure, then by bytes."""
        content = self._reduce_json(content)
        if (parts := split(content)) is not None:
            content = b"".join(self._reduce_parts(parts))
        singles = [content[at : at + 1] for at in range(len(content))]
        return b"".join(self._reduce_parts(singles))

    def _reduce_parts(self, parts: list[bytes]) -> list[bytes]:
        """Leave out ever smaller runs of parts."""
        size = max(1, len(parts) // 2)
        while parts and self._has_time:
            removed = False
            at = 0
            while at < len(parts) and self._has_time:
                shorter = parts[:at] + parts[at + size :]
                if self._try(b"".join(shorter)):
                    parts, removed = shorter, True
                else:
                    at += size
            if size == 1 and not removed:
                break
            size = max(1, size // 2)
        return parts

    def _reduce_json(self, content: bytes) -> bytes:
        """Leave out entries of a JSON text, outermost first."""
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            return content
        reduced = True
        while reduced and self._has_time:
            reduced = False
            for smaller in _iter_smaller(value):
                if not self._has_time:
                    break
                text = json.dumps(smaller).encode()
                if len(text) < len(content) and self._try(text):
                    value, content, reduced = smaller, text, True
                    break
        return content


def _iter_smaller(value: Any) -> Iterator[Any]:
    """Yield a JSON value with one entry less, or with one part made simpler."""
    if isinstance(value, dict):
        for key in value:
            yield {other: part for other, part in value.items() if other != key}
        for key, part in value.items():
            for smaller in _iter_smaller(part):
                yield {**value, key: smaller}
    elif isinstance(value, list):
        if len(value) > 3:
            yield value[: len(value) // 2]
            yield value[len(value) // 2 :]
        for at in range(len(value)):
            yield value[:at] + value[at + 1 :]
        for at, part in enumerate(value):
            for smaller in _iter_smaller(part):
                yield [*value[:at], smaller, *value[at + 1 :]]
    elif isinstance(value, str) and len(value) > 1:
        yield value[: len(value) // 2]
        yield value[len(value) // 2 :]
