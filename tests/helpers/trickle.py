"""Downloads that are held up in the middle, for whoever wants to cut or cancel one there."""

from __future__ import annotations

import threading
from collections.abc import Iterator

_PIECE = 1 << 16


def pieces(content: bytes, held: int | None, freed: threading.Event) -> Iterator[bytes]:
    """64 KiB at a time; from `held` on single bytes with a pause before each, until that is set free.

    So a download gets no further and never falls silent either, however long a test takes to act.
    """
    at = 0
    while at < len(content):
        size = 1 if held is not None and at >= held and not freed.wait(0.02) else _PIECE
        yield content[at : at + size]
        at += size
