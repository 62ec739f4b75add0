"""Free local ports."""

from __future__ import annotations

import contextlib
import random
import socket

#: Below the ephemeral ports of Linux, macOS and Windows, so that no outgoing connection can get a port
#: between the check here and its use by the program.
_FIRST, _LAST = 20_000, 30_000


def free_port() -> int:
    """Return a port without a listener."""
    chance = random.Random()  # independent of the seed that a test has set
    while True:
        port = chance.randint(_FIRST, _LAST)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
