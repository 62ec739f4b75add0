"""The Hub server with the part of its API that uploads need: repositories, large files, commits."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.helpers.servers.ports import run_server

TOKEN = "hf_" + "w" * 30
COMMIT = "7" * 40

_REPOSITORY = re.compile(r"/api/models/([^/]+/[^/]+?)(?:/(preupload|commit|revision)/main)?")
_BATCH = re.compile(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch")
_OBJECT = re.compile(r"/objects/([0-9a-f]{64})")

#: Suffixes of files that the Hub treats as large.
_LARGE = (".safetensors", ".gguf")


@dataclass
class Repository:
    """A repository: whether it is private, and its files."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)


@dataclass
class Uploads:
    """The content of the server. `refuse` is the status of the answer to every write, if any."""

    address: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    refuse: int | None = None


@contextmanager
def upload_server() -> Iterator[Uploads]:
    """Run the server on a free local port until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    uploads = Uploads(f"http://127.0.0.1:{server.server_address[1]}")
    server.uploads = uploads  # type: ignore[attr-defined]  # a server carries what its handlers need
    with run_server(server):
        yield uploads


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def uploads(self) -> Uploads:
        return self.server.uploads  # type: ignore[attr-defined,no-any-return]  # set above

    def do_GET(self) -> None:
        path = self._log_request()
        match = _REPOSITORY.fullmatch(path)
        if path == "/api/whoami-v2":
            self._json({"name": "someone", "type": "user", "auth": {}})
        elif match and match[1] in self.uploads.repositories:
            repository = self.uploads.repositories[match[1]]
            self._json(
                {"id": match[1], "modelId": match[1], "private": repository.private, "sha": COMMIT}
            )
        else:
            self._json({"error": "not found"}, 404)

    def do_PUT(self) -> None:
        match = _OBJECT.fullmatch(self._log_request())
        body = self._body()
        assert match is not None
        if hashlib.sha256(body).hexdigest() != match[1]:
            self._json({"error": "not what was announced"}, 400)
            return
        self.uploads.objects[match[1]] = body
        self._json({})

    def do_POST(self) -> None:
        path = self._log_request()
        body = self._body()
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._json({"error": "Invalid credentials"}, 401)
        elif self.uploads.refuse is not None:
            self._json({"error": "refused"}, self.uploads.refuse)
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif path == "/api/validate-yaml":
            self._json({"warnings": [], "errors": []})
        elif match := _BATCH.fullmatch(path):
            self._batch(json.loads(body))
        elif (match := _REPOSITORY.fullmatch(path)) and match[2] == "preupload":
            self._preupload(json.loads(body))
        elif match and match[2] == "commit":
            self._commit(match[1], body.decode())
        else:
            self._json({"error": "not found"}, 404)

    def _create(self, body: dict[str, Any]) -> None:
        name = f"{body.get('organization') or 'someone'}/{body['name']}"
        address = {"url": f"{self.uploads.address}/{name}", "name": name, "id": "1"}
        if name in self.uploads.repositories:
            self._json({"error": "You already created this model repo"} | address, 409)
            return
        private = bool(body.get("private") or body.get("visibility") == "private")
        self.uploads.repositories[name] = Repository(private)
        self._json(address)

    def _preupload(self, body: dict[str, Any]) -> None:
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(_LARGE) else "regular",
                "shouldIgnore": False,
                "oid": None,
            }
            for file in body["files"]
        ]
        self._json({"files": modes, "commitOid": COMMIT})

    def _batch(self, body: dict[str, Any]) -> None:
        """Answer where to put each object; nothing for objects that already exist."""
        objects = []
        for uploaded in body["objects"]:
            entry: dict[str, Any] = {"oid": uploaded["oid"], "size": uploaded["size"]}
            if uploaded["oid"] not in self.uploads.objects:
                upload = {"href": f"{self.uploads.address}/objects/{uploaded['oid']}"}
                entry["actions"] = {"upload": upload}
            objects.append(entry)
        self._json({"transfer": "basic", "objects": objects})

    def _commit(self, name: str, body: str) -> None:
        repository = self.uploads.repositories[name]
        for line in filter(None, body.split("\n")):
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                repository.messages.append(value["summary"])
            elif entry["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                repository.files[value["path"]] = self.uploads.objects[value["oid"]]
        self._json(
            {
                "commitUrl": f"{self.uploads.address}/{name}/commit/{COMMIT}",
                "commitOid": COMMIT,
                "success": True,
            }
        )

    def _log_request(self) -> str:
        path = self.path.partition("?")[0]
        self.uploads.requests.append(f"{self.command} {path}")
        return path

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _json(self, value: Any, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name it has there
        """Log nothing; tests look at `Uploads.requests`."""
