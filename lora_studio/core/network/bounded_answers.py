"""Bound what a server answers: its size, its time, and where it redirects to.

Hooks of an httpx client, so that they also hold for libraries that use one: of the Hub and of Ollama.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import httpx

from lora_studio.core.messages import Template, Text, text
from lora_studio.core.network import connections
from lora_studio.core.system.offline import is_local_host


class UntrustedAnswerError(httpx.RequestError):
    """Raised for an answer that isn't read to its end; `reason` completes a sentence."""

    def __init__(self, reason: Template, **values: object) -> None:
        """Store the reason: a template with `values` for its fields."""
        self.reason: Text = text(reason, **values)
        super().__init__(str(self.reason))


#: What libraries raise for an answer whose content they don't expect.
MALFORMED_ERRORS = (
    ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError,
)  # fmt: skip


@contextmanager
def reject_malformed_answers(*expected: type[Exception]) -> Iterator[None]:
    """Raise UntrustedAnswerError if a library can't handle the answers in a block.

    Errors of the `expected` types pass.
    """
    try:
        yield
    except expected:
        raise
    except MALFORMED_ERRORS as error:
        raise UntrustedAnswerError("the answer has an unexpected form") from error


@dataclass(frozen=True)
class AnswerLimits:
    """How long and how slow an answer may be; None for no limit of that kind.

    `seconds` is the time for the whole answer, `first_seconds` for its header alone. Of an answer that
    arrives in lines, each may have `line_bytes` and take `line_seconds`. A download must receive
    `bytes_per_period` in each period of `period` seconds.
    """

    max_bytes: int | None = None
    first_seconds: float | None = 120.0
    seconds: float | None = None
    line_bytes: int | None = None
    line_seconds: float | None = None
    bytes_per_period: int | None = None
    period: float = 120.0


#: An answer that is read as a whole, such as JSON, whose values can take 30 times its size in memory.
API_LIMITS = AnswerLimits(max_bytes=16_000_000, seconds=120.0)
#: An answer in lines. The first one of a model that is loaded can take many minutes.
LINE_LIMITS = AnswerLimits(
    max_bytes=256_000_000, first_seconds=1800.0, line_bytes=4_000_000, line_seconds=1800.0
)
#: A file. Its size is checked where it is written (`engine/hub/client.py`, `setup/download.py`).
FILE_LIMITS = AnswerLimits(bytes_per_period=64_000)

#: Chooses the limits of a request's answer.
ChooseLimits = Callable[[httpx.Request], AnswerLimits]

#: Timeouts of a single wait for requests that have none, in seconds.
_TIMEOUTS = {"connect": 20.0, "read": 60.0, "write": 60.0, "pool": 60.0}

#: Compressed answers expand up to this many times.
_EXPANSION = 1000

_ORIGIN = "lora_studio.origin"
_STARTED = "lora_studio.started"
_SECRET_HEADERS = ("authorization", "proxy-authorization", "cookie", "api-key", "x-api-key")

#: Scheme, host, and port of a server.
Origin = tuple[str, str, int | None]


def bound_answers(
    client: httpx.Client, choose: ChooseLimits, get_home: Callable[[], str] | None = None
) -> httpx.Client:
    """Bound all answers to this client, and return it.

    `get_home` returns the address of the only server that gets keys and cookies, for a library that also
    follows addresses in answers; without it, that is the server of each first request. Raises UntrustedAnswerError, a
    kind of httpx.RequestError, from its requests.
    """
    connections.start()  # the time of an answer's header is limited where its bytes are received

    def on_request(request: httpx.Request) -> None:
        _check_redirect(request)
        origin = get_origin(httpx.URL(get_home())) if get_home else request.extensions[_ORIGIN]
        keep_secrets(request, origin)
        _limit_time(request, choose(request))

    def on_response(response: httpx.Response) -> None:
        connections.limit_receiving(None)
        # A server can name any codec of Python: one that fails, unpacks, or takes hours.
        response.encoding = "utf-8"
        limits = choose(response.request)
        if response.has_redirect_location:
            _check_location(response)
            limits = API_LIMITS
        if limits.max_bytes is not None and response.headers.get("content-encoding"):
            limits = replace(limits, max_bytes=limits.max_bytes // _EXPANSION)
        stream = response.stream
        if isinstance(stream, httpx.SyncByteStream):
            response.stream = _BoundedStream(stream, limits)

    client.event_hooks = {
        "request": [*client.event_hooks.get("request", ()), on_request],
        "response": [on_response, *client.event_hooks.get("response", ())],
    }
    return client


def _limit_time(request: httpx.Request, limits: AnswerLimits) -> None:
    """Set the timeouts of a request, and ask for an answer that isn't compressed if its size counts."""
    timeouts = request.extensions.get("timeout", {})
    filled = {key: timeouts.get(key) or value for key, value in _TIMEOUTS.items()}
    if limits.line_seconds is not None:
        filled["read"] = limits.line_seconds
    request.extensions["timeout"] = filled
    started = request.extensions.setdefault(_STARTED, time.monotonic())
    has_body = request.headers.get("content-length", "0") != "0"
    is_upload = has_body and limits.line_seconds is None
    connections.limit_receiving(
        None if limits.first_seconds is None or is_upload else started + limits.first_seconds
    )
    if limits.max_bytes is not None:
        request.headers["accept-encoding"] = "identity"


def _check_location(response: httpx.Response) -> None:
    """Raise UntrustedAnswerError for a redirect that isn't one to a web address.

    WORKAROUND: httpx (0.28) raises InvalidURL for some of them, which is none of its HTTP errors.
    """
    try:
        target = response.request.url.join(response.headers["location"])
    except httpx.InvalidURL:
        target = httpx.URL()
    if target.scheme not in ("http", "https") or not target.host:
        raise UntrustedAnswerError(
            "{host} redirects to an invalid address", host=response.request.url.host
        )


def _check_redirect(request: httpx.Request) -> None:
    """Raise UntrustedAnswerError for a redirect that isn't followed."""
    url = request.url
    origin = get_origin(url)
    first = request.extensions.setdefault(_ORIGIN, origin)
    if origin == first:
        return
    if url.scheme != "https" and first[0] == "https":
        raise UntrustedAnswerError("{host} redirects to an unencrypted address", host=first[1])
    if is_local_host(url.host) and not is_local_host(first[1]):
        raise UntrustedAnswerError("{host} redirects to this computer", host=first[1])
    if url.host != first[1] and request.method not in ("GET", "HEAD"):
        raise UntrustedAnswerError(
            "{host} redirects what is sent to it to {other}", host=first[1], other=url.host
        )


def get_origin(url: httpx.URL) -> Origin:
    """Return scheme, host, and port, None for the usual one of the scheme."""
    return url.scheme, url.host, url.port


def keep_secrets(request: httpx.Request, home: Origin) -> None:
    """Remove keys and cookies from a request to another server than `home`, or without its encryption.

    The same server with encryption, each at its usual port, may have them.
    """
    origin = get_origin(request.url)
    if origin != home and (home, origin) != (("http", home[1], None), ("https", home[1], None)):
        for name in _SECRET_HEADERS:
            request.headers.pop(name, None)


class _BoundedStream(httpx.SyncByteStream):
    """The body of an answer, up to its limits."""

    def __init__(self, stream: httpx.SyncByteStream, limits: AnswerLimits) -> None:
        self._stream, self._limits = stream, limits
        self._started = self._line_started = self._period_started = time.monotonic()
        self._total = self._line = self._period = 0

    def __iter__(self) -> Iterator[bytes]:
        chunks = iter(self._stream)
        while True:
            deadline = self._get_deadline()
            connections.limit_receiving(deadline)
            try:
                chunk = next(chunks, None)
            except httpx.ReadTimeout as error:
                if deadline is None or time.monotonic() < deadline:
                    raise
                raise UntrustedAnswerError("the server takes too long to answer") from error
            finally:
                connections.limit_receiving(None)
            if chunk is None:
                return
            self._count(chunk, time.monotonic())
            yield chunk

    def close(self) -> None:
        self._stream.close()

    def _get_deadline(self) -> float | None:
        """Return when the next chunk must have arrived."""
        limits = self._limits
        deadlines = [
            since + seconds
            for since, seconds in (
                (self._started, limits.seconds),
                (self._line_started, limits.line_seconds),
                (time.monotonic(), limits.period if limits.bytes_per_period else None),
            )
            if seconds is not None
        ]
        return min(deadlines, default=None)

    def _count(self, chunk: bytes, now: float) -> None:
        """Raise UntrustedAnswerError if a chunk exceeds the limits."""
        limits = self._limits
        self._total += len(chunk)
        self._period += len(chunk)
        newline = chunk.rfind(b"\n")
        if newline < 0:
            self._line += len(chunk)
        else:
            self._line, self._line_started = len(chunk) - newline - 1, now
        if limits.max_bytes is not None and self._total > limits.max_bytes:
            raise _too_large_error(limits.max_bytes)
        if limits.line_bytes is not None and self._line > limits.line_bytes:
            raise _too_large_error(limits.line_bytes)
        if limits.seconds is not None and now - self._started > limits.seconds:
            raise UntrustedAnswerError("the server takes too long to answer")
        if limits.line_seconds is not None and now - self._line_started > limits.line_seconds:
            raise UntrustedAnswerError("the server takes too long to answer")
        if limits.bytes_per_period is not None and now - self._period_started > limits.period:
            if self._period < limits.bytes_per_period:
                raise UntrustedAnswerError("the server sends too slowly")
            self._period_started, self._period = now, 0


def _too_large_error(limit: int) -> UntrustedAnswerError:
    return UntrustedAnswerError("the server's answer is larger than {limit:size}", limit=limit)
