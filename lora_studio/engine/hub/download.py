"""Resumable downloads of weight files into the Hub's cache.

WORKAROUND: huggingface_hub 1.x discards a partial file when a download ends early, and its Xet
transfer keeps nothing either: a 5 GB file would start over after every cancel. The files are stored
where the library stores them, so that it and all other tools find them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse

from lora_studio.core.system.foreign_files import open_regular
from lora_studio.core.system.mounts import create_folder
from lora_studio.engine.hub.answers import check_checksum
from lora_studio.engine.hub.progress_bars import create_every_bytes_bar

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

#: Bytes between two checks for a cancel. The library's own 10 MB take half a minute on a slow line.
_CHUNK = 1 << 20

#: The Hub serves larger files through Xet alone; these are left to the library.
LARGEST = 50_000_000_000

#: Suffix of an incomplete file; the name before it is the file's digest.
PART = ".lora-studio.incomplete"


def download_weights(
    repository: str,
    commit: str,
    sizes: Mapping[str, int],
    folder: Path,
    on_bytes: Callable[[int], None],
) -> None:
    """Download files of a commit into the repository's folder of the cache.

    `sizes` maps file names to bytes. `on_bytes` is called with bytes as they arrive, those of an
    earlier attempt included; what it raises ends the download, and what has arrived is kept. Raises
    what the Hub library raises.
    """
    for name, size in sizes.items():
        snapshot = folder / "snapshots" / commit / name
        if not snapshot.exists() and size <= LARGEST:
            _download_file(repository, commit, name, folder, snapshot, on_bytes)


def _download_file(
    repository: str,
    commit: str,
    name: str,
    folder: Path,
    snapshot: Path,
    on_bytes: Callable[[int], None],
) -> None:
    import huggingface_hub
    from huggingface_hub import constants, utils

    constants.DOWNLOAD_CHUNK_SIZE = _CHUNK
    url = huggingface_hub.hf_hub_url(repository, name, revision=commit)
    metadata = huggingface_hub.get_hf_file_metadata(url)
    checksum = check_checksum(metadata.etag)
    headers = utils.build_hf_headers()  # type: ignore[attr-defined] # documented, in no __all__
    if urlparse(url).netloc != urlparse(metadata.location).netloc:
        headers.pop("authorization", None)  # the storage behind the Hub must not see the token
    blob = folder / "blobs" / checksum
    part = blob.with_name(checksum + PART)
    lock = folder.parent / ".locks" / folder.name / f"{checksum}.lock"
    for parent in (blob.parent, lock.parent, snapshot.parent):
        create_folder(parent)
    with utils.WeakFileLock(lock):  # type: ignore[attr-defined] # likewise
        if not blob.exists():
            _append_rest(part, metadata, headers, name, on_bytes)
            if not _has_digest(part, checksum, on_bytes):
                part.unlink()
                raise ConnectionError(f"{name} is damaged and will be downloaded again")
            part.replace(blob)
        _link(blob, snapshot)


def _append_rest(
    part: Path,
    metadata: HfFileMetadata,
    headers: dict[str, str],
    name: str,
    on_bytes: Callable[[int], None],
) -> None:
    """Download what is missing of an incomplete file, and no more than the Hub announced."""
    from huggingface_hub import file_download

    with part.open("ab") as file:
        resume_size = file.tell()
        if metadata.size is not None and resume_size > metadata.size:
            file.truncate(0)
            resume_size = 0
        on_bytes(resume_size)
        file_download.http_get(
            metadata.location,
            file,
            resume_size=resume_size,
            headers=headers,
            expected_size=metadata.size,
            displayed_filename=name,
            tqdm_class=create_every_bytes_bar(on_bytes),
        )


def _has_digest(part: Path, checksum: str, on_bytes: Callable[[int], None]) -> bool:
    """Return whether a file matches its digest; True where none is known."""
    if len(checksum) != 64:
        return True  # only large files have the SHA-256 of their content there
    digest = hashlib.sha256()
    with open_regular(part) as file:
        while block := file.read(16 * _CHUNK):
            digest.update(block)
            on_bytes(0)  # lets a cancel through
    return digest.hexdigest() == checksum


def _link(blob: Path, snapshot: Path) -> None:
    """Link as the library does: relatively, or by moving the file where links are unsupported."""
    snapshot.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        snapshot.symlink_to(os.path.relpath(blob, snapshot.parent))
        return
    blob.replace(snapshot)
