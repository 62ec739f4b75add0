"""Find models on this computer that can be a base: folders, the Hub's cache, Ollama, LM Studio.

Reads configurations and headers only; neither torch nor transformers is imported.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lora_studio.core.messages import NO_TEXT, Text, text
from lora_studio.core.model.catalog import (
    ModelEntry,
    ModelLocation,
    ModelOutline,
    explain_quantization,
    explain_refusal,
    get_architecture,
    read_outline,
)
from lora_studio.core.model.folders import list_lm_studio_folders
from lora_studio.core.problems import InvalidContentError, ProblemError
from lora_studio.core.system.files import describe_os_error
from lora_studio.core.system.foreign_files import is_unicode, make_unicode, read_json
from lora_studio.core.system.paths import expand_home
from lora_studio.engine.hub import models
from lora_studio.engine.model import folder as model_folder
from lora_studio.engine.model import gguf_header
from lora_studio.engine.model.gguf_header import Check
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import translate_library_errors

#: Levels below a folder that are looked through, as publisher/model/file has them, and one more.
_DEPTH = 3

#: Names of blobs in Ollama's store.
_DIGEST = re.compile(r"sha256[:-][0-9a-fA-F]{64}")

_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_PICKLE_REFUSAL = text(
    "Its weights are pickles, which can run any code when they are opened. They are never loaded."
)


def scan_models(
    location: ModelLocation, folders: Sequence[Path], job: JobContext
) -> list[ModelEntry]:
    """Return every model of one place, by title; `folders` are those of the place `folder`.

    Raises CancelledError when the user does not want to wait.
    """
    match location:
        case "cache":
            entries = _scan_cache(job)
        case "ollama":
            entries = (
                entry for store in find_ollama_stores() for entry in _scan_ollama(store, job)
            )
        case "lm_studio":
            entries = (
                entry for home in list_lm_studio_folders() for entry in _walk(home, location, job)
            )
        case _:
            entries = (entry for folder in folders for entry in _walk(folder, location, job))
    # Two names in Ollama may share one file; a folder inside another one counts once.
    named = location == "ollama"
    unique = {(x.source, x.revision, x.title if named else ""): x for x in entries}
    return sorted(unique.values(), key=lambda entry: (entry.title.lower(), entry.revision))


def get_searched_folders(location: ModelLocation, folders: Sequence[Path]) -> list[Path]:
    """Return the folders on this computer that a location means."""
    match location:
        case "cache":
            from huggingface_hub import constants

            return [Path(constants.HF_HUB_CACHE)]
        case "ollama":
            return find_ollama_stores()
        case "lm_studio":
            return list_lm_studio_folders()
    return [expand_home(folder) for folder in folders]


# --- folders ----------------------------------------------------------------------------------


def _walk(top: Path, location: ModelLocation, job: JobContext) -> Iterator[ModelEntry]:
    """Yield the models in a folder and its subfolders, without hidden ones."""
    pending = [(expand_home(top), 0)]
    visited: set[str] = set()  # a link may lead back to a parent
    while pending:
        folder, depth = pending.pop()
        job.open_file(folder)
        if (real := os.path.realpath(folder)) in visited:
            continue
        visited.add(real)
        try:
            entries = sorted(folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            yield _create_damaged_entry(folder, location, _get_title(folder, top), error)
            continue
        names = {path.name for path in entries}
        if "config.json" in names and (entry := read_folder_entry(folder, location)):
            yield entry.model_copy(update={"title": _get_title(folder, top)})
        for path in entries:
            if path.suffix.lower() == ".gguf":
                job.open_file(path)
                if entry := read_gguf_entry(path, location, check=job.check):
                    yield entry
            elif depth < _DEPTH and not path.name.startswith(".") and os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for a folder without permission
                pending.append((path, depth + 1))


def _get_title(folder: Path, top: Path) -> str:
    relative = folder.relative_to(expand_home(top))
    return (
        make_unicode(Path(*relative.parts[-2:]))
        if relative.parts
        else make_unicode(Path(folder.name))
    )


def _read_or_refuse(
    source: Path, location: ModelLocation, title: str, read: Callable[[], ModelEntry | None]
) -> ModelEntry | None:
    """Return what `read` returns; if the model is damaged, an entry that says why.

    One odd model must not hide the others of its folder.
    """
    try:
        if not is_unicode(source):
            raise InvalidContentError("its path isn't valid UTF-8; rename it")
        with translate_library_errors(
            lambda reason: InvalidContentError(Text.model_validate(reason)),
            InvalidContentError,
        ):
            return read()
    except (OSError, ValueError, ProblemError) as error:
        return _create_damaged_entry(source, location, title, error)


def read_folder_entry(folder: Path, location: ModelLocation) -> ModelEntry | None:
    """Return the model in a folder; None if its config.json doesn't describe a model."""
    return _read_or_refuse(
        folder, location, folder.name, lambda: _read_folder_entry(folder, location)
    )


def _read_folder_entry(folder: Path, location: ModelLocation) -> ModelEntry | None:
    config = read_json(folder / "config.json")
    if not isinstance(config, dict) or not (
        config.get("architectures") or config.get("model_type")
    ):
        return None
    weights = sorted(folder.glob("*.safetensors"))
    missing = count_missing_weights(folder)
    parameters, stored = 0, ""
    about = config.get("quantization_config")
    method = str(about.get("quant_method") or "") if isinstance(about, dict) else ""
    refusal = explain_refusal(config.get("architectures")) or explain_quantization(method)
    if weights and not missing:
        try:
            headers = model_folder.read_safetensors_headers(folder)
            parameters, stored = _count_parameters(headers, config)
        except ProblemError as error:
            refusal = refusal or error.problems[0].what
    elif not weights and not missing:
        pickled = any(path.suffix in _PICKLES for path in folder.iterdir())
        refusal = refusal or (_PICKLE_REFUSAL if pickled else text("It has no .safetensors file."))
    return ModelEntry(
        source=str(folder),
        title=folder.name,
        location=location,
        bytes=sum(file.stat().st_size for file in weights if file.exists()) or None,
        parameters=parameters or None,
        architecture=get_architecture(config),
        stored=stored,
        license=model_folder.read_license(folder) or "",
        outline=read_outline(config),
        missing=missing,
        refusal=refusal,
    )


def count_missing_weights(folder: Path) -> int:
    """Return how many of the weight files in a model's index are missing."""
    return sum(not (folder / name).is_file() for name in models.read_weight_names(folder))


def _count_parameters(
    headers: dict[str, dict[str, Any]], config: dict[str, Any]
) -> tuple[int, str]:
    """Return parameters and number format; packed weights count unpacked."""
    about = config.get("quantization_config")
    total = sum(math.prod(entry["shape"]) for entry in headers.values())
    stored = model_folder.get_stored_dtype(headers)
    if not isinstance(about, dict):
        return total, stored
    method = str(about.get("quant_method") or "quantized").lower()
    bits = about.get("bits") or (4 if about.get("load_in_4bit") else 8)
    packed = sum(math.prod(x["shape"]) for x in headers.values() if x["dtype"] in ("U8", "I32"))
    per_number = {"U8": 8, "I32": 32}
    unpacked = sum(
        math.prod(x["shape"]) * per_number[x["dtype"]] // int(bits)
        for x in headers.values()
        if x["dtype"] in per_number
    )
    return total - packed + unpacked, f"{bits}-bit {method}"


# --- GGUF files -------------------------------------------------------------------------------


def read_gguf_entry(
    file: Path, location: ModelLocation, title: str = "", check: Check = lambda: None
) -> ModelEntry | None:
    """Return the model of a GGUF file; None for a file that is part of another model.

    `check` is called while the header is read, and may raise an exception.
    """
    if "mmproj" in file.name.lower():
        return None  # the vision part of a model beside it
    return _read_or_refuse(
        file, location, title, lambda: _read_gguf_entry(file, location, title, check)
    )


def _read_gguf_entry(
    file: Path, location: ModelLocation, title: str, check: Check
) -> ModelEntry | None:
    size = file.stat().st_size
    facts = gguf_header.read(file, check)
    if not facts.is_part and facts.values.get("general.type", "model") != "model":
        return None
    heads = facts.get_number("attention.head_count")
    return ModelEntry(
        source=str(file),
        title=title or file.name,
        location=location,
        bytes=size,
        parameters=facts.parameters or None,
        architecture=facts.architecture,
        stored=gguf_header.get_file_type(facts),
        license=str(facts.values.get("general.license", "")),
        outline=ModelOutline(
            layers=facts.get_number("block_count"),
            hidden_size=facts.get_number("embedding_length"),
            intermediate_size=facts.get_number("feed_forward_length"),
            heads=heads,
            kv_heads=facts.get_number("attention.head_count_kv") or heads,
            vocabulary=facts.vocabulary,
            context=facts.get_number("context_length"),
        ),
        refusal=_get_gguf_refusal(facts.architecture, is_part=facts.is_part),
    )


def _get_gguf_refusal(architecture: str, *, is_part: bool) -> Text:
    """Return why a GGUF file can't be trained, or an empty text."""
    if is_part:
        return text("It is one part of a split file. Join the parts with llama-gguf-split first.")
    if architecture not in gguf_header.TRAINABLE:
        return text(
            "GGUF files with the architecture {architecture} can't be unpacked for training.",
            architecture=architecture or text("(none)"),
        )
    return NO_TEXT


def _create_damaged_entry(
    file: Path, location: ModelLocation, title: str, error: Exception
) -> ModelEntry:
    return ModelEntry(
        source=make_unicode(file),
        title=title or make_unicode(Path(file.name)),
        location=location,
        refusal=error.problems[0].what
        if isinstance(error, ProblemError)
        else text("It can't be read: {reason}.", reason=describe_os_error(error)),
    )


# --- the Hub's cache --------------------------------------------------------------------------


def _scan_cache(job: JobContext) -> Iterator[ModelEntry]:
    """Yield models in the Hub's cache, each named revision separately."""
    import huggingface_hub
    from huggingface_hub.errors import CacheNotFound

    try:
        cache = huggingface_hub.scan_cache_dir()
    except CacheNotFound:
        return
    except (OSError, ValueError) as error:
        folder = Path(huggingface_hub.constants.HF_HUB_CACHE)
        yield _create_damaged_entry(folder, "cache", folder.name, error)
        return
    for repository in cache.repos:
        if repository.repo_type != "model":
            continue
        for revision in repository.revisions:
            job.check()
            name = "main" if "main" in revision.refs else min(revision.refs, default="")
            entry = _read_snapshot(revision.snapshot_path)
            if entry is not None:
                yield entry.model_copy(
                    update={
                        "source": repository.repo_id,
                        "title": repository.repo_id,
                        "revision": name or revision.commit_hash,
                    }
                )
            for file in sorted(revision.snapshot_path.glob("*.gguf")):
                title = f"{repository.repo_id}/{file.name}"
                if entry := read_gguf_entry(file, "cache", title, job.check):
                    yield entry


def _read_snapshot(folder: Path) -> ModelEntry | None:
    """Return the model of a snapshot; an interrupted download is marked as incomplete."""
    entry = read_folder_entry(folder, "cache")
    if entry is None:
        return None
    has_partial = any(folder.parent.parent.joinpath("blobs").glob("*.incomplete"))
    has_no_weights = not any(folder.glob("*.safetensors")) and not any(
        path.suffix in _PICKLES for path in folder.iterdir()
    )
    if entry.missing or has_partial or has_no_weights:
        unsaid = (
            entry.refusal
            if entry.architecture and explain_refusal([entry.architecture])
            else NO_TEXT
        )
        return entry.model_copy(update={"missing": max(1, entry.missing), "refusal": unsaid})
    return entry


# --- Ollama -----------------------------------------------------------------------------------


def find_ollama_stores() -> list[Path]:
    """Return the existing folders in which an Ollama server on this computer keeps its models."""
    configured = os.environ.get("OLLAMA_MODELS")
    defaults = [
        expand_home(Path("~")) / ".ollama" / "models",
        Path("/usr/share/ollama/.ollama/models"),
    ]
    folders = [Path(configured)] if configured else defaults
    return [folder for folder in folders if (folder / "manifests").is_dir()]


def _scan_ollama(store: Path, job: JobContext) -> Iterator[ModelEntry]:
    """Yield the models in a server's store, from its manifests."""
    registry = store / "manifests"
    for manifest in sorted(path for path in registry.rglob("*") if path.is_file()):
        job.check()
        title = _get_ollama_title(manifest.relative_to(registry))
        try:
            layers = read_json(manifest)["layers"]
            kinds = {str(layer["mediaType"]).rpartition(".")[2]: layer for layer in layers}
            digest = str(kinds["model"]["digest"]) if "model" in kinds else ""
        except (OSError, ValueError, KeyError, TypeError):
            damage = InvalidContentError("its manifest is damaged")
            yield _create_damaged_entry(manifest, "ollama", title, damage)
            continue
        if not _DIGEST.fullmatch(digest):
            continue
        file = store / "blobs" / digest.replace(":", "-")
        entry = read_gguf_entry(file, "ollama", title, job.check)
        if entry is None:
            continue
        if not entry.refusal and "adapter" in kinds:
            refusal = text("It is an adapter on another model, which Ollama stores separately.")
            entry = entry.model_copy(update={"refusal": refusal})
        yield entry


def _get_ollama_title(below: Path) -> str:
    """Return the name as `ollama list` shows it: name:tag, with an owner other than library."""
    parts = Path(make_unicode(below)).parts
    *folders, name, tag = parts if len(parts) > 1 else (*parts, "")
    shown = [part for part in folders if part not in ("registry.ollama.ai", "library")]
    return "/".join([*shown, f"{name}:{tag}"])
