"""Connect to an Ollama server: its address, clients with bounded answers, and what its errors mean."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import ollama

from lora_studio.core.network.bounded_answers import (
    API_LIMITS,
    LINE_LIMITS,
    MALFORMED_ERRORS,
    AnswerLimits,
    UntrustedAnswerError,
    bound_answers,
    reject_malformed_answers,
)
from lora_studio.core.network.connections import contacting
from lora_studio.core.network.purposes import Purpose
from lora_studio.core.problems import ProblemError, Where, error, fail
from lora_studio.core.system.offline import is_local_host
from lora_studio.engine.export.gguf.architecture_support import find_unknown_architecture

#: A plain HTTP client, for requests that the official client doesn't cover.
HttpClient = httpx.Client

QUICK = httpx.Timeout(10.0, connect=5.0)
#: Loading or creating a large model can send nothing for minutes; canceling works nonetheless.
PATIENT = httpx.Timeout(60.0, connect=5.0, read=LINE_LIMITS.line_seconds)
#: Requests that are answered in lines, as the work progresses.
_IN_LINES = ("/api/chat", "/api/create")

_WHERE = Where(step="export", field="ollama_host")
_NO_MODEL = re.compile(r"model ['\"](.+)['\"] not found")


@dataclass(frozen=True)
class OllamaClient:
    """A connection to a server.

    `host` is safe to show: a password in the address is only in `headers`.
    """

    host: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def is_loopback(self) -> bool:
        """Return whether the server is on this computer, which is reached without a proxy."""
        return is_local_host(urlsplit(self.host).hostname)

    @contextmanager
    def create_http_client(self, timeout: httpx.Timeout = QUICK) -> Iterator[HttpClient]:
        """Yield a client for plain requests, with bounded answers."""
        with (
            contacting(Purpose.OLLAMA),
            httpx.Client(base_url=self.host, **self._get_settings(timeout)) as client,
        ):
            yield bound_answers(client, _choose_limits)

    @contextmanager
    def create_client(self, timeout: httpx.Timeout = PATIENT) -> Iterator[ollama.Client]:
        """Yield the official client."""
        with (
            contacting(Purpose.OLLAMA),
            ollama.Client(self.host, **self._get_settings(timeout)) as client,
        ):
            bound_answers(client._client, _choose_limits)
            yield client

    def _get_settings(self, timeout: httpx.Timeout) -> dict[str, Any]:
        return {
            "headers": dict(self.headers),
            "timeout": timeout,
            "trust_env": not self.is_loopback,
        }


def _choose_limits(request: httpx.Request) -> AnswerLimits:
    return LINE_LIMITS if request.url.path.endswith(_IN_LINES) else API_LIMITS


def create_client(host: str) -> OllamaClient:
    """Return the client for an address, else for OLLAMA_HOST, else for this computer.

    `user:password@` in an address becomes a Basic authorization header (RFC 7617). An address without
    credentials, as in a saved conversation, gets those that OLLAMA_HOST has for the same server.
    """
    from_environment = os.environ.get("OLLAMA_HOST", "").strip()
    named = _parse_address(host.strip() or from_environment or "127.0.0.1:11434")
    if (
        not named.headers
        and "@" in from_environment
        and (environment_server := _parse_address(from_environment)).host == named.host
    ):
        return environment_server
    return named


def _parse_address(address: str) -> OllamaClient:
    credentials, at, _ = re.sub(r"^\w+://", "", address).partition("/")[0].rpartition("@")
    headers = {}
    if at:
        address = address.replace(f"{credentials}@", "", 1)
        token = base64.b64encode(unquote(credentials).encode()).decode()
        headers["authorization"] = f"Basic {token}"
    # A server that listens on all addresses is reached on the loopback.
    address = re.sub(r"^(\w+://)?0\.0\.0\.0(?=[:/]|$)", r"\g<1>127.0.0.1", address)
    try:
        with ollama.Client(address) as client:
            url = str(client._client.base_url).rstrip("/")
    except ValueError as error:
        raise fail(
            "ollama.bad_address",
            "The Ollama address is invalid: {reason}.",
            "Use the form {example}.",
            where=_WHERE,
            reason=str(error),
            example="http://127.0.0.1:11434",
        ) from None
    return OllamaClient(url, headers)


class UnknownArchitectureError(ProblemError):
    """Raised when a server is older than the architecture of a model."""

    def __init__(self, host: str, architecture: str) -> None:
        """Describe it as far as the server's answer does."""
        self.architecture = architecture
        refused = error(
            "ollama.unknown_architecture",
            "The Ollama server at {host} doesn't support the architecture {architecture}.",
            "Update Ollama.",
            where=_WHERE,
            host=host,
            architecture=architecture,
        )
        super().__init__(refused)


@contextmanager
def translate_ollama_errors(server: OllamaClient) -> Iterator[None]:
    """Raise ProblemError for errors of the network and of the server inside the block."""
    try:
        with reject_malformed_answers(httpx.HTTPError, ConnectionError, json.JSONDecodeError):
            yield
    except (httpx.ConnectError, httpx.ConnectTimeout, ConnectionError) as error:
        raise _unreachable_server_error(server, error) from error
    except httpx.HTTPStatusError as error:
        error.response.read()
        raise _refused_request_error(
            server, error.response.status_code, _read_error(error.response)
        ) from error
    except ollama.ResponseError as error:
        raise _refused_request_error(server, error.status_code, str(error.error)) from error
    except UntrustedAnswerError as error:
        raise fail(
            "ollama.unreadable_answer",
            "The answer of the server at {host} can't be read: {reason}.",
            "Check the address. If it is an Ollama server, restart and update it.",
            where=_WHERE,
            host=server.host,
            reason=error.reason,
        ) from error
    except (httpx.HTTPError, json.JSONDecodeError) as error:
        raise fail(
            "ollama.interrupted",
            "The connection to Ollama at {host} was lost: {reason}.",
            "Check that the server is running (`ollama serve`) and has free disk space, then export "
            "again.",
            where=_WHERE,
            host=server.host,
            reason=str(error).rstrip(".") or type(error).__name__,
        ) from error


def _read_error(response: httpx.Response) -> str:
    """Return what a server says of a request that it refused, else the status."""
    try:
        return str(response.json()["error"])
    except MALFORMED_ERRORS:
        return response.text.strip().split("\n")[0][:200] or response.reason_phrase


def _unreachable_server_error(server: OllamaClient, error: Exception) -> ProblemError:
    if "CERTIFICATE" in str(error).upper():
        return fail(
            "ollama.certificate",
            "The certificate of {host} is not trusted.",
            "Use the server's own name in the address, or install its certificate.",
            where=_WHERE,
            host=server.host,
        )
    return fail(
        "ollama.not_running",
        "No Ollama server answers at {host}.",
        "Install Ollama from {url} and start it (`ollama serve`), or correct the address. The GGUF "
        "file and the Modelfile are complete: to create the model later, run `{command}` in the "
        "run's folder.",
        where=_WHERE,
        host=server.host,
        url="https://ollama.com/download",
        command="ollama create NAME -f Modelfile",
    )


def _refused_request_error(server: OllamaClient, status: int, message: str) -> ProblemError:
    if status in (401, 403):
        return fail(
            "ollama.not_allowed",
            "The Ollama server at {host} requires a user name and a password.",
            "Set the environment variable OLLAMA_HOST to {example} and restart LoRA Studio.",
            where=_WHERE,
            host=server.host,
            example="https://user:password@host",
        )
    if status == 404 and (missing := _NO_MODEL.match(message)):
        name = missing[1]
        return fail(
            "ollama.no_model",
            "Ollama has no model {model}.",
            "Export it first (`lora-studio export RUN`).",
            where=_WHERE,
            model=name,
        )
    if architecture := find_unknown_architecture(message):
        return UnknownArchitectureError(server.host, architecture)
    return fail(
        "ollama.refused",
        "The Ollama server at {host} refused the request: {reason}.",
        "Check its log (`ollama serve` prints it). Updating Ollama often helps.",
        where=_WHERE,
        host=server.host,
        reason=message.rstrip("."),
    )
