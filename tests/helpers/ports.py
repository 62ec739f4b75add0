"""Free local ports."""

from __future__ import annotations

import contextlib
import random
import socket

#: Below those that Linux, macOS and Windows hand out themselves: nobody who asks for any port, as every
#: outgoing connection does, is given one of these between the look here and the program's own.
_FIRST, _LAST = 20_000, 30_000


def free_port() -> int:
    """Return a port without a listener."""
    chance = random.Random()  # whatever seed a test has set
    while True:
        port = chance.randint(_FIRST, _LAST)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
