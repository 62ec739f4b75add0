"""A small server that speaks the part of the Hugging Face hub's API that fetching needs."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

COMMIT = "5" * 40
TOKEN = "hf_of_the_test"

_INFO = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)/revision/([^/?]+)")
_TREE = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)/tree/([^/?]+)")
_FILE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


@dataclass
class Hub:
    """The server's content: `models` and `datasets` by id. `gated` ones open to the token alone.

    `break_after` cuts the next large file off after that many bytes, once. `asked` lists requests.
    """

    address: str
    models: dict[str, Path]
    datasets: dict[str, Path] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    break_after: int | None = None
    broken: bool = False
    asked: list[str] = field(default_factory=list)


@contextmanager
def hub_server(models: dict[str, Path]) -> Iterator[Hub]:
    """Runs the server on a free port of this computer until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    hub = Hub(f"http://127.0.0.1:{server.server_address[1]}", models)
    server.hub = hub  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        return self.server.hub  # type: ignore[attr-defined,no-any-return]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.hub.asked.append(f"{self.command} {path}")
        if self.hub.broken:
            self._answer(503, b"")
        elif match := _INFO.fullmatch(path):
            self._info(match[1], match[2], match[3])
        elif match := _TREE.fullmatch(path):
            self._tree(self._folders(match[1])[match[2]])
        elif match := _FILE.fullmatch(path):
            self._file(match[2], self._folders(match[1] or "models"), unquote(match[4]))
        else:
            self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})

    def _folders(self, kind: str) -> dict[str, Path]:
        return self.hub.datasets if kind.startswith("datasets") else self.hub.models

    def _info(self, kind: str, name: str, revision: str) -> None:
        folders = self._folders(kind)
        if name not in folders:
            self._answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        elif revision not in ("main", COMMIT):
            self._answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        else:
            # Of a model nobody asks for the files here.
            files = _files(folders[name]) if kind == "datasets" else []
            siblings = [{"rfilename": file} for file in files]
            self._json({"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings})

    def _tree(self, folder: Path) -> None:
        self._json(
            [
                {
                    "type": "file",
                    "path": name,
                    "size": (folder / name).stat().st_size,
                    "oid": _oid(folder / name),
                }
                for name in _files(folder)
            ]
        )

    def _file(self, repository: str, folders: dict[str, Path], name: str) -> None:
        if repository in self.hub.gated and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(403, b"", {"X-Error-Code": "GatedRepo"})
            return
        file = folders[repository] / name
        data = file.read_bytes()
        start = 0
        if wanted := re.match(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start = int(wanted[1])
        facts = {"ETag": f'"{_oid(file)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if start:
            facts["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._answer(206 if start else 200, data[start:], facts)

    def _json(self, value: Any) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, body: bytes, facts: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (facts or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        limit = self.hub.break_after
        if limit is not None and len(body) > limit:
            self.hub.break_after = None
            self.wfile.write(body[:limit])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name it has there
        """Says nothing: a test looks at `Hub.asked`."""


def _files(folder: Path) -> list[str]:
    return [
        path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()
    ]


def _oid(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()
