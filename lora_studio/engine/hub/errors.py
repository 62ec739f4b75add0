"""Translate failures of the Hugging Face Hub into problems, with what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from lora_studio.core.messages import Template, Text
from lora_studio.core.network.bounded_answers import UntrustedAnswerError
from lora_studio.core.network.purposes import Purpose
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.system import offline
from lora_studio.engine.hub.client import contact_hub

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

RepositoryKind = Literal["model", "dataset"]


@contextmanager
def translate_hub_errors(repository: str, revision: str, kind: RepositoryKind) -> Iterator[None]:
    """Raise ProblemError for each failure of the Hub inside the block.

    Codes begin with `kind`, as in `model.gated`.
    """
    from huggingface_hub import errors

    purpose = Purpose.MODEL_DOWNLOAD if kind == "model" else Purpose.DATASET_DOWNLOAD
    try:
        with contact_hub(purpose):
            yield
    except errors.GatedRepoError as error:
        raise (
            hub_error(
                kind,
                "gated",
                "{repository} is gated: you must accept its terms first.",
                "Accept the terms at {url}, then sign in with your token.",
                repository=repository,
                url=get_repository_url(repository, kind),
            )
        ) from error
    except errors.RevisionNotFoundError as error:
        raise (
            hub_error(
                kind,
                "revision_not_found",
                "{repository} has no branch, tag, or commit named {revision}.",
                "Use main, or copy a commit hash from {url}.",
                field="revision" if kind == "model" else "",
                repository=repository,
                revision=revision,
                url=get_repository_url(repository, kind),
            )
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise (
            hub_error(
                kind,
                "not_found",
                "{repository} doesn't exist on the Hub, or you don't have access to it.",
                "Check the spelling. If the repository is private, sign in with a token.",
                repository=repository,
            )
        ) from error
    except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError) as error:
        raise _not_available_offline_error(repository, kind) from error
    except errors.HFValidationError as error:
        raise (
            hub_error(
                kind,
                "not_found",
                "{repository} is neither a folder nor a Hub ID.",
                "A Hub ID looks like organization/name.",
                repository=repository,
            )
        ) from error
    except (errors.NotASafetensorsRepoError, errors.SafetensorsParsingError) as error:
        raise (
            hub_error(
                kind,
                "no_weights",
                "{repository} has no readable .safetensors file.",
                "Choose the repository of the model itself, with config.json and .safetensors files.",
                repository=repository,
            )
        ) from error
    except errors.HfHubHTTPError as error:
        raise http_error(error, kind, repository=repository) from error
    except get_network_errors() as error:
        raise (
            hub_error(
                kind,
                "interrupted",
                "The download of {repository} was interrupted: {reason}.",
                "Check the network and try again. Downloaded data is kept.",
                repository=repository,
                reason=describe_network_error(error),
            )
        ) from error


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
    if is_offline():
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
    if status == 0:
        return hub_error(
            kind,
            "hub_failed",
            "The Hub didn't respond.",
            "Try again later. Downloaded data is kept.",
            **values,
        )
    return hub_error(
        kind,
        "hub_failed",
        "The Hub answered with status {status:d}.",
        "Try again later. Downloaded data is kept.",
        status=status,
        **values,
    )


def get_repository_url(repository: str, kind: RepositoryKind = "model") -> str:
    """Return the address of a repository's page."""
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{repository}"


def is_offline() -> bool:
    """Return whether the Hub library is in offline mode."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def get_unreachable_errors() -> tuple[type[BaseException], ...]:
    """Return the exceptions raised when the Hub can't be reached: a failing network or offline mode."""
    from huggingface_hub import errors

    return (errors.OfflineModeIsEnabled, *get_network_errors())


def get_network_errors() -> tuple[type[BaseException], ...]:
    """Return the exceptions raised when a connection fails."""
    import httpx

    return (httpx.HTTPError, ConnectionError, TimeoutError)


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
