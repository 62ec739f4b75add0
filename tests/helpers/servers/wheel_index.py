"""A local package index with small generated wheels, and a server with chosen faults."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import ssl
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from lora_studio import __version__
from tests.helpers.servers.ports import run_server
from tests.helpers.servers.trickle import pieces

#: A package of an engine that writes the protocol as plain JSON, so that it needs no library.
_TRIAL = """
import json, sys, pathlib
import torch
folder = pathlib.Path(sys.argv[1])
(folder / "model").mkdir()
(folder / "rows.jsonl").write_text("{}")
print(json.dumps({"broken": torch.BROKEN, "gpu": False, "torch": torch.__version__, "backend": "cpu"}),
      flush=True)
if torch.BROKEN:
    sys.exit()
"""
_WORKER = """
import json, os, sys
def say(**event): print(json.dumps(event), flush=True)
say(kind="hello", protocol=1, app_version="VERSION", pid=os.getpid())
command = json.loads(sys.stdin.readline())
for step in range(1, 2):
    say(kind="step_done", id=command["id"], step=step, steps=1, epoch=1, loss=1.0, learning_rate=0.1,
        grad_norm=1.0, tokens=1, tokens_per_s=1.0, memory_bytes=1)
say(kind="done", id=command["id"])
"""


def make_wheel(
    name: str,
    version: str = "1.0",
    files: dict[str, str] | None = None,
    requires: tuple[str, ...] = (),
    padding: int = 0,
) -> tuple[str, bytes]:
    """Return file name and bytes of a pure Python wheel; `padding` bytes don't compress."""
    module = name.replace("-", "_")
    contents: dict[str, bytes] = {
        path: text.encode() for path, text in (files or {f"{module}/__init__.py": ""}).items()
    }
    if padding:
        contents[f"{module}/data.bin"] = hashlib.shake_256(name.encode()).digest(padding)
    info = f"{module}-{version}.dist-info"
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    metadata += [f"Requires-Dist: {requirement}" for requirement in requires]
    extras = (re.search(r"extra == '(\w+)'", requirement) for requirement in requires)
    metadata += [f"Provides-Extra: {extra[1]}" for extra in extras if extra]
    contents[f"{info}/METADATA"] = ("\n".join(metadata) + "\n").encode()
    contents[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    lines = []
    for path, content in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(content)}")
    contents[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,"]).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in contents.items():
            archive.writestr(path, content)
    return f"{module}-{version}-py3-none-any.whl", buffer.getvalue()


def own_wheel(
    version: str = __version__, speaks: str = __version__, more: tuple[str, ...] = ()
) -> tuple[str, bytes]:
    """Return a wheel named like this program with a minimal engine; needs torch, alpha and `more`."""
    files = {
        "lora_studio/__init__.py": "",
        "lora_studio/engine/__init__.py": "",
        "lora_studio/engine/trial.py": _TRIAL + _WORKER.replace("VERSION", speaks),
    }
    requires = (
        "alpha>=1",
        "PySide6-Essentials>=6.8",
        "pyqtgraph",
        "torch>=2; extra == 'engine'",
        *more,
    )
    return make_wheel("lora-studio", version, files, requires)


def torch_wheel(version: str = "2.5", broken: str = "{}", padding: int = 0) -> tuple[str, bytes]:
    """Return a torch wheel with a version; `broken` is what the engine check can't import."""
    text = f"__version__ = '{version}'\nBROKEN = {broken}\n"
    return make_wheel("torch", version, {"torch/__init__.py": text}, padding=padding)


@dataclass
class Index:
    """The wheels of the server, its faults, and counters of its requests."""

    wheels: dict[str, bytes] = field(default_factory=dict)
    url: str = ""
    ranges: bool = True
    #: Wheels whose connection is cut, with the number of bytes and of times (None: always).
    cut: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    #: Wheels that are refused after their first cut.
    gone_after_cut: set[str] = field(default_factory=set)
    #: Wheels whose content doesn't match the checksum in the index.
    falsified: set[str] = field(default_factory=set)
    #: Wheels for which a status is sent instead of the file.
    refused: dict[str, int] = field(default_factory=dict)
    #: Wheels for which a status is sent a number of times, with its Retry-After header ("" for none).
    busy: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    #: Wheels that are slowed down after a number of bytes, until `freed` is set.
    held: dict[str, int] = field(default_factory=dict)
    freed: threading.Event = field(default_factory=threading.Event)
    sizes: bool = True
    user: str = ""
    sent: Counter[str] = field(default_factory=Counter)
    starts: list[tuple[str, int]] = field(default_factory=list)

    def add(self, *wheels: tuple[str, bytes]) -> None:
        """Add wheels."""
        self.wheels.update(wheels)

    @property
    def simple(self) -> str:
        """Return the index address for package managers."""
        return f"{self.url}/simple"


class _IndexHandler(BaseHTTPRequestHandler):
    """Answers with the files of the server's index, or with the faults that it is set to simulate."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    @property
    def index(self) -> Index:
        assert isinstance(self.server, _IndexServer)
        return self.server.index

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        if self.index.user and self.headers.get("Authorization") != "Basic " + (
            base64.b64encode(self.index.user.encode()).decode()
        ):
            self._send(401, b"", {"WWW-Authenticate": "Basic"}, body)
            return
        part = self.path.strip("/").split("/")
        if part[0] == "simple" and len(part) == 2:
            self._project(part[1], body)
        elif part[0] == "files" and part[-1] in self.index.wheels:
            self._file(part[-1], body)
        elif part[0] == "files" and part[-1].removesuffix(".metadata") in self.index.wheels:
            self._metadata(part[-1].removesuffix(".metadata"), body)
        else:
            self._send(404, b"", {}, body)

    def _project(self, name: str, body: bool) -> None:
        files = []
        for file, content in self.index.wheels.items():
            if re.sub(r"[-_.]+", "-", file.split("-")[0]).lower() != name:
                continue
            entry: dict[str, Any] = {
                "filename": file,
                "url": f"{self.index.url}/files/{file}",
                "hashes": {"sha256": hashlib.sha256(content).hexdigest()},
                "core-metadata": True,
            }
            files.append(entry | ({"size": len(content)} if self.index.sizes else {}))
        page = {"meta": {"api-version": "1.1"}, "name": name, "files": files, "versions": []}
        kind = {"Content-Type": "application/vnd.pypi.simple.v1+json"}
        self._send(200 if files else 404, json.dumps(page).encode(), kind, body)

    def _metadata(self, name: str, body: bool) -> None:
        with zipfile.ZipFile(io.BytesIO(self.index.wheels[name])) as archive:
            entry = next(member for member in archive.namelist() if member.endswith("/METADATA"))
            self._send(200, archive.read(entry), {}, body)

    def _file(self, name: str, body: bool) -> None:
        if name in self.index.refused:
            self._send(self.index.refused[name], b"", {}, body)
            return
        status, times, retry_after = self.index.busy.get(name, (0, 0, ""))
        if times:
            self.index.busy[name] = (status, times - 1, retry_after)
            self._send(status, b"", {"Retry-After": retry_after} if retry_after else {}, body)
            return
        content = self.index.wheels[name]
        if name in self.index.falsified:
            content = content[:-1] + bytes([content[-1] ^ 1])
        byte_range = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first, last, headers, status = 0, len(content) - 1, {}, 200
        if self.index.ranges:
            headers["Accept-Ranges"] = "bytes"
        if byte_range and self.index.ranges:
            first = int(byte_range[1])
            last = int(byte_range[2]) if byte_range[2] else last
            if first >= len(content):
                self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"}, body)
                return
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            status = 206
        if (body and not byte_range) or (byte_range and not byte_range[2]):
            self.index.starts.append((name, first))
        self._send(status, content[first : last + 1], headers, body, name)

    def _send(
        self, status: int, content: bytes, headers: dict[str, str], body: bool, name: str = ""
    ) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not body:
            return
        after, times = self.index.cut.get(name, (None, 0))
        if after is not None and times != 0:
            self.index.cut[name] = (after, None if times is None else times - 1)
            content = content[:after]
            self.close_connection = True
            if name in self.index.gone_after_cut:
                self.index.refused[name] = 404
        for piece in pieces(content, self.index.held.get(name), self.index.freed):
            if name:  # counted before sending, because the client may look at it immediately
                self.index.sent[name] += len(piece)
            try:
                self.wfile.write(piece)
            except OSError:
                if name:
                    self.index.sent[name] -= len(piece)
                return


class _IndexServer(ThreadingHTTPServer):
    """A server for one index on a free local port."""

    daemon_threads = True

    def __init__(self, index: Index) -> None:
        super().__init__(("127.0.0.1", 0), _IndexHandler)
        self.index = index


@contextmanager
def serve(index: Index, certificate: Path | None = None) -> Iterator[Index]:
    """Serve the index on a free local port; `certificate` is a file with its key, for HTTPS."""
    server = _IndexServer(index)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme = "http" if certificate is None else "https"
    index.url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
    with run_server(server):
        try:
            yield index
        finally:
            index.freed.set()
