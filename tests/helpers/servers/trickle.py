"""Downloads that are slowed down halfway, for tests that interrupt or cancel them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

_PIECE = 1 << 16


def pieces(
    content: bytes, held: int | None, freed: threading.Event, size_held: int = 1
) -> Iterator[bytes]:
    """Yield 64 KiB at a time; from `held` on, `size_held` bytes ten times a second until released.

    The download makes almost no progress, however long a test takes, but never stalls completely.
    """
    at = 0
    while at < len(content):
        is_held = held is not None and at >= held and not freed.wait(0.1)
        size = size_held if is_held else _PIECE
        yield content[at : at + size]
        at += size
