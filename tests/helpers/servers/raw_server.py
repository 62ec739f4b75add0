"""A server that sends whatever bytes a test wants, also without an end."""

from __future__ import annotations

import itertools
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

OK = b"HTTP/1.1 200 OK\r\n"

#: Sends an answer over a connection.
Script = Callable[[socket.socket], object]


@dataclass
class RawServer:
    """A server that answers each request with a script; `requests` has what it received."""

    port: int = 0
    requests: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Return the address by the name of this computer."""
        return f"http://localhost:{self.port}"


@contextmanager
def serve(script: Script) -> Iterator[RawServer]:
    """Answer each connection's first request on a free local port until the block ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = RawServer(listener.getsockname()[1])

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            server.requests.append(_receive_request(connection))
            script(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server
    finally:
        listener.close()


def _receive_request(connection: socket.socket) -> bytes:
    """Return a request with its body; unread, that would reset the connection when it is closed."""
    received = connection.recv(65536)
    head, blank, body = received.partition(b"\r\n\r\n")
    if blank and (length := re.search(rb"(?i)content-length: *(\d+)", head)):
        while len(body) < int(length[1]) and (more := connection.recv(65536)):
            body += more
            received += more
    return received


def repeat(*pieces: bytes, pause: float = 0.0) -> Script:
    """Return a script that sends the first piece once and the others without an end."""

    def send(connection: socket.socket) -> None:
        connection.sendall(pieces[0])
        for piece in itertools.cycle(pieces[1:]):
            connection.sendall(piece)
            time.sleep(pause)

    return send


def drip(head: bytes) -> Script:
    """Return a script that sends an answer byte by byte, and then one more byte each time."""
    return repeat(b"", *(bytes([one]) for one in head), *[b"x"] * 1000, pause=0.02)
