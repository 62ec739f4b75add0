"""Looking for base models on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from lora_studio.core.model.catalog import ModelEntry, refusal_of
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.protocol.commands import SearchModels
from lora_studio.core.system import offline
from lora_studio.engine.hub import models
from lora_studio.engine.runtime.channel import JobContext

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

#: What is asked of each model: enough to say whether it could be a base and whether it fits.
_ASKED = ["safetensors", "gated", "downloads", "likes", "lastModified", "tags", "config"]

#: Models that are looked through for each that is shown, as some are no base.
_MORE = 3

#: Number formats of safetensors files in the words of the precision setting, and their bytes.
_DTYPES = {"BF16": ("bf16", 2), "F16": ("fp16", 2), "F32": ("fp32", 4)}


def search(command: SearchModels, job: JobContext) -> list[ModelEntry]:
    """Models of the hub that can be a base, in the hub's order; raises ProblemError.

    Models without safetensors files are left out: nothing else is ever loaded.
    """
    import huggingface_hub

    filters = ["safetensors"]
    if command.licence:
        filters.append(f"license:{command.licence}")
    job.progress("asking the hub", 0, None)
    with _reported():
        listed = huggingface_hub.HfApi().list_models(
            search=command.text or None,
            filter=filters,
            pipeline_tag="text-generation",
            gated=None if command.gated else False,
            num_parameters=_bounds(command),
            sort={"updated": "last_modified"}.get(command.sort, command.sort),  # type: ignore[arg-type] # the library's own words
            expand=_ASKED,  # type: ignore[arg-type] # names of its Literal
            limit=_MORE * command.limit,
        )
        found = []
        for info in listed:
            job.check()
            entry = entry_of(info)
            if entry.usable and _is_within(entry, command):
                found.append(entry)
        return list(islice(found, command.limit))


def entry_of(info: ModelInfo) -> ModelEntry:
    """A model as the hub lists it."""
    tags = [str(tag) for tag in info.tags or ()]
    config: dict[str, Any] = info.config or {}
    names = config.get("architectures") or [config.get("model_type") or ""]
    counts = dict(info.safetensors.parameters) if info.safetensors else {}
    most = max(counts, key=lambda name: counts[name], default="")
    quantised = config.get("quantization_config")
    refusal = refusal_of(config.get("architectures"))
    return ModelEntry(
        source=info.id,
        title=info.id,
        place="hub",
        bytes=_bytes(counts) or None,
        parameters=info.safetensors.total if info.safetensors else None,
        architecture=str(names[0]),
        stored=str(quantised.get("quant_method", "quantised"))
        if isinstance(quantised, dict)
        else _DTYPES.get(most, (most.lower(), 0))[0],
        licence=next(
            (tag.removeprefix("license:") for tag in tags if tag.startswith("license:")), ""
        ),
        gated=bool(info.gated),
        refusal=refusal,
        downloads=info.downloads,
        likes=info.likes,
        updated=info.last_modified.date().isoformat() if info.last_modified else "",
    )


def _bytes(counts: dict[str, int]) -> int:
    """Bytes of so many numbers of each format; those of no common one count one byte."""
    return sum(number * _DTYPES.get(name, ("", 1))[1] for name, number in counts.items())


def _bounds(command: SearchModels) -> str | None:
    """Bounds of the number of parameters, as the hub's API takes them."""
    parts = []
    if command.smallest:
        parts.append(f"min:{command.smallest}")
    if command.largest:
        parts.append(f"max:{command.largest}")
    return ",".join(parts) or None


def _is_within(entry: ModelEntry, command: SearchModels) -> bool:
    """The hub's own bounds are rough; where a size is known it decides."""
    if entry.parameters is None:
        return not (command.smallest or command.largest)
    return command.smallest <= entry.parameters <= (command.largest or entry.parameters)


@contextmanager
def _reported() -> Iterator[None]:
    """Turns what goes wrong while searching into ProblemError."""
    from huggingface_hub import errors

    try:
        yield
    except errors.OfflineModeIsEnabled as error:
        raise _problem(
            "offline",
            "Offline mode is on, so the hub is not searched.",
            offline.REMEDY,
        ) from error
    except errors.HfHubHTTPError as error:
        raise models.http_problem(error, "the list of models", _problem) from error
    except models.network_errors() as error:
        raise _problem(
            "offline",
            "The hub cannot be reached.",
            "Check the network, or choose a model that is on this computer.",
        ) from error


def _problem(code: str, what: str, remedy: str) -> ProblemError:
    return fail(f"model.{code}", what, remedy, where=Where(step="model", field="source"))
