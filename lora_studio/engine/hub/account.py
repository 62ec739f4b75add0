"""Sign in to the Hugging Face Hub; the token is saved in the Hub library's own store only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_studio.core.messages import text
from lora_studio.core.model.catalog import (
    ModelEntry,
    explain_quantization,
    explain_refusal,
    get_architecture,
)
from lora_studio.core.network.bounded_answers import MALFORMED_ERRORS, UntrustedAnswerError
from lora_studio.core.network.purposes import Purpose
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.protocol import events
from lora_studio.core.protocol.commands import SearchModels
from lora_studio.core.system import offline
from lora_studio.engine.hub.client import (
    NETWORK_ERRORS,
    contact_hub,
    describe_network_error,
    get_unreachable_errors,
    http_error,
    hub_error,
)
from lora_studio.engine.runtime.channel import JobContext

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

_WHERE = Where(step="model", field="source")
_STAGE = text("contacting the Hub")


def read_account(job: JobContext) -> events.AccountFound:
    """Return whose token is used; the name is "" without a token or when the Hub can't be reached."""
    import huggingface_hub

    token = huggingface_hub.get_token()
    if token is None:
        return events.AccountFound(name="", has_token=False)
    job.report_progress(_STAGE, 0, None)
    from_environment = bool(os.environ.get("HF_TOKEN"))
    try:
        with contact_hub(Purpose.HUB_ACCOUNT):
            name = str(huggingface_hub.HfApi().whoami(token=token).get("name", ""))
    except get_unreachable_errors():
        name = ""
    return events.AccountFound(name=name, has_token=True, from_environment=from_environment)


def sign_in(token: str, job: JobContext) -> events.AccountFound:
    """Save a token that the Hub accepts; raises ProblemError for one that it rejects."""
    from huggingface_hub import errors

    token = token.strip()
    if not token:
        raise fail(
            "model.token",
            "No token was given.",
            "Copy one from your Hugging Face settings and paste it here.",
            where=_WHERE,
        )
    job.report_progress(_STAGE, 0, None)
    try:
        with contact_hub(Purpose.HUB_ACCOUNT):
            _log_in(token)
    except errors.OfflineModeIsEnabled:
        raise fail(
            "model.offline",
            "Offline mode is on, so the token can't be checked.",
            offline.REMEDY,
            where=_WHERE,
        ) from None
    except errors.HfHubHTTPError:
        # From None: the library's message may hold what was sent.
        raise _rejected_token_error() from None
    except get_unreachable_errors():
        raise fail(
            "model.offline",
            "The Hub can't be reached, so the token can't be checked.",
            "Check the network and try again.",
            where=_WHERE,
        ) from None
    return read_account(job)


def _log_in(token: str) -> None:
    import huggingface_hub

    try:
        huggingface_hub.login(token=token, add_to_git_credential=False, skip_if_logged_in=False)
    except ValueError:  # its message may hold the token
        raise _rejected_token_error() from None


def _rejected_token_error() -> ProblemError:
    return fail(
        "model.token",
        "The Hub rejected this token.",
        "Copy it again from your Hugging Face settings. Read access is enough.",
        where=_WHERE,
    )


def sign_out(job: JobContext) -> events.AccountFound:
    """Remove the token from the Hub library's store; one in the environment stays."""
    import huggingface_hub
    from huggingface_hub import constants

    if Path(constants.HF_TOKEN_PATH).exists():
        huggingface_hub.logout()
    return read_account(job)


#: Fields requested of each model: enough to tell whether it can be a base and whether it fits.
_EXPAND = ["safetensors", "gated", "downloads", "likes", "lastModified", "tags", "config"]

#: Models requested for each that is shown, because some can't be a base.
_OVERSAMPLING = 3

#: Number formats of safetensors files as the precision setting names them, and their bytes.
_DTYPES = {"BF16": ("bf16", 2), "F16": ("fp16", 2), "F32": ("fp32", 4)}


def search_models(command: SearchModels, job: JobContext) -> list[ModelEntry]:
    """Return models that can be a base, in the Hub's order; raises ProblemError.

    Models without safetensors files are left out: nothing else is ever loaded.
    """
    import huggingface_hub

    filters = ["safetensors"]
    if command.license:
        filters.append(f"license:{command.license}")
    job.report_progress(text("searching the Hub"), 0, None)
    with _translate_search_errors():
        listed = huggingface_hub.HfApi().list_models(
            search=command.text or None,
            filter=filters,
            pipeline_tag="text-generation",
            gated=None if command.gated else False,
            num_parameters=_format_bounds(command),
            sort={"updated": "last_modified"}.get(command.sort, command.sort),  # type: ignore[arg-type] # values of the library
            expand=_EXPAND,  # type: ignore[arg-type] # names of its Literal
            limit=_OVERSAMPLING * command.limit,
        )
        entries = []
        for info in listed:
            job.check()
            try:
                entry = to_model_entry(info)
            except MALFORMED_ERRORS:
                continue  # one odd model doesn't spoil the list
            if entry.is_usable and _is_within(entry, command):
                entries.append(entry)
        return entries[: command.limit]


def to_model_entry(info: ModelInfo) -> ModelEntry:
    """Return the entry of a model as the Hub lists it."""
    tags = [str(tag) for tag in info.tags or ()]
    config: dict[str, Any] = info.config or {}
    counts = dict(info.safetensors.parameters) if info.safetensors else {}
    main_dtype = max(counts, key=lambda name: counts[name], default="")
    quantization = config.get("quantization_config")
    method = str(quantization.get("quant_method", "")) if isinstance(quantization, dict) else ""
    refusal = explain_refusal(config.get("architectures")) or explain_quantization(method)
    return ModelEntry(
        source=info.id,
        title=info.id,
        location="hub",
        bytes=_count_bytes(counts) or None,
        parameters=info.safetensors.total if info.safetensors else None,
        architecture=get_architecture(config),
        stored=str(quantization.get("quant_method", "quantized"))
        if isinstance(quantization, dict)
        else _DTYPES.get(main_dtype, (main_dtype.lower(), 0))[0],
        license=next(
            (tag.removeprefix("license:") for tag in tags if tag.startswith("license:")), ""
        ),
        gated=bool(info.gated),
        refusal=refusal,
        downloads=info.downloads,
        likes=info.likes,
        updated=info.last_modified.date().isoformat() if info.last_modified else "",
    )


def _count_bytes(counts: dict[str, int]) -> int:
    """Return the bytes of numbers by format; an unknown format counts one byte per number."""
    return sum(number * _DTYPES.get(name, ("", 1))[1] for name, number in counts.items())


def _format_bounds(command: SearchModels) -> str | None:
    """Return the bounds of the number of parameters as the Hub's API expects them."""
    parts = []
    if command.smallest:
        parts.append(f"min:{command.smallest}")
    if command.largest:
        parts.append(f"max:{command.largest}")
    return ",".join(parts) or None


def _is_within(entry: ModelEntry, command: SearchModels) -> bool:
    """Return whether a model is within the bounds; the Hub's own filter is only approximate."""
    if entry.parameters is None:
        return not (command.smallest or command.largest)
    return command.smallest <= entry.parameters <= (command.largest or entry.parameters)


@contextmanager
def _translate_search_errors() -> Iterator[None]:
    """Raise ProblemError for whatever goes wrong while searching."""
    from huggingface_hub import errors

    try:
        with contact_hub(Purpose.HUB_SEARCH):
            yield
    except errors.OfflineModeIsEnabled as error:
        raise hub_error(
            "model", "offline", "Offline mode is on, so the Hub can't be searched.", offline.REMEDY
        ) from error
    except errors.HfHubHTTPError as error:
        raise http_error(error, "model") from error
    except UntrustedAnswerError as error:
        raise hub_error(
            "model",
            "unreadable_answer",
            "The Hub's answer can't be read: {reason}.",
            "Try again later. If you set HF_ENDPOINT or a proxy, check the address.",
            reason=describe_network_error(error),
        ) from error
    except NETWORK_ERRORS as error:
        raise hub_error(
            "model",
            "offline",
            "The Hub can't be reached.",
            "Check the network, or choose a model on this computer.",
        ) from error
