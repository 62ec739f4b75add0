"""Create a model in an Ollama server from a GGUF file, and chat with it."""

from __future__ import annotations

import contextvars
import hashlib
import json
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
import ollama
import ollama as official

from lora_studio.core.export import is_ollama_name, is_ollama_name_taken, suggest_ollama_name
from lora_studio.core.messages import text
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.project.project import Draft, Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.system.foreign_files import open_regular
from lora_studio.core.tasks.samples import Message
from lora_studio.engine.export.ollama.client import (
    PATIENT,
    QUICK,
    OllamaClient,
    create_client,
    translate_ollama_errors,
)
from lora_studio.engine.runtime.channel import JobContext

T = TypeVar("T")

_WHERE = Where(step="export", field="ollama_host")

#: Seconds that a server may take to unload a model.
_UNLOADING = 5.0


def inspect_server(host: str) -> events.OllamaFound:
    """Return version and models of a server; raises ProblemError when none answers."""
    server = create_client(host)
    with (
        translate_ollama_errors(server),
        server.create_http_client() as http,
        server.create_client(QUICK) as client,
    ):
        version = _read_version(server, http)
        details = [
            events.OllamaModel(
                name=model.model or "",
                bytes=model.size or 0,
                digest=model.digest or "",
                modified=model.modified_at.isoformat() if model.modified_at else "",
                quantization=(model.details and model.details.quantization_level) or "",
            )
            for model in client.list().models
        ]
    return events.OllamaFound(
        host=server.host,
        version=version,
        models=tuple(model.name for model in details),
        details=tuple(details),
    )


@dataclass(frozen=True)
class CreateRequest:
    """The name, TEMPLATE ("" for none) and parameters of a new model in Ollama, besides its weights.

    `projector` is the file with the encoders of images and audio.
    """

    name: str
    template: str
    stops: tuple[str, ...]
    system: str = ""
    parameters: Mapping[str, float | int] = field(default_factory=dict)
    projector: Path | None = None

    def describe_parameters(self) -> dict[str, Any]:
        """Return the parameters with the stop strings, as a server stores them."""
        return dict(self.parameters) | ({"stop": list(self.stops)} if self.stops else {})


def create(host: str, gguf: Path, recipe: CreateRequest, job: JobContext) -> str:
    """Upload a GGUF file and create the model; returns the file's digest. Raises ProblemError."""
    server = create_client(host)
    digests: dict[str, str] = {}
    with translate_ollama_errors(server):
        for file in (gguf, recipe.projector):
            if file is not None:
                digest = digests[file.name] = digest_file(file, job)
                run_cancellable(job, partial(_upload, server, file, digest, job))
        run_cancellable(job, lambda: _create(server, digests, recipe, job))
    return digests[gguf.name]


@dataclass(frozen=True)
class OllamaReply:
    """An answer or a piece of it.

    `finished` unless it was cut at the token limit, `prompt` counts the prompt's tokens; only the
    `last` piece has the counts.
    """

    text: str
    tokens: int
    finished: bool
    prompt: int = 0
    last: bool = True


def chat(
    host: str, name: str, messages: Sequence[Message], options: Mapping[str, Any], job: JobContext
) -> OllamaReply:
    """Return one answer of a model in Ollama; raises ProblemError with the server's reason.

    `options` are Ollama's: num_predict, temperature, top_p, seed.
    """

    def ask() -> OllamaReply:
        pieces: list[str] = []
        for part in stream(host, name, messages, options):
            job.check()
            pieces.append(part.text)
            if part.last:
                return replace(part, text="".join(pieces))
        raise fail(
            "ollama.interrupted",
            "The Ollama server at {host} stopped in the middle of its answer.",
            "Check its log (`ollama serve` prints it) and try again.",
            host=create_client(host).host,
        )

    return run_cancellable(job, ask)


def stream(
    host: str, name: str, messages: Sequence[Message], options: Mapping[str, Any]
) -> Iterator[OllamaReply]:
    """Yield the pieces of an answer as they arrive; the last has the counts. Raises ProblemError.

    Blocks in the network: call it in its own thread.
    """
    server = create_client(host)
    turns = [{"role": turn.role, "content": turn.content} for turn in messages]
    answer = _AnswerText()
    with translate_ollama_errors(server), server.create_client() as client:
        for part in client.chat(name, turns, stream=True, options=dict(options)):
            yield OllamaReply(
                answer.filter_text(part),
                part.eval_count or 0 if part.done else 1,
                bool(part.done) and part.done_reason != "length",
                part.prompt_eval_count or 0,
                bool(part.done),
            )


class _AnswerText:
    """Join the reasoning, which a server sends separately, with the answer after it."""

    def __init__(self) -> None:
        self._thinks = False

    def filter_text(self, part: ollama.ChatResponse) -> str:
        """Return the next piece of the text."""
        text, answer = part.message.thinking or "", part.message.content or ""
        if text and not self._thinks:
            text, self._thinks = f"<think>\n{text}", True
        if answer and self._thinks:
            text, self._thinks = f"{text}\n</think>\n\n", False
        return text + answer


@contextmanager
def unload_afterwards(host: str, name: str) -> Iterator[None]:
    """Unload a model at the end of the block, which would stay on the GPU for five minutes otherwise.

    A model that was loaded before, or that a server elsewhere runs, stays. Failures are ignored.
    """
    server = create_client(host)
    was_free = server.is_loopback and _is_loaded(server, name) is False
    try:
        yield
    finally:
        if was_free and _is_loaded(server, name):
            with (
                suppress(ProblemError),
                translate_ollama_errors(server),
                server.create_http_client() as http,
            ):
                http.post("/api/generate", json={"model": name, "keep_alive": 0})
            until = time.monotonic() + _UNLOADING
            while _is_loaded(server, name) and time.monotonic() < until:
                time.sleep(0.1)


def _is_loaded(server: OllamaClient, name: str) -> bool | None:
    """Return whether a model is in memory, None if the server doesn't tell."""
    try:
        with translate_ollama_errors(server), server.create_http_client() as http:
            answer = http.get("/api/ps")
            answer.raise_for_status()
            loaded = [each["name"] for each in answer.json()["models"]]
    except ProblemError:
        return None
    return name in loaded or f"{name}:latest" in loaded


def get_model_name(project: Project) -> str:
    """Return the name of a project's model in Ollama."""
    return project.export.ollama_name or suggest_ollama_name(project.name)


def answer_conversations(project: Project, command: commands.Generate, job: JobContext) -> None:
    """Answer conversations with a project's model in Ollama; raises ProblemError."""
    options = {
        "num_predict": command.max_tokens,
        "temperature": command.temperature,
        "top_p": command.top_p,
        "seed": command.seed,
    }
    for index, turns in enumerate(command.conversations):
        job.report_progress(
            text("generating answers ({source})", source="ollama"),
            index,
            len(command.conversations),
            "answers",
        )
        reply = chat(project.export.ollama_host, get_model_name(project), turns, options, job)
        job.emit(
            events.Generated(
                source="ollama",
                index=index,
                text=reply.text,
                tokens=reply.tokens,
                finished=reply.finished,
            )
        )


def _read_version(server: OllamaClient, http: httpx.Client) -> str:
    answer = http.get("/api/version")
    answer.raise_for_status()
    try:
        return str(answer.json()["version"])
    except (ValueError, KeyError, TypeError):
        raise fail(
            "ollama.not_ollama",
            "The server at {host} is not Ollama.",
            "Check the address and the port. Ollama's default port is {port:d}.",
            where=_WHERE,
            host=server.host,
            port=11434,
        ) from None


def _upload(server: OllamaClient, file: Path, digest: str, job: JobContext) -> None:
    """Send the file unless the server already has it."""
    with server.create_http_client(PATIENT) as http:
        if http.head(f"/api/blobs/{digest}").is_success:
            return
        size = file.stat().st_size
        answer = http.post(
            f"/api/blobs/{digest}",
            content=read_chunks(file, size, job),
            headers={"content-length": str(size)},
        )
        answer.raise_for_status()


def _create(
    server: OllamaClient, files: Mapping[str, str], recipe: CreateRequest, job: JobContext
) -> None:
    status = ""
    with server.create_client() as client:
        for part in client.create(
            recipe.name,
            files=dict(files),
            template=recipe.template or None,
            system=recipe.system or None,
            parameters=recipe.describe_parameters(),
            stream=True,
        ):
            status = part.status or status
            job.report_progress(
                text("creating the model in Ollama"), part.completed or 0, part.total
            )
    if status != "success":
        raise fail(
            "ollama.not_created",
            "The Ollama server at {host} stopped while creating {model}.",
            "Check its log (`ollama serve` prints it) and export again.",
            where=_WHERE,
            host=server.host,
            model=recipe.name,
        )


def run_cancellable(job: JobContext, work: Callable[[], T]) -> T:
    """Run work that may block in the network in a thread; abandon it on a cancel.

    The thread has the context of the caller, and so the reason that it declared for its contacts.
    """
    context = contextvars.copy_context()
    results: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put((context.run(work), None))
        except BaseException as error:
            results.put((None, error))

    threading.Thread(target=run, name="ollama", daemon=True).start()
    while True:
        job.check()
        try:
            value, error = results.get(timeout=0.2)
        except queue.Empty:
            continue
        if error is not None:
            raise error
        return value  # type: ignore[return-value]  # without an error there is a value


_CHUNK = 1 << 20


def digest_file(file: Path, job: JobContext) -> str:
    """Return the digest of a file as Ollama names blobs: `sha256:` and 64 hex digits."""
    total = file.stat().st_size
    digest = hashlib.sha256()
    with open_regular(file) as opened:
        while chunk := opened.read(_CHUNK):
            digest.update(chunk)
            job.report_progress(text("hashing the GGUF file"), opened.tell(), total, "bytes")
    return f"sha256:{digest.hexdigest()}"


def read_chunks(file: Path, size: int, job: JobContext) -> Iterator[bytes]:
    """Yield the bytes of a file of `size` bytes to upload, with progress."""
    with open_regular(file) as opened:
        while chunk := opened.read(_CHUNK):
            job.report_progress(text("uploading to Ollama"), opened.tell(), size, "bytes")
            yield chunk


_WHERE_NAME = Where(step="export", field="ollama_name")
_BLOB = re.compile(r"^(.*sha256[-:]([0-9a-f]{64}))\s*$")


def show_model(host: str, name: str) -> events.OllamaShown:
    """Return what the server has stored for a model; raises ProblemError when there is none."""
    server = create_client(host)
    with translate_ollama_errors(server), server.create_http_client() as http:
        # The official client drops the system prompt.
        answer = http.post("/api/show", json={"model": name})
        if answer.status_code == 404:
            raise _missing_model_error(host, name)
        answer.raise_for_status()
        shown: dict[str, Any] = answer.json()
        return read_shown(server.host, name, shown)


def read_shown(host: str, name: str, shown: dict[str, Any]) -> events.OllamaShown:
    """Return what the answer of /api/show says about a model."""
    parameters, stops = _parse_parameters(shown.get("parameters") or "")
    commands = _parse_modelfile(shown.get("modelfile") or "")
    blob = _BLOB.match(commands.get("FROM", ""))
    details = shown.get("details") or {}
    selected = shown.get("template") or ""
    stored = commands.get("TEMPLATE", selected)
    info = shown.get("model_info") or {}
    return events.OllamaShown(
        host=host,
        name=name,
        template=stored,
        chat_template=selected if selected != stored else "",
        system=shown.get("system") or "",
        stops=stops,
        parameters=parameters,
        digest=f"sha256:{blob[2]}" if blob else "",
        file=blob[1] if blob else "",
        family=details.get("family") or "",
        quantization=details.get("quantization_level") or "",
        # Servers have these fields, and leave them empty.
        renderer=commands.get("RENDERER", shown.get("renderer") or ""),
        parser=commands.get("PARSER", shown.get("parser") or ""),
        capabilities=tuple(map(str, shown.get("capabilities") or ())),
        header={key: value for key, value in info.items() if isinstance(value, str | int | float)},
    )


def copy_model(host: str, source: str, target: str, *, force: bool = False) -> None:
    """Copy a model to a second name; raises ProblemError when that exists, unless `force`."""
    server = create_client(host)
    check_name(target)
    if not force and is_ollama_name_taken(target, inspect_server(host).models):
        raise name_exists_error(target, server.host)
    with translate_ollama_errors(server), server.create_client(QUICK) as client:
        try:
            client.copy(source, target)
        except official.ResponseError as error:
            raise _translate_missing(error, host, source) from error


def remove_model(host: str, name: str) -> None:
    """Remove a model; raises ProblemError when there is none of that name."""
    server = create_client(host)
    with translate_ollama_errors(server), server.create_client(QUICK) as client:
        try:
            client.delete(name)
        except official.ResponseError as error:
            raise _translate_missing(error, host, name) from error


def check_name(name: str) -> None:
    """Raise ProblemError for a name that no server accepts."""
    if not is_ollama_name(name):
        draft = Draft()
        draft.set("export", "ollama_name", name)
        raise ProblemError(draft.list_problems())


def name_exists_error(name: str, host: str) -> ProblemError:
    """Return the error that a model of this name exists."""
    return fail(
        "ollama.exists",
        "The model {model} already exists at {host}.",
        "Choose another name or tag, or replace it (`{option}` on the command line).",
        where=_WHERE_NAME,
        model=name,
        host=host,
        option="--force",
    )


def _translate_missing(error: official.ResponseError, host: str, name: str) -> Exception:
    return _missing_model_error(host, name) if error.status_code == 404 else error


def _missing_model_error(host: str, name: str) -> ProblemError:
    models = inspect_server(host).models
    return fail(
        "ollama.no_model",
        "Ollama has no model {model}.",
        "Available models: {names}." if models else "It has no models yet.",
        where=_WHERE_NAME,
        model=name,
        names=", ".join(models[:8]),
    )


def _parse_modelfile(source: str) -> dict[str, str]:
    """Return the first value of each command of a Modelfile that a server writes.

    Only texts with line breaks, or with blanks at an end, are quoted (parser/parser.go, quote,
    0.33.0-rc2). What follows a quote that isn't closed is ignored.
    """
    commands: dict[str, str] = {}
    start = 0
    while start < len(source):
        end = (source.find("\n", start) + 1 or len(source) + 1) - 1
        name, blank, value = source[start:end].partition(" ")
        quote = next((mark for mark in ('"""', '"') if value.startswith(mark)), "")
        if quote and not (len(value) >= 2 * len(quote) and value.endswith(quote)):
            first = start + len(name + blank + quote)
            last = source.find(f"{quote}\n", first)
            if last < 0:
                break
            value, end = source[first:last], last + len(quote)
        elif quote and value.strip(f"{quote} ") != value.strip(quote):
            value = value.removeprefix(quote).removesuffix(quote)
        if not name.startswith("#"):
            commands.setdefault(name, value)
        start = end + 1
    return commands


def _parse_parameters(text: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """Parse the parameters and stop strings of a server's listing, one per line, texts in quotes."""
    parameters: dict[str, str] = {}
    stops: list[str] = []
    for line in text.split("\n"):
        name, _, value = line.strip().partition(" ")
        value = value.strip()
        if value.startswith('"'):
            try:
                value = str(json.loads(value))
            except ValueError:  # Go quotes a few characters in another way than JSON
                value = value[1:-1]
        if name == "stop":
            stops.append(value)
        elif name:
            parameters[name] = value
    return parameters, tuple(stops)
