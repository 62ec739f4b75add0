"""HTTP client with the user's network settings, and descriptions of its errors."""

from __future__ import annotations

import importlib
import re
import socket
import ssl
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies

import certifi

from lora_studio.core.messages import Text, text
from lora_studio.core.network.connections import contacting
from lora_studio.core.network.purposes import Purpose
from lora_studio.core.network.secrets import without_secrets
from lora_studio.core.problems import InvalidContentError, ProblemError, Where, fail
from lora_studio.core.system import offline
from lora_studio.core.system.files import describe_os_error
from lora_studio.setup.environment import build_uv_environment


class LazyModule:
    """Proxy for a module that is imported on first use."""

    def __init__(self, name: str) -> None:
        """Store the name of the module."""
        self._name = name

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the module."""
        return getattr(importlib.import_module(self._name), name)


if TYPE_CHECKING:
    import httpx
else:
    httpx = LazyModule("httpx")  # imported lazily: takes a tenth of the window's start-up time

#: Consecutive attempts without data before giving up on a server.
ATTEMPTS = 6
#: Seconds between two attempts, doubled each time up to the maximum.
PAUSE, LONGEST_PAUSE = 0.5, 15.0
#: The longest Retry-After of a busy server to accept, in seconds.
PATIENCE = 120.0
#: Timeout of one attempt without a response, in seconds.
_TIMEOUT, _CONNECT = 30.0, 20.0


class HttpClient:
    """HTTP with the user's proxies, certificates and passwords."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        """Read the environment without connecting."""
        variables = build_uv_environment() if environ is None else environ
        self._passwords = dict(_iter_passwords(variables))
        self._connections: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._lock = threading.Lock()
        context = _create_tls_context(variables.get("SSL_CERT_FILE") or certifi.where())
        self._insecure = set(variables.get("UV_INSECURE_HOST", "").replace(",", " ").split())
        make = {
            "follow_redirects": True,
            "timeout": httpx.Timeout(_TIMEOUT, connect=_CONNECT),
            "trust_env": True,
        }
        proxy = _read_pip_proxy(variables)
        try:
            self._client = _create_client(context, proxy, make)
            self._trusting = _create_client(False, proxy, make) if self._insecure else self._client
        except (ValueError, ImportError, httpx.InvalidURL) as error:
            raise fail(
                "engine.proxy",
                "The proxy settings can't be used: {reason}.",
                "Set HTTPS_PROXY and HTTP_PROXY to the proxy's host and port, and remove ALL_PROXY. SOCKS "
                "proxies aren't supported.",
                reason=without_secrets(str(error)).rstrip("."),
            ) from error
        try:
            self._otherwise: httpx.Auth = httpx.NetRCAuth()
        except (OSError, SyntaxError):
            self._otherwise = httpx.Auth()

    def __enter__(self) -> HttpClient:
        """Return the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close all connections."""
        self._client.close()
        self._trusting.close()

    def wake(self) -> None:
        """Close every connection, including those blocked on an unresponsive server."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with suppress(OSError):
                # The base class's method: the TLS shutdown handshake would block.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def _note(self, name: str, about: Mapping[str, Any]) -> None:
        """Note the connection that a request opens, so that `wake` can close it."""
        if name.endswith((".connect_tcp.complete", ".start_tls.complete")):
            connection = about["return_value"].get_extra_info("socket")
            if connection is not None:
                with self._lock:
                    self._connections.add(connection)

    @contextmanager
    def stream(self, url: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """Yield a streaming response."""
        with (
            contacting(Purpose.ENGINE_SETUP),
            self._of(url).stream(
                "GET",
                url,
                headers=dict(headers),
                auth=self._auth(url),
                extensions={"trace": self._note},
            ) as response,
        ):
            yield response

    def fetch_size(self, url: str) -> int | None:
        """Return the size of a file in bytes, or None if the server doesn't report it; raises httpx.HTTPError."""
        with contacting(Purpose.ENGINE_SETUP):
            answer = self._of(url).head(
                url,
                auth=self._auth(url),
                headers={"Accept-Encoding": "identity"},
                extensions={"trace": self._note},
            )
        if answer.status_code in (405, 501):  # a server without HEAD requests
            return None
        answer.raise_for_status()
        length = answer.headers.get("Content-Length", "")
        return int(length) if length.isdigit() else None

    def _of(self, url: str) -> httpx.Client:
        if offline.is_on() and not offline.is_local_host(urlsplit(url).hostname):
            raise offline.offline_error(text("Offline mode is on, so nothing can be downloaded."))
        split = urlsplit(url)
        names = {split.hostname, split.netloc.rpartition("@")[2]}
        return self._trusting if names & self._insecure else self._client

    def _auth(self, url: str) -> httpx.Auth | tuple[str, str]:
        return self._passwords.get(urlsplit(url).netloc.rpartition("@")[2], self._otherwise)


def _create_client(
    verify: ssl.SSLContext | bool, proxy: str, make: Mapping[str, Any]
) -> httpx.Client:
    """Return a client that uses this proxy unless the environment sets others."""
    mounts = {"all://": httpx.HTTPTransport(verify=verify, proxy=proxy)} if proxy else None
    # Imported late, as httpx is.
    from lora_studio.core.network.bounded_answers import FILE_LIMITS, bound_answers

    return bound_answers(httpx.Client(verify=verify, mounts=mounts, **make), lambda _: FILE_LIMITS)


def _read_pip_proxy(variables: Mapping[str, str]) -> str:
    """Return the proxy in pip's settings, "" for none: httpx reads only environment variables."""
    proxy = variables.get("ALL_PROXY", "")
    proxies = getproxies()
    if not proxy or "all" in proxies or "*" in proxies.get("no", ""):
        return ""
    return proxy


def _create_tls_context(authorities: str) -> ssl.SSLContext:
    """Return the TLS context with the system's certificates and those of a file; raises ProblemError."""
    try:
        context = ssl.create_default_context(cafile=authorities)
        context.load_default_certs()
    except OSError as error:
        raise fail(
            "engine.certificates",
            "The certificate file can't be used: {reason}.",
            "Correct or remove the variable SSL_CERT_FILE or pip's `cert` setting.",
            where=Where(file=authorities),
            reason=describe_os_error(error),
        ) from error
    return context


def _iter_passwords(environ: Mapping[str, str]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield user and password by host, from the URLs of package indexes."""
    names = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS")
    for name in names:
        for address in environ.get(name, "").replace(",", " ").split():
            index_name, _, url = address.partition("=")
            if "://" in index_name:
                index_name, url = "", address
            split = urlsplit(url)
            host = split.netloc.rpartition("@")[2]
            # a named index: name=URL
            prefix = f"UV_INDEX_{re.sub('[^A-Z0-9]', '_', index_name.upper())}"
            if split.username:
                yield host, (unquote(split.username), unquote(split.password or ""))
            elif index_name and (user := environ.get(f"{prefix}_USERNAME")):
                yield host, (user, environ.get(f"{prefix}_PASSWORD", ""))


class RetryWait:
    """How long to wait between two attempts, and when to give up."""

    def __init__(self) -> None:
        """Start without failures."""
        self.failures = 0

    def compute_pause(self, error: Exception, *, grown: bool = False) -> float | None:
        """Return the seconds to wait after a failure, or None to give up; `grown` means data was received."""
        self.failures = 1 if grown else self.failures + 1
        retry_after = get_retry_after(error)
        if self.failures >= ATTEMPTS or _is_final(error) or retry_after > PATIENCE:
            return None
        return max(retry_after, min(PAUSE * 2.0 ** (self.failures - 1), LONGEST_PAUSE))


def get_retry_after(error: Exception) -> float:
    """Return the Retry-After seconds of a busy server, or 0."""
    if not isinstance(error, httpx.HTTPStatusError):
        return 0.0
    header = error.response.headers.get("Retry-After", "").strip()
    if header.isdecimal():
        return float(header)
    if (at := _parse_http_date(header)) is None:
        return 0.0
    # The server's own time, if it says it: the clock of this computer may be wrong.
    now = _parse_http_date(error.response.headers.get("Date", "")) or datetime.now(UTC)
    return max(0.0, (at - now).total_seconds())


def _parse_http_date(header: str) -> datetime | None:
    """Return the time in a header, which is in UTC if it names no zone; None if it isn't one."""
    with suppress(ValueError, OverflowError):
        parsed = parsedate_to_datetime(header)
        return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    return None


def _is_final(error: Exception) -> bool:
    """Return whether a server refused the request, as opposed to not responding."""
    if _get_untrusted_reason(error) is not None:
        return True
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return True
    if isinstance(error, httpx.ConnectError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return True
    return isinstance(error, httpx.HTTPStatusError) and error.response.status_code in (
        401,
        403,
        404,
        405,
        407,
        410,
        451,
    )


def describe_error(error: Exception) -> Text:
    """Return a short reason for a failed request."""
    if isinstance(error, InvalidContentError):
        return error.reason
    if (reason := _get_untrusted_reason(error)) is not None:
        return reason
    if isinstance(error, httpx.HTTPStatusError):
        response, seconds = error.response, get_retry_after(error)
        return text(
            "{host} returned {status} and asks to wait {seconds:duration}"
            if seconds > PATIENCE
            else "{host} returned {status}",
            host=response.url.host,
            status=f"{response.status_code} {response.reason_phrase}".strip(),
            seconds=seconds,
        )
    if isinstance(error, httpx.TimeoutException):
        return text("the server doesn't respond")
    return text("{reason}", reason=without_secrets(str(error)).rstrip(".") or type(error).__name__)


def _get_untrusted_reason(error: Exception) -> Text | None:
    """Return why an answer wasn't read to its end, None for other errors."""
    from lora_studio.core.network.bounded_answers import UntrustedAnswerError

    return error.reason if isinstance(error, UntrustedAnswerError) else None


def get_url(error: Exception) -> str:
    """Return the URL of a failed request, if known."""
    try:
        return str(error.request.url) if isinstance(error, httpx.RequestError) else ""
    except RuntimeError:  # an error that was raised before the request was known
        return ""


#: Messages of uv and OpenSSL for a certificate that is not valid yet or has expired.
_SAYS = re.compile(r"certificate (not valid yet|is not yet valid|(has )?expired)")
_ADDRESS = re.compile(r"https://[^\s`)]+")


def clock_problem(output: str, address: str = "") -> ProblemError | None:
    """Return the problem for a wrong system clock if the output indicates one.

    `address` is the requested URL, in case the output doesn't name it.
    """
    if not _SAYS.search(output):
        return None
    url_match = _ADDRESS.search(output)
    host = urlsplit(url_match[0] if url_match else address).hostname or text("the server")
    return fail(
        "engine.clock",
        "According to this computer's clock ({now}), the certificate of {host} isn't valid.",
        "Set the computer's date and time, then start the setup again; completed downloads are kept. If "
        "they are correct, the certificate has expired: use another index, or a wheel folder from another "
        "computer.",
        now=f"{datetime.now():%Y-%m-%d %H:%M}",
        host=host,
    )
