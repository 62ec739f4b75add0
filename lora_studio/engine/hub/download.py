"""Weight files into the hub's cache, going on with what an earlier attempt had fetched of each.

WORKAROUND: huggingface_hub 1.x throws away what it has of a file when a download ends early, and its
other way of fetching (Xet) keeps nothing either: a 5 GB file would begin anew after every cancel. The
files lie where the library puts them, so that it and all other tools find them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from tqdm.auto import tqdm

#: Bytes between two looks at whether the user still wants the download: ten megabytes, which the
#: library reads at a time, are half a minute on a slow line.
_CHUNK = 1 << 20

#: The hub gives larger files through Xet alone; these are left to the library.
LARGEST = 50_000_000_000

#: End of the name of a file that is not complete; the part before is its digest.
PART = ".lora-studio.incomplete"


def weights(
    repository: str,
    commit: str,
    sizes: Mapping[str, int],
    folder: Path,
    added: Callable[[int], None],
) -> None:
    """Fetches files of a commit, bytes each by name, into the repository's folder of the cache.

    `added` is told of bytes as they come, those of an earlier attempt among them; what it raises
    ends the download, and what has arrived stays. Raises what the hub's library raises.
    """
    for name, size in sizes.items():
        snapshot = folder / "snapshots" / commit / name
        if not snapshot.exists() and size <= LARGEST:
            _one(repository, commit, name, folder, snapshot, added)


def _one(
    repository: str,
    commit: str,
    name: str,
    folder: Path,
    snapshot: Path,
    added: Callable[[int], None],
) -> None:
    import huggingface_hub
    from huggingface_hub import constants, file_download, utils

    constants.DOWNLOAD_CHUNK_SIZE = _CHUNK
    url = huggingface_hub.hf_hub_url(repository, name, revision=commit)
    about = huggingface_hub.get_hf_file_metadata(url)
    if about.etag is None:
        raise OSError(f"the hub states no digest of {name}")
    headers = utils.build_hf_headers()  # type: ignore[attr-defined] # documented, in no __all__
    if urlparse(url).netloc != urlparse(about.location).netloc:
        headers.pop("authorization", None)  # the store behind the hub is not to see the token
    blob = folder / "blobs" / about.etag
    part = blob.with_name(about.etag + PART)
    lock = folder.parent / ".locks" / folder.name / f"{about.etag}.lock"
    for place in (blob.parent, lock.parent, snapshot.parent):
        place.mkdir(parents=True, exist_ok=True)
    with utils.WeakFileLock(lock):  # type: ignore[attr-defined] # likewise
        if not blob.exists():
            with part.open("ab") as file:
                had = file.tell()
                if about.size is not None and had > about.size:
                    file.truncate(0)
                    had = 0
                added(had)
                file_download.http_get(
                    about.location,
                    file,
                    resume_size=had,
                    headers=headers,
                    expected_size=about.size,
                    displayed_filename=name,
                    tqdm_class=_counting(added),
                )
            if had and not _is_whole(part, about.etag):
                part.unlink()
                raise ConnectionError(f"{name} arrived damaged and will be fetched anew")
            part.replace(blob)
        _link(blob, snapshot)


def _is_whole(part: Path, etag: str) -> bool:
    """Whether a file that came in several parts is what the hub has, where that is told."""
    if len(etag) != 64:
        return True  # only large files have the SHA-256 of their content there
    with part.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == etag


def _counting(added: Callable[[int], None]) -> type[tqdm]:
    class Counting(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            super().__init__(*args, **kwargs | {"disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            added(int(n or 0))
            return None

    return Counting


def _link(blob: Path, snapshot: Path) -> None:
    """As the library does: a relative link, and the file itself where there are no links."""
    snapshot.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        snapshot.symlink_to(os.path.relpath(blob, snapshot.parent))
        return
    blob.replace(snapshot)
