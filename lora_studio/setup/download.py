"""Download several files at once, verify each, and resume interrupted downloads."""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import socket
import ssl
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, url2pathname

import certifi

from lora_studio.core.messages import Text, text
from lora_studio.core.network.connections import contacting
from lora_studio.core.network.purposes import Purpose
from lora_studio.core.network.secrets import without_secrets
from lora_studio.core.problems import InvalidContentError, ProblemError, Where, fail
from lora_studio.core.protocol.events import Progress
from lora_studio.core.system import offline
from lora_studio.core.system.files import create_folder, describe_os_error, link_or_copy
from lora_studio.setup.folders import disk_problem
from lora_studio.setup.tools import SetupLog, StopFlag, build_uv_environment


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


#: Simultaneous downloads: enough to hide the latency of each, few enough not to burden a server.
AT_ONCE = 4
#: Largest file of unknown size, in bytes.
_MAX_BYTES = 20_000_000_000
#: Seconds between two progress events, and seconds over which the speed is averaged.
_INTERVAL, _WINDOW = 0.25, 10.0
#: Seconds to wait for threads to end: a thread that is connecting can't be interrupted.
_END = 1.0


@dataclass(frozen=True)
class DownloadFile:
    """A file to download; `size` in bytes and `sha256` in hexadecimal digits, if known."""

    name: str
    url: str
    target: Path
    size: int | None = None
    sha256: str = ""

    @property
    def part(self) -> Path:
        """Path of the incomplete file."""
        return self.target.with_name(self.target.name + ".part")

    @property
    def local(self) -> Path | None:
        """The path of the source if it is on this computer, else None."""
        split = urlsplit(self.url)
        if split.scheme == "file":
            return Path(url2pathname(unquote(split.path) if os.name != "nt" else split.path))
        return None if split.scheme in ("http", "https") else Path(self.url)

    @property
    def present(self) -> int:
        """Bytes that are already downloaded."""
        for file in (self.target, self.part):
            if file.exists():
                return file.stat().st_size
        return 0


class ByteCounter:
    """Counts downloaded bytes across threads, and the download speed."""

    def __init__(self, total: int | None, done: int) -> None:
        """Start at `done` of `total` bytes."""
        self.total, self.done = total, done
        self._lock = threading.Lock()
        self._samples: deque[tuple[float, int]] = deque([(time.monotonic(), done)])

    def add(self, count: int) -> None:
        """Count received bytes; negative if a file restarts."""
        with self._lock:
            self.done += count

    def get_progress(self, stage: str) -> Progress:
        """Return the bytes so far and the estimated remaining seconds at the recent speed."""
        with self._lock:
            now = time.monotonic()
            self._samples.append((now, self.done))
            while now - self._samples[0][0] > _WINDOW:
                self._samples.popleft()
            (since, before), seconds = self._samples[0], now - self._samples[0][0]
            speed = (self.done - before) / seconds if seconds > 0 and since < now else 0.0
            left = None if self.total is None or speed <= 0 else (self.total - self.done) / speed
            return Progress(stage=stage, done=self.done, total=self.total, unit="B", eta_s=left)


def fetch(
    files: Sequence[DownloadFile], stage: str, stop: StopFlag, log: SetupLog,
    on_finished: Callable[[DownloadFile], None] = lambda _: None,
) -> Iterator[Progress]:  # fmt: skip
    """Download every file and yield the overall progress; calls `on_finished` for each finished file.

    Resumes incomplete files of earlier attempts. Raises ProblemError if a file can't be downloaded,
    and SetupCancelledError if canceled; downloaded data is kept.
    """
    sizes = [file.size for file in files]
    total = None if None in sizes else sum(size or 0 for size in sizes)
    counter = ByteCounter(total, sum(file.present for file in files))
    largest_first = sorted(files, key=lambda file: -(file.size or 0))
    with HttpClient() as web:
        yield counter.get_progress(stage)
        each = _process_in_threads(
            lambda file, halt: _fetch_one(web, file, counter, halt, log),
            largest_first, AT_ONCE, web, stop,
        )  # fmt: skip
        for done in each:
            if done is not None:
                on_finished(done)
            yield counter.get_progress(stage)


def _process_in_threads(
    work: Callable[[DownloadFile, StopFlag], None],
    files: Sequence[DownloadFile],
    at_once: int,
    web: HttpClient,
    stop: StopFlag,
) -> Iterator[DownloadFile | None]:
    """Process files in several threads; yield each finished file, and None while waiting.

    Raises what the work raises, and SetupCancelledError without delay: a thread that still waits
    for a connection is abandoned, and stops as soon as it can.
    """
    halt, pending = StopFlag(), deque(files)
    results: SimpleQueue[tuple[DownloadFile, BaseException | None]] = SimpleQueue()

    def run() -> None:
        while not halt.asked:
            try:
                file = pending.popleft()
            except IndexError:
                return
            try:
                work(file, halt)
            except BaseException as error:
                results.put((file, error))
                return
            results.put((file, None))

    threads = [
        threading.Thread(target=run, name="download", daemon=True)
        for _ in range(min(at_once, len(files)))
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in files:
            result = None
            while result is None:
                stop.check()
                try:
                    result = results.get(timeout=_INTERVAL)
                except Empty:
                    yield None
            file, error = result
            if error is not None:
                raise error
            yield file
    finally:
        halt.ask()
        web.wake()
        until = time.monotonic() + _END
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))


def measure_sizes(
    files: Sequence[DownloadFile], stop: StopFlag, log: SetupLog
) -> list[DownloadFile]:
    """Return the files with missing sizes looked up locally or requested from the servers."""
    with_local_sizes = [
        replace(one, size=one.local.stat().st_size) if one.size is None and one.local else one
        for one in files
    ]
    if all(one.size is not None for one in with_local_sizes):
        return with_local_sizes

    sizes: dict[DownloadFile, int | None] = {}
    with HttpClient() as web:

        def ask(file: DownloadFile, halt: StopFlag) -> None:
            try:
                sizes[file] = _retry(lambda: web.fetch_size(file.url), file, halt, log)
            except (OSError, httpx.HTTPError, httpx.InvalidURL) as error:
                raise _size_error(error) from error

        unknown = [file for file in with_local_sizes if file.size is None]
        for _ in _process_in_threads(ask, unknown, 2 * AT_ONCE, web, stop):
            pass
    return [replace(one, size=sizes.get(one, one.size)) for one in with_local_sizes]


def _size_error(error: Exception) -> ProblemError:
    if problem := clock_problem(str(error), get_url(error)):
        return problem
    return fail(
        "engine.network",
        "A server didn't report its file sizes: {reason}.",
        "Check the network connection, then start the setup again.",
        reason=describe_error(error),
    )


def _retry(
    ask: Callable[[], int | None], file: DownloadFile, halt: StopFlag, log: SetupLog
) -> int | None:
    """Return the response of a server, retrying if it is busy or the connection fails; raises httpx.HTTPError."""
    waiting = RetryWait()
    while True:
        try:
            return ask()
        except httpx.HTTPError as error:
            log.write(f"{file.name}: {describe_error(error)}")
            if (pause := waiting.compute_pause(error)) is None:
                raise
            halt.wait(pause)


def _fetch_one(
    web: HttpClient, file: DownloadFile, counter: ByteCounter, stop: StopFlag, log: SetupLog
) -> None:
    """Download one file; raises ProblemError or SetupCancelledError."""
    if file.target.exists():
        if _is_complete(file.target, file):
            return
        counter.add(-file.target.stat().st_size)
        file.target.unlink()
    try:
        create_folder(file.target.parent)
        local = file.local
        if local is not None:
            _take_local_file(local, file, counter)
        else:
            _download(web, file, counter, stop, log)
    except OSError as error:
        if problem := disk_problem(error, file.target.parent):
            raise problem from error
        raise fail(
            "engine.file",
            "{file} couldn't be saved: {reason}.",
            "Check that the disk is connected and writable, then start the setup again: it continues "
            "where it stopped.",
            where=Where(file=str(error.filename or file.target)),
            file=file.name,
            reason=describe_os_error(error),
        ) from error


def _take_local_file(local: Path, file: DownloadFile, counter: ByteCounter) -> None:
    """Link a local file to its target, or copy it where links aren't supported."""
    if file.part.exists():
        counter.add(-file.part.stat().st_size)
        file.part.unlink()
    link_or_copy(local, file.part)
    if not _is_complete(file.part, file):
        file.part.unlink()
        raise _checksum_error(file)
    file.part.replace(file.target)
    counter.add(file.target.stat().st_size)


def _download(
    web: HttpClient, file: DownloadFile, counter: ByteCounter, stop: StopFlag, log: SetupLog
) -> None:
    waiting, is_restarted = RetryWait(), False
    while True:
        before = file.part.stat().st_size if file.part.exists() else 0
        try:
            _continue(web, file, counter, stop)
        except (
            InvalidContentError,
            httpx.HTTPError,
            httpx.StreamError,
            httpx.InvalidURL,
            ssl.SSLError,
        ) as error:
            stop.check()
            grown = (file.part.stat().st_size if file.part.exists() else 0) > before
            pause = waiting.compute_pause(error, grown=grown)
            log.write(f"{file.name}: {describe_error(error)} (attempt {waiting.failures})")
            if pause is None:
                raise _download_error(file, error) from error
            stop.wait(pause)
            continue
        if _is_complete(file.part, file):
            file.part.replace(file.target)
            return
        counter.add(-file.part.stat().st_size)
        file.part.unlink()
        log.write(f"{file.name}: wrong checksum")
        # A partial file of an earlier setup may be of another file with that name; a complete one
        # is verified.
        if is_restarted or not before:
            raise _checksum_error(file)
        is_restarted = True


def _continue(web: HttpClient, file: DownloadFile, counter: ByteCounter, stop: StopFlag) -> None:
    """Download the missing part of a file."""
    have = file.part.stat().st_size if file.part.exists() else 0
    if file.size is not None and have == file.size:
        return
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with web.stream(file.url, headers) as answer:
        stop.check()
        if (have and answer.status_code == 416) or (file.size is not None and have > file.size):
            counter.add(-have)
            file.part.unlink()
            raise InvalidContentError("the part already downloaded belongs to a different file")
        answer.raise_for_status()
        goes_on = answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(
            f"bytes {have}-"
        )
        if have and not goes_on:
            counter.add(-have)
        with file.part.open("ab" if goes_on else "wb") as sink:
            # No fixed chunk size: a partly filled chunk would be lost when a connection breaks.
            for chunk in answer.iter_raw():
                stop.check()
                sink.write(chunk)
                counter.add(len(chunk))
                if sink.tell() > (_MAX_BYTES if file.size is None else file.size):
                    break  # another file, or one without an end
    received = file.part.stat().st_size
    if file.size is not None and received < file.size:
        raise InvalidContentError(
            "the connection ended after {done:size} of {size:size}", done=received, size=file.size
        )


def _is_complete(path: Path, file: DownloadFile) -> bool:
    """Return whether a complete file is the expected one."""
    if file.size is not None and path.stat().st_size != file.size:
        return False
    if not file.sha256:
        return True
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256


def _download_error(file: DownloadFile, error: Exception) -> ProblemError:
    if problem := clock_problem(str(error), file.url):
        return problem
    return fail(
        "engine.download",
        "{file} couldn't be downloaded: {reason}.",
        "Check the network, proxy, and index settings, then start the setup again: it continues where "
        "it stopped. Without internet access, use a wheel folder from another computer.",
        where=Where(file=without_secrets(file.url)),
        file=file.name,
        reason=describe_error(error),
    )


def _checksum_error(file: DownloadFile) -> ProblemError:
    return fail(
        "engine.checksum",
        "The checksum of {file} doesn't match the one in the index.",
        "A proxy or an outdated mirror may have changed the file. Try another network or index.",
        where=Where(file=without_secrets(file.url)),
        file=file.name,
    )
