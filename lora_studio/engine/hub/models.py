"""Fetching from the Hugging Face hub: only the needed files, each failure with its remedy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

from tqdm.auto import tqdm

from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.system import offline
from lora_studio.engine.hub import download
from lora_studio.engine.runtime import disk
from lora_studio.engine.runtime.channel import JobContext

#: Configuration and tokenizer; never pickles, other frameworks' weights or pictures.
_SMALL = ["*.json", "tokenizer.model", "*.jinja", "*.txt", "*.tiktoken", "LICENSE*", "README.md"]
_WEIGHTS = ["*.safetensors"]
#: The same model in other layouts, and adapters beside it.
_OTHERS = ["original/*", "*/*.safetensors", "adapter_model.safetensors"]

#: What helps where there is no room for a download.
_ROOM = (
    "Free some space, or set HF_HOME to a folder on a larger disk and start the program again, then "
    "download it again."
)

_PICKLES = (".bin", ".pt", ".pth", ".ckpt")


@dataclass(frozen=True)
class RemoteModelInfo:
    """A hub model without its weights: its folder in the cache, which may hold all or the small
    files only, the headers of its weights as `model_sources.safetensors_headers` has them, the bytes
    of all files that training needs, and how many of these are still to be fetched.
    """

    folder: Path
    headers: dict[str, dict[str, Any]]
    bytes: int
    missing: int
    gated: bool


def fetch(repository: str, revision: str, job: JobContext, *, own_code: bool = False) -> Path:
    """The snapshot folder of a hub model in the hub's own cache; raises ProblemError.

    What an earlier attempt fetched is not fetched again. `own_code`: with the model's Python files.
    """
    patterns = _patterns(own_code, weights=True)
    with reported(repository, revision, "model"):
        needed = _needed(repository, revision)
        if needed is None:  # no hub: what is on this computer has to do
            return _snapshot(repository, revision, patterns, bar_for(job, "fetching model"))
        if not needed.has_weights:
            raise _without_weights(repository, pickled=needed.pickled)
        if needed.missing:
            disk.require(_cache_folder(), needed.missing, f"Fetching {repository}", _ROOM)
        done = needed.bytes - needed.missing

        def added(more: int) -> None:
            nonlocal done
            done += more
            job.progress("fetching model", min(done, needed.bytes), needed.bytes, "bytes")

        added(0)
        small = _patterns(own_code, weights=False)
        _snapshot(repository, revision, small, _adding(added))
        folder = _repository_folder(repository)
        download.weights(repository, needed.commit, needed.weights, folder, added)
        # Whatever is left: it knows which files there are, and writes down that all are there.
        return _snapshot(repository, revision, patterns, _adding(added))


def outline(
    repository: str, revision: str, job: JobContext, *, own_code: bool = False
) -> RemoteModelInfo:
    """What is known of a hub model before its weights are fetched; raises ProblemError."""
    import huggingface_hub

    with reported(repository, revision, "model"):
        needed = _needed(repository, revision)
        if needed is None:  # no hub: what is on this computer is all there is
            folder = _snapshot(repository, revision, _patterns(own_code, weights=True), None)
            size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
            return RemoteModelInfo(folder, _headers_on_disk(folder), size, 0, gated=False)
        job.progress("looking at the model", 0, None)
        folder = _snapshot(repository, revision, _patterns(own_code, weights=False), None)
        if not needed.missing:
            headers = _headers_on_disk(folder)
        elif not needed.has_weights:
            raise _without_weights(repository, pickled=needed.pickled)
        else:
            found = huggingface_hub.HfApi().get_safetensors_metadata(repository, revision=revision)
            headers = {
                name: {"dtype": x.dtype, "shape": x.shape, "data_offsets": x.data_offsets}
                for file in found.files_metadata.values()
                for name, x in file.tensors.items()
            }
        job.check()
        return RemoteModelInfo(folder, headers, needed.bytes, needed.missing_weights, needed.gated)


def small_files(repository: str, revision: str, *, own_code: bool = False) -> Path:
    """The snapshot folder with configuration and tokenizer, with or without weights; raises
    ProblemError."""
    with reported(repository, revision, "model"):
        return _snapshot(repository, revision, _patterns(own_code, weights=False), None)


@dataclass(frozen=True)
class _Needed:
    bytes: int
    missing: int
    missing_weights: int
    gated: bool
    commit: str
    weights: dict[str, int]
    pickled: bool

    @property
    def has_weights(self) -> bool:
        return bool(self.weights)


def _needed(repository: str, revision: str) -> _Needed | None:
    """Sizes of the files that training needs, as the hub has them; None where there is no hub."""
    import huggingface_hub

    try:
        info = huggingface_hub.HfApi().model_info(
            repository, revision=revision, files_metadata=True, timeout=20
        )
    except unreachable():
        return None
    sizes = {item.rfilename: item.size or 0 for item in info.siblings or ()}
    folder = _repository_folder(repository) / "snapshots" / str(info.sha)
    wanted = [name for name in sizes if _is_needed(name)]
    absent = [name for name in wanted if not (folder / name).exists()]
    return _Needed(
        bytes=sum(sizes[name] for name in wanted),
        missing=sum(sizes[name] for name in absent),
        missing_weights=sum(sizes[name] for name in absent if name.endswith(".safetensors")),
        gated=bool(info.gated),
        commit=str(info.sha),
        weights={name: sizes[name] for name in wanted if name.endswith(".safetensors")},
        pickled=any(name.endswith(_PICKLES) for name in sizes),
    )


def _is_needed(name: str) -> bool:
    """As the library reads the patterns."""
    wanted = any(fnmatch(name, pattern) for pattern in _SMALL + _WEIGHTS)
    return wanted and not any(fnmatch(name, pattern) for pattern in _OTHERS)


def _patterns(own_code: bool, *, weights: bool) -> list[str]:
    return _SMALL + (["*.py"] if own_code else []) + (_WEIGHTS if weights else [])


def _snapshot(repository: str, revision: str, patterns: list[str], bar: type[tqdm] | None) -> Path:
    import huggingface_hub

    folder = huggingface_hub.snapshot_download(
        repository,
        revision=revision,
        allow_patterns=patterns,
        ignore_patterns=_OTHERS,
        tqdm_class=bar or _silent(),
    )
    return Path(folder)


def _cache_folder() -> Path:
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _repository_folder(repository: str) -> Path:
    return _cache_folder() / f"models--{repository.replace('/', '--')}"


def _headers_on_disk(folder: Path) -> dict[str, dict[str, Any]]:
    from lora_studio.engine.model import sources

    return sources.safetensors_headers(sources.check_folder(folder))


def _without_weights(repository: str, *, pickled: bool) -> ProblemError:
    where = Where(step="model", field="source")
    if pickled:
        return fail(
            "model.pickle",
            f"{repository} has its weights only as pickles. That format can run any code when it "
            "is opened, so it is never loaded.",
            "Choose a model that is stored as safetensors; most have such a version.",
            where=where,
        )
    return fail(
        "model.no_weights",
        f"{repository} holds no .safetensors file.",
        "Choose a repository of the model itself: config.json and .safetensors files.",
        where=where,
    )


@contextmanager
def reported(repository: str, revision: str, kind: Literal["model", "dataset"]) -> Iterator[None]:
    """Turns whatever goes wrong with the hub in the block into ProblemError."""
    from huggingface_hub import errors

    def problem(code: str, what: str, remedy: str, field: str = "") -> ProblemError:
        where = Where(step=kind, field=field or ("source" if kind == "model" else "sources"))
        return fail(f"{kind}.{code}", what, remedy, where=where)

    try:
        yield
    except errors.GatedRepoError as error:
        raise problem(
            "gated",
            f"{repository} is open only to people who accepted its terms.",
            f"Accept them on the {kind}'s page ({page_of(repository, kind)}), then sign in with "
            "your token.",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise problem(
            "revision_not_found",
            f"{repository} has no branch, tag or commit called {revision}.",
            f"Use main, or copy a commit from the {kind}'s page.",
            field="revision" if kind == "model" else "",
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise problem(
            "not_found",
            f"The hub has no {kind} {repository} that you may see.",
            f"Check the spelling. A private {kind} needs a token: sign in.",
        ) from error
    except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError) as error:
        if is_offline():
            raise problem(
                "offline",
                f"Offline mode is on, and {repository} is not complete on this computer.",
                offline.REMEDY,
            ) from error
        raise problem(
            "offline",
            f"{repository} is not on this computer yet and the hub cannot be reached.",
            f"Connect to the network, or choose a {kind if kind == 'model' else 'file or'} folder.",
        ) from error
    except errors.HFValidationError as error:
        raise problem(
            "not_found",
            f"{repository} is neither a folder nor a hub id.",
            "A hub id looks like organisation/name.",
        ) from error
    except (errors.NotASafetensorsRepoError, errors.SafetensorsParsingError) as error:
        raise problem(
            "no_weights",
            f"{repository} holds no .safetensors file that can be read.",
            "Choose a repository of the model itself: config.json and .safetensors files.",
        ) from error
    except errors.HfHubHTTPError as error:
        raise http_problem(error, repository, problem) from error
    except network_errors() as error:
        raise problem(
            "interrupted",
            f"Fetching {repository} was interrupted: {error or type(error).__name__}.",
            "Check the network and try again; what has arrived so far is kept.",
        ) from error


def http_problem(
    error: Any, repository: str, problem: Callable[[str, str, str], ProblemError]
) -> ProblemError:
    """The problem of an answer that refuses; `problem` makes it of code, what and remedy."""
    status = error.response.status_code if error.response is not None else 0
    if status == 401:
        code, what = "token", f"The hub does not take your token for {repository}."
        remedy = "Sign in with a token that is valid and may read it."
    elif status == 429:
        code, what = "busy", "The hub asks for a pause: too many requests came from here."
        remedy = "Wait a few minutes. Signed in you may ask more often."
    else:
        code = "hub_failed"
        what = (
            f"The hub answered with {status or 'no answer'} while {repository} was being fetched."
        )
        remedy = "Try again later; what has arrived so far is kept."
    return problem(code, what, remedy)


def page_of(repository: str, kind: str = "model") -> str:
    """The address of a repository's page."""
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{repository}"


def is_offline() -> bool:
    """Whether the hub is not to be asked at all."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def unreachable() -> tuple[type[BaseException], ...]:
    """What is raised when there is no hub: the network fails, or is not to be used."""
    from huggingface_hub import errors

    return (errors.OfflineModeIsEnabled, *network_errors())


def network_errors() -> tuple[type[BaseException], ...]:
    """What is raised when a connection fails."""
    import httpx

    return (httpx.HTTPError, ConnectionError, TimeoutError)


def bar_for(job: JobContext, stage: str) -> type[tqdm]:
    """A progress bar that shows nothing itself, reports to the job and lets a cancel through."""

    class Bar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            # There is a bar for bytes off the network and one for bytes on disk; the latter counts.
            self.counts_bytes = str(kwargs.get("desc", "")).startswith("Reconstructing")
            kwargs.pop("name", None)
            super().__init__(*args, **kwargs | {"disable": True})
            self.total = kwargs.get("total")

        def update(self, n: float | None = 1) -> bool | None:
            self.n += n or 0
            job.check()
            if self.counts_bytes:
                job.progress(stage, self.n, self.total or None, "bytes")
            return None

    return Bar


def _adding(added: Callable[[int], None]) -> type[tqdm]:
    """A bar that shows nothing and passes on the bytes that reach the disk."""

    class Adding(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.counts_bytes = str(kwargs.get("desc", "")).startswith("Reconstructing")
            kwargs.pop("name", None)
            super().__init__(*args, **kwargs | {"disable": True})
            self.total = kwargs.get("total")

        def update(self, n: float | None = 1) -> bool | None:
            added(int(n or 0) if self.counts_bytes else 0)
            return None

    return Adding


def _silent() -> type[tqdm]:
    class Silent(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            super().__init__(*args, **kwargs | {"disable": True})

    return Silent


def weight_names(folder: Path) -> set[str]:
    """Names of the weight files that a model's index lists; empty without an index."""
    try:
        index = json.loads((folder / "model.safetensors.index.json").read_text("utf-8"))
        return {str(name) for name in index["weight_map"].values()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return set()
