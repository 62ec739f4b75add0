"""Download models from the Hugging Face Hub, only the files that are needed."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from tqdm.auto import tqdm

from lora_studio.core.messages import text
from lora_studio.core.model.folders import list_weight_files
from lora_studio.core.network.bounded_answers import UntrustedAnswerError
from lora_studio.core.system.files import create_folder
from lora_studio.core.system.foreign_files import open_regular
from lora_studio.engine.hub.client import (
    SilentBar,
    check_checksum,
    check_commit,
    check_file_name,
    create_bar,
    create_job_bar,
    download_snapshot,
    get_unreachable_errors,
    no_safetensors_error,
    translate_hub_errors,
)
from lora_studio.engine.runtime import disk
from lora_studio.engine.runtime.channel import JobContext

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

#: Configuration and tokenizer; never pickles, other frameworks' weights or pictures.
_SMALL = ["*.json", "tokenizer.model", "*.jinja", "*.txt", "*.tiktoken", "LICENSE*", "README.md"]
_WEIGHTS = ["*.safetensors"]
#: The same model in other layouts, and adapters in the same repository.
_IGNORED = ["original/*", "*/*.safetensors", "adapter_model.safetensors"]

_NO_ROOM_REMEDY = text(
    "Free up some space, or set HF_HOME to a folder on a larger disk and restart LoRA Studio. "
    "Then download the model again."
)

_PICKLES = (".bin", ".pt", ".pth", ".ckpt")


@dataclass(frozen=True)
class RemoteModelInfo:
    """A Hub model before its weights are downloaded.

    `folder` is in the cache and holds all files, or the small ones only. `headers` are those of the
    weights as the Hub reports them (tensor name -> {dtype, shape, data_offsets}), None when all
    weights are in `folder`. `bytes` counts all files that training needs, `missing_bytes` the
    weights that are still to be downloaded.
    """

    folder: Path
    headers: dict[str, dict[str, Any]] | None
    bytes: int
    missing_bytes: int
    gated: bool


def download_model(
    repository: str, revision: str, job: JobContext, *, with_code: bool = False
) -> Path:
    """Return the snapshot folder of a model in the Hub's own cache; raises ProblemError.

    Continues an earlier download. `with_code` also fetches the model's Python files.
    """
    patterns = _get_patterns(with_code, weights=True)
    stage = text("downloading the model")
    with translate_hub_errors(repository, revision, "model"):
        listing = _list_files(repository, revision)
        if listing is None:  # Hub unreachable: use the files on this computer
            bar = create_job_bar(job, stage)
            return _download_snapshot(repository, revision, patterns, bar)
        if not listing.weights:
            raise no_safetensors_error(repository, has_pickles=listing.has_pickles)
        if listing.missing_bytes:
            purpose = text("The download of {repository}", repository=repository)
            disk.require_free_space(
                _get_cache_folder(), listing.missing_bytes, purpose, _NO_ROOM_REMEDY
            )
        done = listing.bytes - listing.missing_bytes

        def on_bytes(more: int) -> None:
            nonlocal done
            done += more
            job.report_progress(stage, min(done, listing.bytes), listing.bytes, "bytes")

        on_bytes(0)
        bar = create_bar(lambda bar, more: on_bytes(more if bar.counts_disk_bytes else 0))
        _download_snapshot(repository, revision, _get_patterns(with_code, weights=False), bar)
        folder = _get_repository_folder(repository)
        download_weights(repository, listing.commit, listing.weights, folder, on_bytes)
        # The library fetches the rest and records that the snapshot is complete.
        return _download_snapshot(repository, revision, patterns, bar)


def get_remote_model_info(
    repository: str, revision: str, job: JobContext, *, with_code: bool = False
) -> RemoteModelInfo:
    """Return what is known of a Hub model before its weights are downloaded; raises ProblemError."""
    import huggingface_hub

    with translate_hub_errors(repository, revision, "model"):
        listing = _list_files(repository, revision)
        if listing is None:  # Hub unreachable: describe the files on this computer
            patterns = _get_patterns(with_code, weights=True)
            folder = _download_snapshot(repository, revision, patterns, None)
            size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
            return RemoteModelInfo(folder, None, size, 0, gated=False)
        job.report_progress(text("inspecting the model"), 0, None)
        patterns = _get_patterns(with_code, weights=False)
        folder = _download_snapshot(repository, revision, patterns, None)
        headers = None
        if listing.missing_bytes:
            if not listing.weights:
                raise no_safetensors_error(repository, has_pickles=listing.has_pickles)
            metadata = huggingface_hub.HfApi().get_safetensors_metadata(
                repository, revision=revision
            )
            headers = {
                name: {"dtype": x.dtype, "shape": x.shape, "data_offsets": x.data_offsets}
                for file in metadata.files_metadata.values()
                for name, x in file.tensors.items()
            }
        job.check()
        missing = listing.missing_weight_bytes
        return RemoteModelInfo(folder, headers, listing.bytes, missing, listing.gated)


def download_small_files(repository: str, revision: str, *, with_code: bool = False) -> Path:
    """Return the snapshot folder with configuration and tokenizer; raises ProblemError."""
    with translate_hub_errors(repository, revision, "model"):
        patterns = _get_patterns(with_code, weights=False)
        return _download_snapshot(repository, revision, patterns, None)


@dataclass(frozen=True)
class _Listing:
    """The files of a commit that training needs; `weights` maps their names to bytes."""

    bytes: int
    missing_bytes: int
    missing_weight_bytes: int
    gated: bool
    commit: str
    weights: dict[str, int]
    has_pickles: bool


def _list_files(repository: str, revision: str) -> _Listing | None:
    """Return the files as the Hub lists them; None when the Hub can't be reached."""
    import huggingface_hub

    try:
        info = huggingface_hub.HfApi().model_info(
            repository, revision=revision, files_metadata=True, timeout=20
        )
    except UntrustedAnswerError:
        raise  # the Hub can be reached, but its answer can't be read
    except get_unreachable_errors():
        return None
    sizes = {check_file_name(item.rfilename): item.size or 0 for item in info.siblings or ()}
    commit = check_commit(info.sha)
    folder = _get_repository_folder(repository) / "snapshots" / commit
    needed = [name for name in sizes if _is_needed(name)]
    absent = [name for name in needed if not (folder / name).exists()]
    return _Listing(
        bytes=sum(sizes[name] for name in needed),
        missing_bytes=sum(sizes[name] for name in absent),
        missing_weight_bytes=sum(sizes[name] for name in absent if name.endswith(".safetensors")),
        gated=bool(info.gated),
        commit=commit,
        weights={name: sizes[name] for name in needed if name.endswith(".safetensors")},
        has_pickles=any(name.endswith(_PICKLES) for name in sizes),
    )


def _is_needed(name: str) -> bool:
    """Match a name against the patterns as the library does."""
    is_listed = any(fnmatch(name, pattern) for pattern in _SMALL + _WEIGHTS)
    return is_listed and not any(fnmatch(name, pattern) for pattern in _IGNORED)


def _get_patterns(with_code: bool, *, weights: bool) -> list[str]:
    return _SMALL + (["*.py"] if with_code else []) + (_WEIGHTS if weights else [])


def _download_snapshot(
    repository: str, revision: str, patterns: list[str], bar: type[tqdm] | None
) -> Path:
    return download_snapshot(
        repository,
        revision=revision,
        allow_patterns=patterns,
        ignore_patterns=_IGNORED,
        tqdm_class=bar or SilentBar,
    )


def _get_cache_folder() -> Path:
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE)
    create_folder(folder)
    return folder


def _get_repository_folder(repository: str) -> Path:
    return _get_cache_folder() / f"models--{repository.replace('/', '--')}"


def read_weight_names(folder: Path) -> set[str]:
    """Return the names of the weight files that a model's index lists; empty without an index."""
    try:
        return set(list_weight_files(folder))
    except (OSError, ValueError):
        return set()


# Resumable downloads of weight files into the Hub's cache.
#
# WORKAROUND: huggingface_hub 1.x discards a partial file when a download ends early, and its Xet
# transfer keeps nothing either: a 5 GB file would start over after every cancel. The files are stored
# where the library stores them, so that it and all other tools find them.

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
            tqdm_class=create_bar(lambda _, more: on_bytes(more)),
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
