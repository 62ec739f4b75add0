"""Contact the Hub: every call of its library is made in a block of `contact_hub`."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from lora_studio.core.network.bounded_answers import (
    API_LIMITS,
    FILE_LIMITS,
    AnswerLimits,
    UntrustedAnswerError,
    bound_answers,
    get_origin,
    reject_malformed_answers,
)
from lora_studio.core.network.connections import contacting, note_contact
from lora_studio.core.network.purposes import Purpose
from lora_studio.engine.hub import answers

#: Where Xet's native code transfers files.
_XET_HOSTS = ("cas-server.xethub.hf.co", "transfer.xethub.hf.co")

#: Pages of lists that are read in a block; a page of files has a thousand.
MAX_PAGES = 200


@contextmanager
def contact_hub(purpose: Purpose) -> Iterator[None]:
    """Declare why the Hub is contacted in a block, with bounded and checked answers."""
    from huggingface_hub import errors

    _prepare_library()
    _pages.clear()
    expected = (OSError, httpx.HTTPError, errors.HFValidationError)
    with contacting(purpose, with_threads=True), reject_malformed_answers(*expected):
        yield


def download_snapshot(repository: str, **options: Any) -> Path:
    """Return the folder of a snapshot, as the library's `snapshot_download`; raises what it raises.

    Files above the limit of the Hub's HTTP downloads are transferred by Xet.
    """
    import huggingface_hub

    try:
        folder = Path(huggingface_hub.snapshot_download(repository, **options))
    except answers.TooLargeForHttpError:
        is_dataset = options.get("repo_type") == "dataset"
        with _allow_xet(Purpose.DATASET_DOWNLOAD if is_dataset else Purpose.MODEL_DOWNLOAD):
            folder = Path(huggingface_hub.snapshot_download(repository, **options))
    _delete_leftovers(folder.parent.parent / "blobs")
    return folder


def _delete_leftovers(blobs: Path) -> None:
    """Delete incomplete files of killed downloads that another download completed.

    The library gives each attempt a name of its own and never deletes those of killed processes.
    """
    for file in blobs.glob("*.incomplete"):
        if (blobs / file.name.partition(".")[0]).exists():
            with contextlib.suppress(OSError):
                file.unlink()


@functools.cache
def _prepare_library() -> None:
    import huggingface_hub

    answers.check_library_downloads()
    huggingface_hub.set_client_factory(_create_http_client)


def _create_http_client() -> httpx.Client:
    """Return the library's own client, with bounded answers."""
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    client = bound_answers(
        _http.default_client_factory(), _choose_limits, lambda: str(constants.ENDPOINT)
    )
    client.event_hooks = client.event_hooks | {
        "response": [*client.event_hooks["response"], _count_page]
    }
    return client


#: Addresses of the further pages that were announced in the current block.
_pages: list[str] = []


def _count_page(response: httpx.Response) -> None:
    """Raise UntrustedAnswerError for a list without an end, or that another server would continue.

    The library reads it to its last page, and sends the token with each request.
    """
    if "next" in response.links:
        _require_same_server(response)
        _pages.append(str(response.url))
        if len(_pages) > MAX_PAGES:
            raise UntrustedAnswerError("the server's list has no end")


def _require_same_server(response: httpx.Response) -> None:
    try:
        following = response.url.join(response.links["next"]["url"])
    except (httpx.InvalidURL, KeyError):
        following = httpx.URL()
    if get_origin(following) != get_origin(response.url):
        raise UntrustedAnswerError(
            "{host} continues its list on another server", host=response.url.host
        )


def _choose_limits(request: httpx.Request) -> AnswerLimits:
    is_file = request.method == "GET" and not request.url.path.startswith("/api/")
    return FILE_LIMITS if is_file else API_LIMITS


@contextmanager
def _allow_xet(purpose: Purpose) -> Iterator[None]:
    from huggingface_hub import constants

    for host in _XET_HOSTS:
        note_contact(host, 443, purpose)
    constants.HF_HUB_DISABLE_XET = False
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_XET = True
