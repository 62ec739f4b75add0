"""A small server with the part of the Hugging Face Hub's API that downloads need."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from tests.helpers.servers.ports import run_server
from tests.helpers.servers.trickle import pieces

COMMIT = "5" * 40
TOKEN = "hf_of_the_test"

_INFO = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/revision/([^/?]+))?")
_TREE = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)/tree/([^/?]+)")
_FILE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


@dataclass
class Hub:
    """The content of the server: `models` and `datasets` by id; `gated` ones need the token.

    `break_after` cuts off the next large file after that many bytes, once. `requests` lists what was requested.
    `status` is the answer to every request; files are `held` after that many bytes until `freed`.
    `about` has more fields of the model list, whose models need no folder. The owner of TOKEN is
    `pim`. `claimed` has fake sizes of files by name. The rest makes it hostile: the `commit` and the
    `etag` that it sends, `more_files` that it lists, weights with other bytes than their checksum says
    (`is_swapped`), and weights without an end (`is_endless`).
    """

    address: str
    models: dict[str, Path]
    datasets: dict[str, Path] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    break_after: int | None = None
    broken: bool = False
    status: int | None = None
    held: int | None = None
    freed: threading.Event = field(default_factory=threading.Event)
    about: dict[str, dict[str, Any]] = field(default_factory=dict)
    claimed: dict[str, int] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    commit: str = COMMIT
    etag: str = ""
    more_files: tuple[str, ...] = ()
    is_swapped: bool = False
    is_endless: bool = False

    def size(self, file: Path) -> int:
        """Return the claimed size of a file."""
        return self.claimed.get(file.name, file.stat().st_size)


@contextmanager
def hub_server(models: dict[str, Path]) -> Iterator[Hub]:
    """Run the server on a free local port until the block ends."""
    server = _Server(("127.0.0.1", 0), _Handler)
    hub = Hub(f"http://127.0.0.1:{server.server_address[1]}", models)
    server.hub = hub
    with run_server(server):
        try:
            yield hub
        finally:
            hub.freed.set()


class _Server(ThreadingHTTPServer):
    """A server whose clients may be killed."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        return self.server.hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.hub.requests.append(f"{self.command} {path}")
        if self.hub.broken:
            self._answer(503, b"")
        elif self.hub.status is not None:
            self._answer(self.hub.status, b"")
        elif path == "/api/models":
            self._list()
        elif path == "/api/whoami-v2":
            self._whoami()
        elif match := _INFO.fullmatch(path):
            self._info(match[1], match[2], match[3] or "main")
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
            folder = folders[name]
            siblings = [
                {"rfilename": file, "size": self.hub.size(folder / file), "blobId": "0"}
                for file in _files(folder)
            ]
            siblings += [{"rfilename": name, "size": 8} for name in self.hub.more_files]
            gated = "manual" if name in self.hub.gated else False
            self._json(
                {
                    "id": name,
                    "modelId": name,
                    "sha": self.hub.commit,
                    "siblings": siblings,
                    "gated": gated,
                }
            )

    def _list(self) -> None:
        """Answer with models that match the search text and all filters, most downloaded first."""
        query = parse_qs(self.path.partition("?")[2])
        self.hub.requests.append(f"LIST {json.dumps(query, sort_keys=True)}")
        models = []
        for name in {**self.hub.models, **self.hub.about}:
            about = {"tags": ["safetensors"], "downloads": 0, "likes": 0} | self.hub.about.get(
                name, {}
            )
            about["gated"] = "manual" if name in self.hub.gated else False
            named = all(word.lower() in name.lower() for word in query.get("search", []))
            tagged = set(query.get("filter", [])) <= set(about["tags"])
            opened = query.get("gated", ["true"]) != ["false"] or not about["gated"]
            if named and tagged and opened:
                models.append({"id": name, "modelId": name, **about})
        key = query.get("sort", ["downloads"])[0]
        models.sort(key=lambda item: item.get(key) or 0, reverse=True)
        self._json(models[: int(query.get("limit", ["1000"])[0])])

    def _whoami(self) -> None:
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            access = {"accessToken": {"displayName": "test", "role": "read"}}
            self._json({"type": "user", "name": "pim", "auth": access})
        else:
            self._answer(401, b'{"error":"Invalid username or password."}')

    def _tree(self, folder: Path) -> None:
        self._json(
            [
                {
                    "type": "file",
                    "path": name,
                    "size": self.hub.size(folder / name),
                    "oid": _oid(folder / name),
                    **_large(folder / name, self.hub.size(folder / name)),
                }
                for name in _files(folder)
            ]
        )

    def _file(self, repository: str, folders: dict[str, Path], name: str) -> None:
        if repository in self.hub.gated and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(403, b"", {"X-Error-Code": "GatedRepo"})
            return
        file = folders[repository] / name
        if not file.is_file():
            self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        data = file.read_bytes()
        start, end, ranged = 0, len(data), False
        if byte_range := re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start, ranged = int(byte_range[1]), True
            end = min(end, int(byte_range[2]) + 1) if byte_range[2] else end
        etag = self.hub.etag or _etag(file)
        facts = {"ETag": f'"{etag}"', "X-Repo-Commit": self.hub.commit, "Accept-Ranges": "bytes"}
        if file.suffix == ".safetensors" and self.hub.is_swapped:
            data = bytes(reversed(data))
        if file.suffix == ".safetensors" and self.hub.is_endless and self.command == "GET":
            self._answer_without_end(facts)
            return
        if ranged:
            facts["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
            self.hub.requests.append(f"RANGE {start}-{end} {name}")
        self._answer(206 if ranged else 200, data[start:end], facts)

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
        with suppress(ConnectionError):  # a canceled download closes the connection
            for piece in pieces(body, self.hub.held, self.hub.freed, 1 << 16):
                self.wfile.write(piece)

    def _answer_without_end(self, facts: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in facts.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        with suppress(ConnectionError):
            while True:
                self.wfile.write(bytes(1 << 20))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name it has there
        """Log nothing; tests look at `Hub.requests`."""


def _files(folder: Path) -> list[str]:
    return [
        path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()
    ]


def _large(file: Path, size: int) -> dict[str, Any]:
    """Return the entry of a large file, which is stored separately like all weights."""
    if file.suffix != ".safetensors":
        return {}
    return {"lfs": {"oid": _etag(file), "size": size, "pointerSize": 134}}


def _etag(file: Path) -> str:
    if file.suffix != ".safetensors":
        return _oid(file)
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _oid(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()
