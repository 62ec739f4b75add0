"""Answers without an end, that drip, or that redirect elsewhere: refused, and secrets stay."""

from __future__ import annotations

import gzip
import socket
import time

import httpx
import pytest

from lora_studio.core.network import bounded_answers
from lora_studio.core.network.bounded_answers import (
    AnswerLimits,
    UntrustedAnswerError,
    bound_answers,
)
from tests.helpers.servers.raw_server import OK, Script, drip, repeat, serve

LIMITS = AnswerLimits(max_bytes=100_000, first_seconds=1.0, seconds=1.0)


def get(url: str, limits: AnswerLimits = LIMITS, **options: object) -> httpx.Response:
    with httpx.Client(follow_redirects=True, trust_env=False) as client:
        return bound_answers(client, lambda _: limits).request(
            str(options.pop("method", "GET")),
            url,
            **options,  # type: ignore[arg-type]
        )


@pytest.mark.parametrize(
    ("script", "limits"),
    [
        pytest.param(repeat(OK + b"\r\n", b"[" * 65536), LIMITS, id="endless JSON"),
        pytest.param(
            repeat(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"3e8\r\n" + b"{" * 1000 + b"\r\n"),
            LIMITS,
            id="endless chunks",
        ),
        pytest.param(repeat(OK + b"X: ", b"y" * 65536), LIMITS, id="endless header"),
        pytest.param(repeat(OK, b"X: y\r\n" * 1000), LIMITS, id="endless headers"),
        pytest.param(drip(OK + b"X: "), LIMITS, id="header that drips"),
        pytest.param(drip(OK + b"\r\n"), LIMITS, id="body that drips"),
        pytest.param(
            repeat(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0", pause=0.05),
            LIMITS,
            id="chunk size that drips",
        ),
        pytest.param(
            repeat(OK + b"\r\n", b"y" * 1000),
            AnswerLimits(line_bytes=50_000, line_seconds=60),
            id="endless line",
        ),
        pytest.param(
            repeat(OK + b"\r\n", b"{}\n" * 1000),
            AnswerLimits(max_bytes=50_000, line_bytes=1000, line_seconds=60),
            id="endless lines",
        ),
        pytest.param(
            drip(OK + b"\r\n"),
            AnswerLimits(line_bytes=50_000, line_seconds=1.0),
            id="line that drips",
        ),
        pytest.param(
            drip(OK + b"Content-Length: 1000000\r\n\r\n"),
            AnswerLimits(bytes_per_period=5_000, period=0.5),
            id="slow file",
        ),
        pytest.param(
            repeat(OK + b"Content-Encoding: gzip\r\n\r\n", gzip.compress(bytes(1_000_000))),
            LIMITS,
            id="compressed bomb",
        ),
        pytest.param(
            repeat(b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", b"y" * 65536),
            AnswerLimits(bytes_per_period=1, period=60),
            id="endless redirect",
        ),
    ],
)
def test_answer_beyond_its_limits_ends(
    script: Script, limits: AnswerLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_answers, "API_LIMITS", AnswerLimits(max_bytes=100_000, seconds=1.0))
    started = time.monotonic()
    with serve(script) as server, pytest.raises(httpx.RequestError):
        get(server.url, limits)
    assert time.monotonic() - started < 60  # a busy machine is slow


def test_answer_within_its_limits_is_read() -> None:
    body = OK + b"Content-Length: 6\r\n\r\n[1, 2]"
    with serve(lambda connection: connection.sendall(body)) as server:
        assert get(server.url).json() == [1, 2]


def test_line_starts_its_time_again() -> None:
    def send(connection: socket.socket) -> None:
        connection.sendall(OK + b"\r\n")
        for _ in range(8):
            time.sleep(0.1)
            connection.sendall(b"{}\n")

    limits = AnswerLimits(line_bytes=100, line_seconds=0.5)
    with serve(send) as server:
        assert get(server.url, limits).text == "{}\n" * 8


def redirect(to: str) -> bytes:
    return f"HTTP/1.1 307 Temporary\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()


def test_redirect_loop_ends() -> None:
    with serve(lambda connection: connection.sendall(redirect("/again"))) as server:
        with pytest.raises(httpx.TooManyRedirects):
            get(server.url)
        assert len(server.requests) <= 21


@pytest.mark.parametrize(
    "to", ["file:///etc/passwd", "ftp://x.example/", "data:,x", "//", "http://[", "http://x:999999"]
)
def test_redirect_to_no_web_address_is_refused(to: str) -> None:
    answer = redirect(to)
    with (
        serve(lambda connection: connection.sendall(answer)) as server,
        pytest.raises(httpx.RequestError),
    ):
        get(server.url)


def make_answers(*hops: tuple[str, str], home: str = "") -> httpx.Client:
    """Return a client without a network: each address redirects to the next."""
    targets = dict(hops)

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        target = targets.get(str(request.url))
        return httpx.Response(307, headers={"location": target}) if target else httpx.Response(200)

    seen: list[httpx.Request] = []
    client = httpx.Client(transport=httpx.MockTransport(handle), follow_redirects=True)
    client.headers["x-seen"] = "1"
    client.seen = seen  # type: ignore[attr-defined]
    return bound_answers(client, lambda _: LIMITS, (lambda: home) if home else None)


SECRETS = {"authorization": "Bearer hf_secret", "cookie": "a=hf_secret"}


@pytest.mark.parametrize(
    ("start", "target", "keeps"),
    [
        ("https://hub.example/a", "https://hub.example/b", True),
        ("http://hub.example/a", "https://hub.example/b", True),
        ("https://hub.example/a", "https://cdn.example/b", False),
        ("https://hub.example/a", "https://hub.example.evil.example/b", False),
        ("https://hub.example/a", "https://hub.example:444/b", False),
        ("http://localhost:1/a", "http://127.0.0.1:1/b", False),
    ],
)
def test_secrets_stay_with_their_host(start: str, target: str, keeps: bool) -> None:
    client = make_answers((start, target))
    client.get(start, headers=SECRETS)
    last = client.seen[-1]  # type: ignore[attr-defined]
    assert str(last.url) == target
    assert ("authorization" in last.headers) == keeps


def test_secrets_that_a_library_sends_on_stay_with_their_host() -> None:
    """Libraries that follow redirects themselves copy the headers of the first request, unlike httpx."""
    client = make_answers()
    origin = {"lora_studio.origin": ("https", "hub.example", None)}
    for url in ("https://hub.example/b", "https://cdn.example/b"):
        client.send(client.build_request("GET", url, headers=SECRETS, extensions=dict(origin)))
    first, second = client.seen  # type: ignore[attr-defined]
    assert SECRETS.keys() <= first.headers.keys()
    assert not SECRETS.keys() & second.headers.keys()


@pytest.mark.parametrize(
    ("home", "target", "keeps"),
    [
        ("https://hub.example", "https://hub.example/next", True),
        ("https://hub.example:443/base", "https://hub.example/next", True),
        ("http://hub.example", "https://hub.example/next", True),
        ("https://hub.example", "http://hub.example/next", False),
        ("https://hub.example", "https://evil.example/next", False),
        ("https://hub.example", "https://hub.example:444/next", False),
        ("http://hub.example:8080", "https://hub.example/next", False),
    ],
)
def test_address_in_an_answer_gets_no_secrets_of_another_server(
    home: str, target: str, keeps: bool
) -> None:
    client = make_answers(home=home)
    names = (*SECRETS, "x-api-key", "api-key", "proxy-authorization")
    client.get(target, headers=dict.fromkeys(names, "hf_secret"))
    (request,) = client.seen  # type: ignore[attr-defined]
    sent = [name for name in names if name in request.headers]
    assert sent == ([*names] if keeps else [])


@pytest.mark.parametrize(
    ("method", "start", "target"),
    [
        pytest.param("GET", "https://hub.example", "http://hub.example", id="unencrypted"),
        pytest.param("GET", "https://hub.example", "http://x.example", id="unencrypted elsewhere"),
        pytest.param("GET", "https://hub.example", "https://127.0.0.1/x", id="this computer"),
        pytest.param("GET", "http://hub.example", "http://localhost:11434/x", id="local server"),
        pytest.param("POST", "https://hub.example", "https://x.example", id="sent elsewhere"),
    ],
)
def test_redirect_to_an_unsafe_address_is_refused(method: str, start: str, target: str) -> None:
    client = make_answers((start, target))
    with pytest.raises(UntrustedAnswerError) as caught:
        client.request(method, start, headers=SECRETS, content=b"x" if method == "POST" else None)
    assert "hub.example" in str(caught.value.reason)
    assert len(client.seen) == 1  # type: ignore[attr-defined]
