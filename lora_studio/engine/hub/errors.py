"""Failures of the Hugging Face Hub as problems: which exception means what, and what to do next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from lora_studio.core.messages import Template
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.system import offline

RepositoryKind = Literal["model", "dataset"]


@contextmanager
def translate_hub_errors(repository: str, revision: str, kind: RepositoryKind) -> Iterator[None]:
    """Raise ProblemError for whatever goes wrong with the Hub inside the block.

    Codes begin with `kind`, as in `model.gated`.
    """
    from huggingface_hub import errors

    def problem(
        code: str, what: Template, remedy: Template, *, field: str = "", **values: Any
    ) -> Exception:
        where = Where(step=kind, field=field or ("source" if kind == "model" else "sources"))
        return fail(
            f"{kind}.{code}", what, remedy, where=where, **values | {"repository": repository}
        )

    try:
        yield
    except errors.GatedRepoError as error:
        raise problem(
            "gated",
            "{repository} is gated: you must accept its terms first.",
            "Accept the terms at {url}, then sign in with your token.",
            url=repository_url(repository, kind),
        ) from error
    except errors.RevisionNotFoundError as error:
        raise problem(
            "revision_not_found",
            "{repository} has no branch, tag or commit named {revision}.",
            "Use main, or copy a commit hash from {url}.",
            field="revision" if kind == "model" else "",
            revision=revision,
            url=repository_url(repository, kind),
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise problem(
            "not_found",
            "{repository} doesn't exist on the Hub, or you don't have access to it.",
            "Check the spelling. If the repository is private, sign in with a token.",
        ) from error
    except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError) as error:
        if is_offline():
            raise problem(
                "offline",
                "Offline mode is on, and {repository} is not complete on this computer.",
                offline.REMEDY,
            ) from error
        raise problem(
            "offline",
            "{repository} is not on this computer and the Hub can't be reached.",
            "Connect to the network, or choose a model folder on this computer."
            if kind == "model"
            else "Connect to the network, or choose a file or folder on this computer.",
        ) from error
    except errors.HFValidationError as error:
        raise problem(
            "not_found",
            "{repository} is neither a folder nor a Hub ID.",
            "A Hub ID looks like organization/name.",
        ) from error
    except (errors.NotASafetensorsRepoError, errors.SafetensorsParsingError) as error:
        raise problem(
            "no_weights",
            "{repository} has no readable .safetensors file.",
            "Choose the repository of the model itself, with config.json and .safetensors files.",
        ) from error
    except errors.HfHubHTTPError as error:
        raise http_problem(error, problem) from error
    except network_errors() as error:
        raise problem(
            "interrupted",
            "The download of {repository} was interrupted: {reason}.",
            "Check the network and try again. Downloaded data is kept.",
            reason=str(error) or type(error).__name__,
        ) from error


def http_problem(error: Any, problem: Callable[..., Exception]) -> Exception:
    """Return the problem of an HTTP error; `problem` makes it of code, what, remedy and values."""
    status = error.response.status_code if error.response is not None else 0
    if status == 401:
        return problem(
            "token",
            "The Hub rejected your token.",
            "Sign in with a valid token that has read access.",
        )
    if status == 429:
        return problem(
            "busy",
            "The Hub's rate limit was reached.",
            "Wait a few minutes and try again. The limit is higher when you're signed in.",
        )
    if status == 0:
        return problem(
            "hub_failed",
            "The Hub sent no answer.",
            "Try again later. Downloaded data is kept.",
        )
    return problem(
        "hub_failed",
        "The Hub answered with status {status:d}.",
        "Try again later. Downloaded data is kept.",
        status=status,
    )


def repository_url(repository: str, kind: RepositoryKind = "model") -> str:
    """Return the address of a repository's page."""
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{repository}"


def is_offline() -> bool:
    """Return whether the Hub library is in offline mode."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def unreachable_errors() -> tuple[type[BaseException], ...]:
    """Return what is raised when the Hub can't be reached: a failing network or offline mode."""
    from huggingface_hub import errors

    return (errors.OfflineModeIsEnabled, *network_errors())


def network_errors() -> tuple[type[BaseException], ...]:
    """Return what is raised when a connection fails."""
    import httpx

    return (httpx.HTTPError, ConnectionError, TimeoutError)


def no_safetensors(repository: str, *, has_pickles: bool) -> ProblemError:
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
