"""The check for a newer version, against a local server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from lora_studio.core.problems import ProblemError
from lora_studio.setup import app_update
from lora_studio.setup.app_update import Release

ANSWER: dict[str, Any] = {"status": 200, "body": b"", "asked": []}


@pytest.fixture
def address() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            ANSWER["asked"].append(dict(self.headers))
            self.send_response(ANSWER["status"])
            self.send_header("Content-Length", str(len(ANSWER["body"])))
            self.end_headers()
            self.wfile.write(ANSWER["body"])

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    ANSWER.update(status=200, asked=[])
    yield f"http://127.0.0.1:{server.server_address[1]}/latest"
    server.shutdown()
    server.server_close()
    thread.join()


def answer(**found: object) -> None:
    ANSWER["body"] = json.dumps(found).encode()


def test_newer_version_is_reported_with_its_page(address: str) -> None:
    answer(tag_name="v0.10.0", html_url="https://example.org/0.10", assets=[])
    assert app_update.find_newer_release(address, "0.9.3") == Release(
        "0.10.0", "https://example.org/0.10"
    )
    answer(version="2.0", url="https://example.org/2")
    assert app_update.find_newer_release(address, "1.9") == Release("2.0", "https://example.org/2")


@pytest.mark.parametrize("version", ["0.9.3", "v0.9.3.0", "0.9.2", "0.9"])
def test_same_or_older_version_is_not_reported(address: str, version: str) -> None:
    answer(version=version, url="https://example.org")
    assert app_update.find_newer_release(address, "0.9.3") is None


def test_link_that_is_not_a_web_page_is_dropped(address: str) -> None:
    answer(version="9", url="file:///etc/passwd")
    assert app_update.find_newer_release(address, "1") == Release("9", "")


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"[]", b"{}", b'{"version": "newest", "url": "x"}', b" " * 2_000_000],
    ids=["html", "list", "no-version", "version-not-a-number", "too-large"],
)
def test_invalid_answer_is_a_problem(address: str, body: bytes) -> None:
    ANSWER["body"] = body
    with pytest.raises(ProblemError) as caught:
        app_update.find_newer_release(address)
    assert caught.value.problems[0].code == "update.unknown"


def test_error_status_is_a_problem_with_the_status(address: str) -> None:
    answer()
    ANSWER["status"] = 404
    with pytest.raises(ProblemError, match="404"):
        app_update.find_newer_release(address)


def test_unreachable_address_is_a_problem() -> None:
    with pytest.raises(ProblemError, match="Couldn't check for updates"):
        app_update.find_newer_release("http://127.0.0.1:9/latest")
