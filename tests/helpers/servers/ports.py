"""Free local ports, and servers that run during a test."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections.abc import Iterator
from socketserver import BaseServer

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


@contextlib.contextmanager
def run_server(server: BaseServer) -> Iterator[None]:
    """Serve requests in a thread until the block ends."""
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
