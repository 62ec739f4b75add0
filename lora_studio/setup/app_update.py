"""Check for a newer version of the program, only if the user has allowed it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lora_studio import __version__
from lora_studio.core.messages import Text, text
from lora_studio.core.problems import InvalidContentError, fail
from lora_studio.setup.http_client import HttpClient, LazyModule

if TYPE_CHECKING:
    import httpx
else:
    httpx = LazyModule("httpx")  # imported lazily: takes a tenth of the window's start-up time

#: For distributors: environment variable with a URL that returns the latest version as JSON.
VARIABLE = "LORA_STUDIO_UPDATES"

#: Largest response that is read, in bytes.
_LARGEST = 1_000_000


@dataclass(frozen=True)
class Release:
    """A newer version, with the addresses of its release notes and download."""

    version: str
    url: str


def get_server_address(chosen: str) -> str:
    """Return the address of the update server: the user's, else the distributor's, else ""."""
    return chosen.strip() or os.environ.get(VARIABLE, "")


def find_newer_release(url: str, current: str = __version__) -> Release | None:
    """Return the newer release at an address, or None if this one is the latest.

    The response is one JSON object: `version` and `url`, or `tag_name` and `html_url` as in
    GitHub's release API. Nothing about this machine is sent. Raises ProblemError.
    """
    try:
        answer = _read(url)
        version = str(answer.get("version") or answer["tag_name"])
        page = str(answer.get("url") if "version" in answer else answer["html_url"])
        newer = _parse_version(version) > _parse_version(current)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        raise fail(
            "update.unknown",
            "Couldn't check for updates: {reason}.",
            "Check the network connection and the address in Settings.",
            reason=_describe_error(error),
        ) from error
    if not page.startswith(("https://", "http://")):
        page = ""
    return Release(version.lstrip("v"), page) if newer else None


def _read(url: str) -> dict[str, Any]:
    with HttpClient() as web, web.stream(url, {"Accept": "application/json"}) as response:
        response.raise_for_status()
        content = b""
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > _LARGEST:
                raise InvalidContentError("the response is too large")
    answer = httpx.Response(200, content=content).json()
    if not isinstance(answer, dict):
        raise InvalidContentError("the response isn't a JSON object")
    return answer


def _parse_version(version: str) -> tuple[int, ...]:
    """Return the numbers of a version: v1.2.3 is (1, 2, 3); raises InvalidContentError if it isn't a version."""
    match = re.fullmatch(r"v?(\d+(?:\.\d+)*)", version.strip())
    if match is None:
        raise InvalidContentError("“{version}” isn't a version number", version=version[:40])
    numbers = [int(part) for part in match[1].split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _describe_error(error: Exception) -> Text:
    if isinstance(error, InvalidContentError):
        return error.reason
    if isinstance(error, httpx.HTTPStatusError):
        return text("the server returned status {status:d}", status=error.response.status_code)
    if isinstance(error, KeyError):
        return text("the response has no field named {name}", name=error.args[0])
    return text("{reason}", reason=str(error).rstrip(".") or type(error).__name__)
