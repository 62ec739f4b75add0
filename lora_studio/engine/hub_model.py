"""Fetching from the Hugging Face hub: only the needed files, each failure with its remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from tqdm.auto import tqdm

from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.engine.channel import Job

#: Configuration, tokenizer and weights; never pickles, other frameworks' weights or pictures.
_FILES = [
    "*.json", "*.safetensors", "tokenizer.model", "*.jinja", "*.txt", "*.tiktoken", "LICENSE*",
    "README.md",
]  # fmt: skip


def fetch(repository: str, revision: str, job: Job) -> Path:
    """The snapshot folder of a hub model in the hub's own cache; raises ProblemError."""
    import huggingface_hub

    with reported(repository, revision, "model"):
        folder = huggingface_hub.snapshot_download(
            repository,
            revision=revision,
            allow_patterns=_FILES,
            ignore_patterns=["original/*", "*/*.safetensors"],
            tqdm_class=bar_for(job, "fetching model"),
        )
    return Path(folder)


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
            f"Accept them on the {kind}'s page, then sign in with `hf auth login` or set HF_TOKEN.",
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
            f"Check the spelling. A private {kind} needs a token: `hf auth login` or HF_TOKEN.",
        ) from error
    except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError) as error:
        raise problem(
            "offline",
            f"{repository} is not on this computer yet and the hub cannot be reached.",
            "Connect to the network (and unset HF_HUB_OFFLINE), or choose a "
            f"{kind if kind == 'model' else 'file or'} folder.",
        ) from error
    except errors.HFValidationError as error:
        raise problem(
            "not_found",
            f"{repository} is neither a folder nor a hub id.",
            "A hub id looks like organisation/name.",
        ) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no answer"
        raise problem(
            "hub_failed",
            f"The hub answered with {status} while {repository} was being fetched.",
            "Try again later; what has arrived so far is kept.",
        ) from error
    except network_errors() as error:
        raise problem(
            "interrupted",
            f"Fetching {repository} was interrupted: {error or type(error).__name__}.",
            "Check the network and try again; what has arrived so far is kept.",
        ) from error


def unreachable() -> tuple[type[BaseException], ...]:
    """What is raised when there is no hub: the network fails, or is not to be used."""
    from huggingface_hub import errors

    return (errors.OfflineModeIsEnabled, *network_errors())


def network_errors() -> tuple[type[BaseException], ...]:
    """What is raised when a connection fails."""
    import httpx

    return (httpx.HTTPError, ConnectionError, TimeoutError)


def bar_for(job: Job, stage: str) -> type[tqdm]:
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
