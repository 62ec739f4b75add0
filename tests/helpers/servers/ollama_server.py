"""A small HTTP server that implements Ollama's API, for faults on demand and for chat.

It creates models and builds prompts by the rules of its `version` (`ollama_rules.py`). With
`counts_tokens` it counts the tokens of a prompt like Ollama. It answers every chat with the last message,
word by word and backwards, after its `thought` if it has one, and embeds texts with llama.cpp. Up to 0.9.3,
`real_ollama.py` is the real server.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from lora_studio.core.problems import InvalidContentError
from lora_studio.engine.model import gguf_header
from lora_studio.engine.runtime import llama_cpp
from lora_studio.engine.runtime.llama_cpp import EmbeddingLlama
from tests.helpers.servers.ollama_rules import DEFAULT_TEMPLATE, Created, Rules, quote
from tests.helpers.servers.ports import run_server

VERSION = "0.13.5"


@dataclass
class Faults:
    """The faults of the server, and when they happen; all off at first.

    `stores` is what it stores in place of what it received. `rewrites` changes each prompt, and
    `shows_unchanged` hides that from clients that ask for the prompt. With `refuses_to_render` it shows
    no prompt.
    """

    password: str = ""
    upload_breaks_after: int = -1
    create_error: str = ""
    create_breaks_off: bool = False
    chat_error: str = ""
    seconds_per_word: float = 0.0
    not_ollama: bool = False
    stores: dict[str, Any] = field(default_factory=dict)
    extra_tokens: int = 0
    rewrites: Callable[[str], str] = str
    shows_unchanged: bool = False
    refuses_to_render: str = ""


@dataclass
class FakeOllama:
    """The server's address, what it received, and its faults.

    `answer` is what every model writes, and `counter` counts the tokens of a prompt in place of llama.cpp.
    `loaded` are the models in memory.
    """

    host: str = ""
    faults: Faults = field(default_factory=Faults)
    blobs: dict[str, bytes] = field(default_factory=dict)
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    words_sent: int = 0
    counts_tokens: bool = False
    version: str = VERSION
    thought: str = ""
    go_template: bool | None = None
    store: Path | None = None
    tokens: dict[str, dict[str, str]] = field(default_factory=dict)
    answer: str = ""
    loaded: set[str] = field(default_factory=set)
    counter: Callable[[str], int] | None = None

    @property
    def rules(self) -> Rules:
        """Return the rules of this server's version and environment."""
        return Rules(self.version, self.go_template)


@contextlib.contextmanager
def fake_ollama() -> Iterator[FakeOllama]:
    """Run a server on a free local port."""
    state = FakeOllama()
    handler = type("Handler", (_Handler,), {"state": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    state.host = f"http://127.0.0.1:{server.server_port}"
    with run_server(server):
        yield state


def _full(name: str) -> str:
    return name if ":" in name else f"{name}:latest"


def _listed(name: str, model: dict[str, Any]) -> dict[str, Any]:
    (digest,) = model["files"].values()
    return {
        "model": name,
        "size": 5_120_004,
        "digest": digest.removeprefix("sha256:"),
        "modified_at": "2026-03-04T05:06:07Z",
        "details": {"quantization_level": "Q8_0"},
    }


def _read_header(content: bytes) -> dict[str, Any]:
    """Return the plain values of a GGUF file; {} for anything else."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.gguf")
        file.write_bytes(content)
        try:
            return gguf_header.read(file).values
        except (InvalidContentError, OSError):
            return {}


def _shown(state: FakeOllama, model: dict[str, Any]) -> dict[str, Any]:
    """Return the model as the real server shows it: parameters as lines, the file in a Modelfile."""
    lines: list[str] = []
    for name, value in model["parameters"].items():
        values = value if isinstance(value, list) else [value]
        lines += [f"{name:30} {json.dumps(v) if isinstance(v, str) else v}" for v in values]
    (digest,) = model["files"].values()
    folder = state.store or Path("/root/.ollama/models/blobs")
    created, jinja = _read_created(model), model["jinja"]
    selected = state.rules.select(created, model["architecture"], jinja)
    stored = model["template"] or DEFAULT_TEMPLATE
    commands = [("FROM", str(folder / digest.replace(":", "-"))), ("TEMPLATE", stored)]
    commands += [(key.upper(), model[key]) for key in ("renderer", "parser") if model[key]]
    modelfile = "".join(f"{name} {quote(value)}\n" for name, value in commands)
    return {
        # server/routes.go, selectedModelTemplate: since 0.30 the one that is used.
        "template": jinja if selected == "jinja" else stored,
        "system": model.get("system"),
        "parameters": "\n".join(lines),
        "modelfile": f"# Modelfile\n{modelfile}",
        "details": {"family": model["architecture"], "quantization_level": "Q8_0"},
        "capabilities": [
            *state.rules.capabilities(selected, created, jinja),
            *["vision"] * bool(model.get("projectors")),
        ],
        "model_info": model["header"],
    }


def _read_created(model: dict[str, Any]) -> Created:
    return Created(model["template"], model["renderer"], model["parser"], model["parameters"])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two packets
    state: FakeOllama

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def handle(self) -> None:
        """Ignore clients that disconnect; tests do so on purpose."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def do_HEAD(self) -> None:
        if self._admitted():
            digest = self.path.rpartition("/")[2]
            self._answer(200 if digest in self.state.blobs else 404, b"")

    def do_GET(self) -> None:
        if not self._admitted():
            return
        if self.state.faults.not_ollama:
            self._answer(200, b"<html>a router</html>")
        elif self.path == "/api/version":
            self._json(200, {"version": self.state.version})
        elif self.path == "/api/ps":
            self._json(200, {"models": [{"name": name} for name in sorted(self.state.loaded)]})
        elif self.path == "/api/tags":
            self._json(200, {"models": [_listed(*item) for item in self.state.models.items()]})
        else:
            self._json(404, {"error": "not found"})

    def do_POST(self) -> None:
        if not self._admitted():
            return
        if self.path.startswith("/api/blobs/"):
            self._blob(self.path.rpartition("/")[2])
            return
        request = json.loads(self._body())
        if self.path in ("/api/chat", "/api/embed"):
            self.state.loaded.add(_full(request["model"]))
        match self.path:
            case "/api/generate":  # unloads; this server generates by /api/chat only
                assert request["keep_alive"] == 0
                self.state.loaded.discard(_full(request["model"]))
                self._json(200, {"done": True, "done_reason": "unload"})
            case "/api/create":
                self._create(request)
            case "/api/show":
                model = self.state.models.get(_full(request["model"]))
                self._json(200, _shown(self.state, model)) if model else self._json(
                    404, {"error": "not found"}
                )
            case "/api/copy":
                model = self.state.models.get(_full(request["source"]))
                if model:
                    self.state.models[_full(request["destination"])] = dict(model)
                self._json(200, {}) if model else self._json(404, {"error": "not found"})
            case "/api/chat":
                self._chat(request)
            case "/api/embed":
                self._embed(request)

    def do_DELETE(self) -> None:
        if self._admitted():
            removed = self.state.models.pop(_full(json.loads(self._body())["model"]), None)
            self._json(200, {}) if removed else self._json(404, {"error": "model not found"})

    def _admitted(self) -> bool:
        self.state.requests.append(f"{self.command} {self.path}")
        password = self.state.faults.password
        expected = "Basic " + base64.b64encode(password.encode()).decode()
        if password and self.headers.get("authorization") != expected:
            self.close_connection = True
            self._json(401, {"error": "unauthorized"})
            return False
        return True

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["content-length"]))

    def _blob(self, digest: str) -> None:
        limit = self.state.faults.upload_breaks_after
        if limit >= 0:
            self.rfile.read(limit)
            self.close_connection = True
            self.connection.close()
            return
        content = self._body()
        if digest != f"sha256:{hashlib.sha256(content).hexdigest()}":
            self._json(400, {"error": "digest mismatch"})
            return
        self.state.blobs[digest] = content
        self._answer(201, b"")

    def _create(self, body: dict[str, Any]) -> None:
        lines: list[dict[str, Any]] = [{"status": "parsing GGUF"}]
        missing = [name for name in body["files"].values() if name not in self.state.blobs]
        if self.state.faults.create_error:
            lines.append({"error": self.state.faults.create_error})
        elif missing:
            lines.append({"error": f"no blob {missing[0]}"})
        elif body.get("adapters") and self.state.rules.refuses_adapters:
            lines.append({"error": "ADAPTER is no longer supported"})
        elif not self.state.faults.create_breaks_off:
            lines += [{"status": "writing manifest"}, {"status": "success"}]
            self.state.models[_full(body["model"])] = self._store(body) | self.state.faults.stores
        self._lines(lines)

    def _store(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the model with what the server adds to it by itself."""
        headers = {
            name: _read_header(self.state.blobs[blob]) for name, blob in body["files"].items()
        }
        # server/create.go: since 0.30.4 a file whose header says so is a projector.
        projectors = {n: body["files"][n] for n, h in headers.items() if h.get("general.type") == "mmproj"}  # fmt: skip
        ((name, digest),) = body["files"].items() - projectors.items()
        content, header = self.state.blobs[digest], headers[name]
        architecture = str(header.get("general.architecture", "llama"))
        jinja = str(header.get("tokenizer.chat_template", ""))
        created = self.state.rules.create(body, architecture, jinja)
        if self.state.rules.copies_files and header:
            content += bytes(32)  # the same tensors and values under another digest
            digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
            self.state.blobs[digest] = content
        if self.state.store:
            (self.state.store / digest.replace(":", "-")).write_bytes(content)
        added = {"template": created.template, "parameters": created.parameters}
        added |= {"renderer": created.renderer, "parser": created.parser}
        added |= {"files": {name: digest}, "projectors": projectors}
        added |= {"architecture": architecture, "jinja": jinja}
        # server/routes.go, GetModelInfo: without these two, and without long lists.
        hidden = ("general.name", "tokenizer.chat_template")
        info = {key: value for key, value in header.items() if key not in hidden}
        return body | added | {"header": info}

    def _show_prompt(self, body: dict[str, Any]) -> None:
        model = self.state.models[_full(body["model"])]
        prompt = self._build_prompt(model, body)
        if self.state.faults.refuses_to_render:
            self._json(500, {"error": self.state.faults.refuses_to_render})
            return
        if not self.state.faults.shows_unchanged:
            prompt = self.state.faults.rewrites(prompt)
        self._json(200, {"model": body["model"], "_debug_info": {"rendered_template": prompt}})

    def _build_prompt(self, model: dict[str, Any], body: dict[str, Any]) -> str:
        (digest,) = model["files"].values()
        messages = body["messages"]
        if model.get("system") and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": model["system"]}, *messages]
        created = _read_created(model)
        selected = self.state.rules.select(created, model["architecture"], model["jinja"])
        tokens = self._read_tokens(digest) if selected == "jinja" else {}
        return self.state.rules.prompt(
            selected, created, model["jinja"], tokens, body | {"messages": messages}
        )

    def _read_tokens(self, digest: str) -> dict[str, str]:
        """Return the special tokens that llama.cpp hands to a chat template."""
        if digest not in self.state.tokens:
            with self._open_blob(digest) as file:
                with llama_cpp.Llama(file, context=128) as model:
                    bos, eos = model.get_bos_and_eos()
                adds = {"adds_bos": "yes"} if llama_cpp.should_add_bos(file) else {}
            self.state.tokens[digest] = {"bos_token": bos, "eos_token": eos, **adds}
        return self.state.tokens[digest]

    @contextlib.contextmanager
    def _open_blob(self, digest: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "model.gguf")
            file.write_bytes(self.state.blobs[digest])
            yield file

    def _chat(self, body: dict[str, Any]) -> None:
        if body.get("_debug_render_only") and self.state.rules.shows_prompts:
            self._show_prompt(body)
            return
        if self.state.faults.chat_error:
            self._json(500, {"error": self.state.faults.chat_error})
            return
        words = body["messages"][-1]["content"].split()[::-1]
        limit = body.get("options", {}).get("num_predict", len(words))
        if body.get("stream") is False:
            message = {"role": "assistant", "content": " ".join(words[:limit])}
            if self.state.answer:
                message |= self._parse(body)
            answer = {"message": message, "done": True, "prompt_eval_count": self._prompt(body)}
            self._json(200, answer)
            return
        self._begin_lines()
        for word in self.state.thought.split():
            thought = {"role": "assistant", "content": "", "thinking": word + " "}
            self._line({"message": thought, "done": False})
        for word in words[:limit]:
            time.sleep(self.state.faults.seconds_per_word)
            self._line({"message": {"role": "assistant", "content": word + " "}, "done": False})
            self.state.words_sent += 1
        final = {"message": {"role": "assistant", "content": ""}, "done": True}
        reason = "length" if limit < len(words) else "stop"
        counts = {"eval_count": min(limit, len(words)), "prompt_eval_count": self._prompt(body)}
        self._line(final | {"done_reason": reason} | counts)
        self.wfile.write(b"0\r\n\r\n")

    def _embed(self, body: dict[str, Any]) -> None:
        """Answer with the vector of a text, as llama.cpp computes it from the file."""
        if self.state.faults.chat_error:
            self._json(500, {"error": self.state.faults.chat_error})
            return
        (digest,) = self.state.models[_full(body["model"])]["files"].values()
        with self._open_blob(digest) as file, EmbeddingLlama(file) as llama:
            content = self.state.faults.rewrites(body["input"])
            vector = llama.embed(llama.tokenize(content, add_special=True))
        assert vector is not None
        self._json(200, {"model": body["model"], "embeddings": [vector.tolist()]})

    def _parse(self, body: dict[str, Any]) -> dict[str, Any]:
        model = self.state.models[_full(body["model"])]
        created, rules = _read_created(model), self.state.rules
        selected = rules.select(created, model["architecture"], model["jinja"])
        return rules.parse(selected, created, model["jinja"], self.state.answer, body)

    def _prompt(self, body: dict[str, Any]) -> int:
        """Return the number of tokens of the prompt that the server builds, as llama.cpp counts them."""
        model = self.state.models.get(_full(body["model"]))
        if model is None or not self.state.counts_tokens:
            return 0
        (digest,) = model["files"].values()
        prompt = self.state.faults.rewrites(self._build_prompt(model, body))
        if self.state.counter is not None:
            return self.state.counter(prompt) + self.state.faults.extra_tokens
        with self._open_blob(digest) as file:
            return (
                len(llama_cpp.tokenize_prompts(file, [prompt])[0]) + self.state.faults.extra_tokens
            )

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _json(self, status: int, content: object) -> None:
        self._answer(status, json.dumps(content).encode())

    def _lines(self, lines: list[dict[str, Any]]) -> None:
        self._begin_lines()
        for line in lines:
            self._line(line)
        self.wfile.write(b"0\r\n\r\n")

    def _begin_lines(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/x-ndjson")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def _line(self, content: dict[str, Any]) -> None:
        raw = json.dumps(content).encode() + b"\n"
        self.wfile.write(f"{len(raw):x}\r\n".encode() + raw + b"\r\n")
        self.wfile.flush()
