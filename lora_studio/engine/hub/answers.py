"""Check what a Hub answers before it becomes a path on this computer.

The Hub can be any server that HF_ENDPOINT names, or one that stands in between.
"""

from __future__ import annotations

import functools
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from lora_studio.core.network.bounded_answers import UntrustedAnswerError
from lora_studio.core.problems import ProblemError, fail

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

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
