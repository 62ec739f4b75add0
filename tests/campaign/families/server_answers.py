"""Answers of a Hub and of an Ollama server that are damaged or hostile.

The first line of an input names the request; the rest is sent to every request as it is.
"""

from __future__ import annotations

import functools
import json
import os
import random
import socket
import threading
from pathlib import Path
from typing import Any

from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol.events import to_line
from tests.campaign.family import SimpleFamily
from tests.campaign.mutation import damage_bytes, damage_json

_COMMIT = "5" * 40
_MODEL = {
    "id": "a/b", "modelId": "a/b", "sha": _COMMIT, "gated": False, "tags": ["safetensors", "license:mit"], "downloads": 3, "likes": 1,
    "lastModified": "2026-01-02T03:04:05.000Z", "config": {"architectures": ["LlamaForCausalLM"], "model_type": "llama"},
    "safetensors": {"parameters": {"BF16": 1000}, "total": 1000},
    "siblings": [{"rfilename": "config.json", "size": 3, "blobId": "0"}, {"rfilename": "model.safetensors", "size": 9, "lfs": {"sha256": "ab", "size": 9}}],
}  # fmt: skip
_ACCOUNT = {
    "type": "user",
    "name": "pim",
    "auth": {"accessToken": {"displayName": "t", "role": "read"}},
}
_HUB: dict[str, Any] = {"search": [_MODEL, _MODEL], "inspect": _MODEL, "account": _ACCOUNT}

_OLLAMA: dict[str, Any] = {
    "inspect": {"version": "0.13.5", "models": [
        {"model": "m:latest", "size": 5, "digest": "ab", "modified_at": "2026-03-04T05:06:07Z", "details": {"quantization_level": "Q8_0"}}]},
    "show": {"template": "{{ .Prompt }}", "system": "s", "parameters": 'stop "a"\ntemperature 0.5\nnum_ctx 9', "details": {"family": "llama"},
             "modelfile": f"FROM /x/sha256-{'a' * 64}\n"},
    "chat": {"message": {"role": "assistant", "content": "a", "thinking": "t"}, "done": True, "done_reason": "stop", "eval_count": 3},
    "remove": {},
}  # fmt: skip


def _write_answer(rng: random.Random, body: bytes) -> bytes:
    status = rng.choice(
        (b"200 OK",) * 8
        + (b"404 x", b"401 x", b"403 x", b"429 x", b"500 x", b"204 x", b"302 x", b"416 x", b"999 x")
    )
    length = len(body) if rng.random() < 0.9 else rng.choice((0, 1, len(body) + 9, 2**40))
    fields = [
        b"content-type: application/json",
        b"connection: close",
        b"content-length: %d" % length,
    ]
    extra = (
        b"content-encoding: gzip", b"content-encoding: br", b"transfer-encoding: chunked", b"location: /x", b"location: http://127.0.0.1:9/",
        b"etag: ../../x", b'etag: "ab"', b"x-repo-commit: ../x", b"x-error-code: GatedRepo", b"x-error-code: RevisionNotFound",
        b"link: </x>; rel=\"next\"", b"retry-after: 0", b"x-linked-size: -1", b"x: " + b"a" * 70_000, b"content-type: text/html",
    )  # fmt: skip
    for _ in range(rng.choice((0, 0, 1, 2))):
        fields.append(rng.choice(extra))
    content = b"HTTP/1.1 " + status + b"\r\n" + b"\r\n".join(fields) + b"\r\n\r\n" + body
    return damage_bytes(rng, content) if rng.random() < 0.1 else content


def _generate(rng: random.Random, seeds: dict[str, Any]) -> bytes:
    name = rng.choice(list(seeds))
    return name.encode() + b"\n" + _write_answer(rng, damage_json(rng, [seeds[name]]))


def generate_hub(rng: random.Random) -> bytes:
    """Return an answer of a Hub."""
    return _generate(rng, _HUB)


def generate_ollama(rng: random.Random) -> bytes:
    """Return an answer of an Ollama server."""
    return _generate(rng, _OLLAMA)


class _Server:
    """Sends the same bytes to each connection."""

    def __init__(self) -> None:
        self.answer = b""
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection:
                try:
                    connection.settimeout(5)
                    connection.recv(1 << 16)
                    connection.sendall(self.answer)
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(1 << 16)
                except OSError:
                    continue


@functools.cache
def _get_server() -> _Server:
    server = _Server()
    os.environ["HF_ENDPOINT"] = server.address  # read when the library is imported
    return server


def run_hub(content: bytes, sandbox: Path) -> str:
    """Search, inspect a model, and look up the account."""
    name, _, answer = content.partition(b"\n")
    server = _get_server()
    server.answer = answer
    os.environ["HF_TOKEN"] = "hf_of_the_campaign"
    from lora_studio.core.protocol import commands
    from lora_studio.engine.hub import account, models
    from tests.helpers.runs.jobs import make_job

    try:
        if name == b"search":
            for entry in account.search_models(commands.SearchModels(text="a"), make_job()):
                to_line(entry)
        elif name == b"account":
            to_line(account.read_account(make_job()))
        else:
            models.get_remote_model_info("a/b", "main", make_job())
    except ProblemError as error:
        str(error).encode("utf-8", "replace")
        return "refused"
    return "read"


def run_ollama(content: bytes, sandbox: Path) -> str:
    """List the models, show one, remove one, and chat."""
    from lora_studio.core.tasks.samples import Message
    from lora_studio.engine.export.ollama import server as ollama_server

    name, _, answer = content.partition(b"\n")
    server = _get_server()
    server.answer = answer
    try:
        if name == b"inspect":
            to_line(ollama_server.inspect_server(server.address))
        elif name == b"show":
            to_line(ollama_server.show_model(server.address, "m"))
        elif name == b"remove":
            ollama_server.remove_model(server.address, "m")
        else:
            turns = [Message(role="user", content="a")]
            for reply in ollama_server.stream(server.address, "m", turns, {}):
                json.dumps(reply.text)
    except ProblemError as error:
        str(error).encode("utf-8", "replace")
        return "refused"
    return "read"


FAMILIES = [
    SimpleFamily(
        "hub-answers", generate_hub, run_hub, seconds=10.0, smoke=20, starts_programs=True
    ),
    SimpleFamily(
        "ollama-answers", generate_ollama, run_ollama, seconds=10.0, smoke=40, starts_programs=True
    ),
]
