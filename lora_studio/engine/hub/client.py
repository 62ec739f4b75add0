"""Contact the Hub: every call of its library is made in a block of `contact_hub`."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import httpx
from tqdm.auto import tqdm

from lora_studio.core.messages import Template, Text
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
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.system import offline
from lora_studio.engine.runtime.channel import JobContext

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata
    from huggingface_hub.errors import HfHubHTTPError

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
    except TooLargeForHttpError:
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

    check_library_downloads()
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


# Check what a Hub answers before it becomes a path on this computer.
#
# The Hub can be any server that HF_ENDPOINT names, or one that stands in between.

#: Git hashes of commits, SHA-1 or SHA-256.
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")

#: Checksums: hexadecimal on the Hub, other letters on mirrors.
_CHECKSUM = re.compile(r"[0-9A-Za-z][0-9A-Za-z_=+-]{0,199}")


def check_commit(commit: object) -> str:
    """Return the hash of a commit; raises ProblemError if it isn't one."""
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise _invalid_answer_error(commit)
    return commit


def check_checksum(checksum: object) -> str:
    """Return the checksum of a file, which names it in the cache; raises ProblemError if it can't."""
    if not isinstance(checksum, str) or not _CHECKSUM.fullmatch(checksum):
        raise _invalid_answer_error(checksum)
    return checksum


def check_file_name(name: str) -> str:
    """Return the name of a file in a repository; raises ProblemError if it leads out of it."""
    path = PurePosixPath(name)
    if (
        not name.isprintable()
        or "\\" in name
        or ":" in name
        or path.is_absolute()
        or ".." in path.parts
    ):
        raise _invalid_answer_error(name)
    return name


def _invalid_answer_error(value: object) -> ProblemError:
    return fail(
        "hub.invalid_answer",
        "The Hub answered with a name that can't be a file, checksum, or commit: {value}. Nothing was "
        "written.",
        "Don't use this server. Check the address in HF_ENDPOINT and your proxy settings.",
        value=repr(value)[:200],
    )


@functools.cache
def check_library_downloads() -> None:
    """Check the answers that the Hub's library uses for its own downloads, from now on.

    WORKAROUND: huggingface_hub (1.x) joins the ETag that a server sends to the folder of its cache, so
    a server could write files anywhere with `../`.
    """
    from huggingface_hub import constants, file_download

    original = file_download.get_hf_file_metadata

    @functools.wraps(original)
    def checked(*arguments: Any, **named: Any) -> HfFileMetadata:
        metadata = original(*arguments, **named)
        if metadata.etag is not None:
            check_checksum(metadata.etag)
        if metadata.commit_hash is not None:
            check_commit(metadata.commit_hash)
        return metadata

    file_download.get_hf_file_metadata = checked
    original_get = file_download.http_get

    @functools.wraps(original_get)
    def bounded(url: str, temp_file: Any, **named: Any) -> None:
        size = named.get("expected_size")
        if size is not None and size > constants.MAX_HTTP_DOWNLOAD_SIZE:
            raise TooLargeForHttpError(size)
        file: Any = temp_file if size is None else _BoundedFile(temp_file, size)
        original_get(url, file, **named)

    file_download.http_get = bounded


class TooLargeForHttpError(ValueError):
    """Raised for a file of so many bytes that the Hub serves it through Xet alone."""


class _BoundedFile:
    """A file that is written up to the size that the Hub stated, however much a server sends."""

    def __init__(self, file: Any, size: int) -> None:
        self._file, self._size = file, size

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: bytes) -> int:
        if self._file.tell() + len(data) > self._size:
            raise UntrustedAnswerError(
                "the server sends more than the {size:size} it announced", size=self._size
            )
        return int(self._file.write(data))


class SilentBar(tqdm):
    """A bar that shows nothing; `counts_disk_bytes` unless it counts those from the network.

    The library opens one bar for each.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.counts_disk_bytes = str(kwargs.get("desc", "")).startswith("Reconstructing")
        kwargs.pop("name", None)
        super().__init__(*args, **kwargs | {"disable": True})
        self.total = kwargs.get("total")


def create_bar(on_step: Callable[[SilentBar, int], object]) -> type[SilentBar]:
    """Return a bar class that calls `on_step` with each bar and its further bytes."""

    class Bar(SilentBar):
        def update(self, n: float | None = 1) -> bool | None:
            self.n += n or 0
            on_step(self, int(n or 0))
            return None

    return Bar


def create_job_bar(job: JobContext, stage: Text) -> type[SilentBar]:
    """Return a bar class that reports the bytes on disk as progress of a job, and ends a canceled one."""

    def on_step(bar: SilentBar, _: int) -> None:
        job.check()
        if bar.counts_disk_bytes:
            job.report_progress(stage, bar.n, bar.total or None, "bytes")

    return create_bar(on_step)


RepositoryKind = Literal["model", "dataset"]

#: Raised when a connection fails.
NETWORK_ERRORS = (httpx.HTTPError, ConnectionError, TimeoutError)


@contextmanager
def translate_hub_errors(repository: str, revision: str, kind: RepositoryKind) -> Iterator[None]:
    """Raise ProblemError for each failure of the Hub inside the block.

    Codes begin with `kind`, as in `model.gated`.
    """
    purpose = Purpose.MODEL_DOWNLOAD if kind == "model" else Purpose.DATASET_DOWNLOAD
    try:
        with contact_hub(purpose):
            yield
    except Exception as error:
        if (translated := _translate_error(error, repository, revision, kind)) is None:
            raise
        raise translated from error


def _translate_error(
    error: Exception, repository: str, revision: str, kind: RepositoryKind
) -> ProblemError | None:
    """Return the problem of an exception of the library or the network, None for any other."""
    from huggingface_hub import errors

    match error:
        case errors.GatedRepoError():
            return hub_error(
                kind,
                "gated",
                "{repository} is gated: you must accept its terms first.",
                "Accept the terms at {url}, then sign in with your token.",
                repository=repository,
                url=get_repository_url(repository, kind),
            )
        case errors.RevisionNotFoundError():
            return hub_error(
                kind,
                "revision_not_found",
                "{repository} has no branch, tag, or commit named {revision}.",
                "Use main, or copy a commit hash from {url}.",
                field="revision" if kind == "model" else "",
                repository=repository,
                revision=revision,
                url=get_repository_url(repository, kind),
            )
        case errors.RepositoryNotFoundError():
            return hub_error(
                kind,
                "not_found",
                "{repository} doesn't exist on the Hub, or you don't have access to it.",
                "Check the spelling. If the repository is private, sign in with a token.",
                repository=repository,
            )
        case errors.OfflineModeIsEnabled() | errors.LocalEntryNotFoundError():
            return _not_available_offline_error(repository, kind)
        case errors.HFValidationError():
            return hub_error(
                kind,
                "not_found",
                "{repository} is neither a folder nor a Hub ID.",
                "A Hub ID looks like organization/name.",
                repository=repository,
            )
        case errors.NotASafetensorsRepoError() | errors.SafetensorsParsingError():
            return hub_error(
                kind,
                "no_weights",
                "{repository} has no readable .safetensors file.",
                "Choose the repository of the model itself, with config.json and .safetensors files.",
                repository=repository,
            )
        case errors.HfHubHTTPError():
            return http_error(error, kind, repository=repository)
    if not isinstance(error, NETWORK_ERRORS):
        return None
    return hub_error(
        kind,
        "interrupted",
        "The download of {repository} was interrupted: {reason}.",
        "Check the network and try again. Downloaded data is kept.",
        repository=repository,
        reason=describe_network_error(error),
    )


def hub_error(
    kind: RepositoryKind,
    code: str,
    what: Template,
    remedy: Template,
    *,
    field: str = "",
    **values: Any,
) -> ProblemError:
    """Return the error `kind.code` at a field of the model or dataset, by default its source."""
    where = Where(step=kind, field=field or ("source" if kind == "model" else "sources"))
    return fail(f"{kind}.{code}", what, remedy, where=where, **values)


def _not_available_offline_error(repository: str, kind: RepositoryKind) -> ProblemError:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return hub_error(
            kind,
            "offline",
            "Offline mode is on, and {repository} is not complete on this computer.",
            offline.REMEDY,
            repository=repository,
        )
    return hub_error(
        kind,
        "offline",
        "{repository} is not on this computer and the Hub can't be reached.",
        "Connect to the network, or choose a model folder on this computer."
        if kind == "model"
        else "Connect to the network, or choose a file or folder on this computer.",
        repository=repository,
    )


def describe_network_error(error: BaseException) -> Text | str:
    """Return why a connection failed, as the end of a sentence."""
    if isinstance(error, UntrustedAnswerError):
        return error.reason
    return str(error) or type(error).__name__


def http_error(error: HfHubHTTPError, kind: RepositoryKind, **values: Any) -> ProblemError:
    """Return the problem of an HTTP status that has no exception class of its own."""
    status = error.response.status_code if error.response is not None else 0
    if status == 401:
        return hub_error(
            kind,
            "token",
            "The Hub rejected your token.",
            "Sign in with a valid token that has read access.",
            **values,
        )
    if status == 429:
        return hub_error(
            kind,
            "busy",
            "The Hub's rate limit was reached.",
            "Wait a few minutes and try again. The limit is higher when you're signed in.",
            **values,
        )
    return hub_error(
        kind,
        "hub_failed",
        "The Hub answered with status {status:d}." if status else "The Hub didn't respond.",
        "Try again later. Downloaded data is kept.",
        status=status,
        **values,
    )


def get_repository_url(repository: str, kind: RepositoryKind = "model") -> str:
    """Return the address of a repository's page."""
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{repository}"


def get_unreachable_errors() -> tuple[type[BaseException], ...]:
    """Return the exceptions raised when the Hub can't be reached: a failing network or offline mode."""
    from huggingface_hub import errors

    return (errors.OfflineModeIsEnabled, *NETWORK_ERRORS)


def no_safetensors_error(repository: str, *, has_pickles: bool) -> ProblemError:
    """Return the error for a repository without safetensors weights."""
    where = Where(step="model", field="source")
    if has_pickles:
        return fail(
            "model.pickle",
            "{repository} has only pickle weights. Pickle files can run any code when they are "
            "opened, so they are never loaded.",
            "Choose a model that is stored as safetensors. Most models have such a version.",
            where=where,
            repository=repository,
        )
    return fail(
        "model.no_weights",
        "{repository} has no .safetensors file.",
        "Choose the repository of the model itself, with config.json and .safetensors files.",
        where=where,
        repository=repository,
    )
