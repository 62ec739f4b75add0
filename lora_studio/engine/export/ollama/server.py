"""An Ollama server: whether it answers, creating a model in it from a GGUF file, chatting with it."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import os
import queue
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import httpx
import ollama

from lora_studio.core.dataset.spec import Message
from lora_studio.core.export import suggested_ollama_name
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.engine.runtime.channel import JobContext

T = TypeVar("T")

_CHUNK = 1 << 20
QUICK = httpx.Timeout(10.0, connect=5.0)
#: Loading or creating a large model is silent for minutes; a cancel is heeded all the same.
_PATIENT = httpx.Timeout(60.0, connect=5.0, read=None)

_WHERE = Where(step="export", field="ollama_host")
_NO_MODEL = re.compile(r"model ['\"](.+)['\"] not found")


@dataclass(frozen=True)
class OllamaClient:
    """Where a server is. `host` is safe to show: a password of the address is only in `headers`."""

    host: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this computer, where no proxy is asked."""
        name = urlsplit(self.host).hostname or ""
        try:
            return name == "localhost" or ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False

    def http(self, timeout: httpx.Timeout = QUICK) -> httpx.Client:
        """A plain client, for what the official one has no call for."""
        return httpx.Client(base_url=self.host, **self._settings(timeout))

    def client(self, timeout: httpx.Timeout = _PATIENT) -> ollama.Client:
        """The official client."""
        return ollama.Client(self.host, **self._settings(timeout))

    def _settings(self, timeout: httpx.Timeout) -> dict[str, Any]:
        return {
            "headers": dict(self.headers),
            "timeout": timeout,
            "trust_env": not self.is_loopback,
        }


def server(host: str) -> OllamaClient:
    """The server meant by an address, else by OLLAMA_HOST, else on this computer.

    `user:password@` in an address becomes a Basic authorisation header (RFC 7617). What names a
    server without them, as a kept conversation does, gets those that OLLAMA_HOST has for it.
    """
    usual = os.environ.get("OLLAMA_HOST", "").strip()
    named = _place(host.strip() or usual or "127.0.0.1:11434")
    if not named.headers and "@" in usual and (known := _place(usual)).host == named.host:
        return known
    return named


def _place(address: str) -> OllamaClient:
    credentials, at, _ = re.sub(r"^\w+://", "", address).partition("/")[0].rpartition("@")
    headers = {}
    if at:
        address = address.replace(f"{credentials}@", "", 1)
        token = base64.b64encode(unquote(credentials).encode()).decode()
        headers["authorization"] = f"Basic {token}"
    # A server told to listen everywhere is reached on the loopback.
    address = re.sub(r"^(\w+://)?0\.0\.0\.0(?=[:/]|$)", r"\g<1>127.0.0.1", address)
    try:
        with ollama.Client(address) as client:
            url = str(client._client.base_url).rstrip("/")
    except ValueError as error:
        raise fail(
            "ollama.bad_address",
            f"The Ollama address cannot be understood: {error}.",
            "Write it like http://127.0.0.1:11434.",
            where=_WHERE,
        ) from None
    return OllamaClient(url, headers)


def find(host: str) -> events.OllamaFound:
    """Version and models of a server; raises ProblemError when none answers."""
    place = server(host)
    with problems(place), place.http() as http, place.client(QUICK) as client:
        version = _version(place, http)
        details = [_details(model) for model in client.list().models]
    return events.OllamaFound(
        host=place.host,
        version=version,
        models=tuple(model.name for model in details),
        details=tuple(details),
    )


def _details(model: ollama.ListResponse.Model) -> events.OllamaModel:
    return events.OllamaModel(
        name=model.model or "",
        bytes=model.size or 0,
        digest=model.digest or "",
        modified=model.modified_at.isoformat() if model.modified_at else "",
        quantization=(model.details and model.details.quantization_level) or "",
    )


@dataclass(frozen=True)
class CreateRequest:
    """What the model in Ollama is made of, besides the weights."""

    name: str
    template: str
    stops: tuple[str, ...]
    system: str = ""
    parameters: Mapping[str, float | int] = field(default_factory=dict)


def create(host: str, gguf: Path, recipe: CreateRequest, job: JobContext) -> str:
    """Uploads a GGUF file and creates the model; returns the file's digest. Raises ProblemError."""
    place = server(host)
    with problems(place):
        digest = _digest(gguf, job)
        _heeding(job, lambda: _upload(place, gguf, digest, job))
        _heeding(job, lambda: _create(place, gguf, digest, recipe, job))
    return digest


@dataclass(frozen=True)
class OllamaReply:
    """An answer or a piece of it; `finished` unless it was cut at the limit of tokens, `prompt` its
    prompt's tokens; of pieces the `last` one has the counts."""

    text: str
    tokens: int
    finished: bool
    prompt: int = 0
    last: bool = True


def chat(
    host: str, name: str, messages: Sequence[Message], options: Mapping[str, Any], job: JobContext
) -> OllamaReply:
    """One answer of a model in Ollama; raises ProblemError with the server's reason.

    `options` are Ollama's: num_predict, temperature, top_p, seed.
    """
    place = server(host)
    turns = [{"role": turn.role, "content": turn.content} for turn in messages]

    def ask() -> OllamaReply:
        pieces: list[str] = []
        whole = _Whole()
        with place.client() as client:
            for part in client.chat(name, turns, stream=True, options=dict(options)):
                job.check()
                pieces.append(whole.text(part))
                if part.done:
                    finished = part.done_reason != "length"
                    asked = part.prompt_eval_count or 0
                    return OllamaReply("".join(pieces), part.eval_count or 0, finished, asked)
        raise fail(
            "ollama.interrupted",
            f"The Ollama server at {place.host} broke off its answer.",
            "Look into its log (`ollama serve` prints it) and try again.",
        )

    with problems(place):
        return _heeding(job, ask)


def stream(
    host: str, name: str, messages: Sequence[Message], options: Mapping[str, Any]
) -> Iterator[OllamaReply]:
    """The pieces of an answer as they come; the last one has its counts. Raises ProblemError.

    Blocks in the network: to be called in a thread of its own.
    """
    place = server(host)
    turns = [{"role": turn.role, "content": turn.content} for turn in messages]
    whole = _Whole()
    with problems(place), place.client() as client:
        for part in client.chat(name, turns, stream=True, options=dict(options)):
            yield OllamaReply(
                whole.text(part),
                part.eval_count or 0 if part.done else 1,
                bool(part.done) and part.done_reason != "length",
                part.prompt_eval_count or 0,
                bool(part.done),
            )


class _Whole:
    """Puts thoughts, which a server hands over apart, back in front of the answer."""

    def __init__(self) -> None:
        self._thinks = False

    def text(self, part: ollama.ChatResponse) -> str:
        """The next piece of the text."""
        text, said = part.message.thinking or "", part.message.content or ""
        if text and not self._thinks:
            text, self._thinks = f"<think>\n{text}", True
        if said and self._thinks:
            text, self._thinks = f"{text}\n</think>\n\n", False
        return text + said


def model_name(project: Project) -> str:
    """The name of a project's model in Ollama."""
    return project.export.ollama_name or suggested_ollama_name(project.name)


def answer(project: Project, command: commands.Generate, job: JobContext) -> None:
    """Answers conversations with a project's model in Ollama; raises ProblemError."""
    options = {
        "num_predict": command.max_tokens,
        "temperature": command.temperature,
        "top_p": command.top_p,
        "seed": command.seed,
    }
    for index, turns in enumerate(command.conversations):
        job.progress("answering with ollama", index, len(command.conversations), "answers")
        reply = chat(project.export.ollama_host, model_name(project), turns, options, job)
        job.emit(
            events.Generated(
                source="ollama",
                index=index,
                text=reply.text,
                tokens=reply.tokens,
                finished=reply.finished,
            )
        )


def _version(place: OllamaClient, http: httpx.Client) -> str:
    answer = http.get("/api/version")
    answer.raise_for_status()
    try:
        return str(answer.json()["version"])
    except (ValueError, KeyError, TypeError):
        raise fail(
            "ollama.not_ollama",
            f"Something answers at {place.host}, but it is not Ollama.",
            "Check the address and the port; Ollama's own is 11434.",
            where=_WHERE,
        ) from None


def _digest(file: Path, job: JobContext) -> str:
    total = file.stat().st_size
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            digest.update(chunk)
            job.progress("hashing the GGUF file", opened.tell(), total, "bytes")
    return f"sha256:{digest.hexdigest()}"


def _upload(place: OllamaClient, file: Path, digest: str, job: JobContext) -> None:
    """Sends the file unless the server has it from before."""
    with place.http(_PATIENT) as http:
        if http.head(f"/api/blobs/{digest}").is_success:
            return
        size = file.stat().st_size
        answer = http.post(
            f"/api/blobs/{digest}",
            content=_chunks(file, size, job),
            headers={"content-length": str(size)},
        )
        answer.raise_for_status()


def _chunks(file: Path, size: int, job: JobContext) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            job.progress("uploading to Ollama", opened.tell(), size, "bytes")
            yield chunk


def _create(
    place: OllamaClient, gguf: Path, digest: str, recipe: CreateRequest, job: JobContext
) -> None:
    parameters: dict[str, Any] = dict(recipe.parameters)
    if recipe.stops:
        parameters["stop"] = list(recipe.stops)
    status = ""
    with place.client() as client:
        for part in client.create(
            recipe.name,
            files={gguf.name: digest},
            template=recipe.template,
            system=recipe.system or None,
            parameters=parameters,
            stream=True,
        ):
            status = part.status or status
            job.progress("creating the model in Ollama", part.completed or 0, part.total)
    if status != "success":
        raise fail(
            "ollama.not_created",
            f"The Ollama server at {place.host} broke off while creating {recipe.name}.",
            "Look into its log (`ollama serve` prints it) and export again.",
            where=_WHERE,
        )


def _heeding(job: JobContext, work: Callable[[], T]) -> T:
    """Waits for work that may block in the network, and leaves it behind on a cancel."""
    results: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put((work(), None))
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


@contextmanager
def problems(place: OllamaClient) -> Iterator[None]:
    """Turns what the network and the server say into problems."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, ConnectionError) as error:
        raise _not_reached(place, error) from error
    except httpx.HTTPStatusError as error:
        error.response.read()
        raise _refused(place, error.response.status_code, _said(error.response)) from error
    except ollama.ResponseError as error:
        raise _refused(place, error.status_code, error.error) from error
    except (httpx.HTTPError, json.JSONDecodeError) as error:
        raise fail(
            "ollama.interrupted",
            f"The connection to Ollama at {place.host} broke off: {error or type(error).__name__}.",
            "Check that the server still runs (`ollama serve`) and has free disk space, then "
            "export again.",
            where=_WHERE,
        ) from error


def _said(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return response.text.strip().split("\n")[0][:200] or response.reason_phrase


def _not_reached(place: OllamaClient, error: Exception) -> ProblemError:
    if "CERTIFICATE" in str(error).upper():
        return fail(
            "ollama.certificate",
            f"The certificate of {place.host} is not trusted.",
            "Use the server's proper name in the address, or install its certificate.",
            where=_WHERE,
        )
    return fail(
        "ollama.not_running",
        f"No Ollama server answers at {place.host}.",
        "Install Ollama from https://ollama.com/download and start it (`ollama serve`), or correct "
        "the address. The GGUF file and the Modelfile do not need it: `ollama create NAME -f "
        "Modelfile` in the run's folder makes the model later.",
        where=_WHERE,
    )


def _refused(place: OllamaClient, status: int, said: str) -> ProblemError:
    if status in (401, 403):
        return fail(
            "ollama.not_allowed",
            f"The Ollama server at {place.host} wants a user name and a password.",
            "Put them into the environment variable OLLAMA_HOST, as in "
            "https://user:password@host, and start LoRA Studio again.",
            where=_WHERE,
        )
    if status == 404 and (missing := _NO_MODEL.match(said)):
        name = missing[1]
        return fail(
            "ollama.no_model",
            f"Ollama has no model {name}.",
            "Export it first (`lora-studio export RUN`).",
            where=_WHERE,
        )
    return fail(
        "ollama.refused",
        f"The Ollama server at {place.host} refused: {said.rstrip('.')}.",
        "Look into its log (`ollama serve` prints it). An update of Ollama often helps.",
        where=_WHERE,
    )
