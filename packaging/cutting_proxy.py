"""A proxy whose connection can be cut or throttled: `python3 packaging/cutting_proxy.py PORT FOLDER`.

It forwards CONNECT and plain HTTP, through the proxy in HTTPS_PROXY if it is set. Files in FOLDER
control it:

- cut: while it exists, connections are closed immediately and none is opened.
- cut-at: a number of bytes after which the connection is cut once.
- speed: a limit in bytes per second for all connections together.
- bytes: written by the proxy; the number of bytes received so far.
"""

from __future__ import annotations

import asyncio
import base64
import os
import sys
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Line:
    """The connection through the proxy: counts, throttles and cuts the traffic."""

    def __init__(self, folder: Path) -> None:
        """Create it; files in `folder` control it and report its traffic."""
        self.folder = folder
        self.bytes = 0
        speed = folder / "speed"
        self._seconds = 1 / float(speed.read_text()) if speed.exists() else 0.0
        self._busy_until = 0.0
        self.writers: set[asyncio.StreamWriter] = set()

    @property
    def is_cut(self) -> bool:
        """Whether the connection is cut."""
        return (self.folder / "cut").exists()

    def count(self, number: int) -> None:
        """Count received bytes, and cut the connection at the limit."""
        self.bytes += number
        limit = self.folder / "cut-at"
        if limit.exists() and self.bytes >= int(limit.read_text()):
            limit.unlink()
            (self.folder / "cut").touch()

    async def pace(self, number: int) -> None:
        """Wait as long as these bytes take at the limited speed, after those already waiting."""
        now = time.monotonic()
        self._busy_until = max(self._busy_until, now) + number * self._seconds
        if self._busy_until > now:
            await asyncio.sleep(self._busy_until - now)

    async def watch(self) -> None:
        """Write the byte count regularly, and close open connections when the connection is cut."""
        while True:
            (self.folder / "bytes.new").write_text(str(self.bytes))
            (self.folder / "bytes.new").replace(self.folder / "bytes")
            if self.is_cut:
                for writer in list(self.writers):
                    writer.transport.abort()
            await asyncio.sleep(0.1)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle one connection of a client."""
        if self.is_cut:
            writer.transport.abort()
            return
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            upstream_reader, upstream = await self._open(head, writer)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
            writer.transport.abort()
            return
        pair = {writer, upstream}
        self.writers |= pair
        try:
            await asyncio.gather(
                self._pass(reader, upstream), self._pass(upstream_reader, writer, counted=True)
            )
        finally:
            self.writers -= pair
            for end in pair:
                end.transport.abort()

    async def _open(
        self, head: bytes, client: asyncio.StreamWriter
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        further = urlsplit(os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy") or "")
        if further.hostname:
            opened = await asyncio.open_connection(further.hostname, further.port or 3128)
            if further.username:
                secret = f"{unquote(further.username)}:{unquote(further.password or '')}"
                line = b"Proxy-Authorization: Basic " + base64.b64encode(secret.encode()) + b"\r\n"
                head = head[:-2] + line + b"\r\n"
            opened[1].write(head)
            return opened
        if method == "CONNECT":
            host, _, port = target.rpartition(":")
            opened = await asyncio.open_connection(host.strip("[]"), int(port))
            client.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            return opened
        url = urlsplit(target)
        opened = await asyncio.open_connection(url.hostname, url.port or 80)
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        lines = head.replace(target.encode(), path.encode(), 1).split(b"\r\n")
        # One request per connection, because a second one would have an absolute URL again.
        forwarded = [
            line for line in lines if not line.lower().startswith((b"connection:", b"proxy-"))
        ]
        forwarded.insert(1, b"Connection: close")
        opened[1].write(b"\r\n".join(forwarded))
        return opened

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counted: bool = False
    ) -> None:
        try:
            while data := await reader.read(65536):
                if counted:
                    self.count(len(data))
                    await self.pace(len(data))
                writer.write(data)
                await writer.drain()
            writer.write_eof()
        except (OSError, RuntimeError):
            writer.transport.abort()


async def main(port: int, folder: Path) -> None:
    """Serve until the process is killed."""
    line = Line(folder)
    server = await asyncio.start_server(line.serve, "127.0.0.1", port)
    async with server:
        await asyncio.gather(server.serve_forever(), line.watch())


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
