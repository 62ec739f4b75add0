"""Resolve a model's name to a local Hugging Face folder: a folder, Hub ID, GGUF file or built-in
model.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lora_studio.core.messages import text
from lora_studio.core.model.spec import BUILTIN_PREFIX, DEFAULT_BUILTIN, ModelSpec
from lora_studio.core.problems import Where, fail
from lora_studio.core.runs import checksums
from lora_studio.core.system import paths
from lora_studio.core.system.files import create_folder_atomic
from lora_studio.core.system.foreign_files import open_regular
from lora_studio.engine.model.builtin import download_builtin
from lora_studio.engine.model.folder import (
    check_architecture,
    check_folder,
    read_config,
    read_safetensors_headers,
    require_bounded_files,
)
from lora_studio.engine.runtime.channel import JobContext

_SOURCE = Where(step="model", field="source")


def resolve(spec: ModelSpec, job: JobContext) -> Path:
    """Return the local Hugging Face folder of a model; downloaded or converted once, then cached.

    Raises ProblemError when there is no such model, CancelledError when the user cancels.
    """
    local = Path(spec.source)
    match spec.kind:
        case "none":
            raise fail(
                "model.none",
                "No model is chosen.",
                "Choose a folder, a GGUF file, or a Hub ID.",
                where=_SOURCE,
            )
        case "builtin":
            name = spec.source.removeprefix(BUILTIN_PREFIX)
            if name != DEFAULT_BUILTIN:
                raise fail(
                    "model.unknown_builtin",
                    "There is no built-in model named {name}.",
                    "The built-in model is {known}.",
                    where=_SOURCE,
                    name=name,
                    known=DEFAULT_BUILTIN,
                )
            return from_gguf(download_builtin(job), job)
        case "gguf":
            return from_gguf(local, job)
        case "hub" if not local.is_dir():
            from lora_studio.engine.hub import models

            with_code = spec.trust_remote_code
            folder = models.download_model(spec.source, spec.revision, job, with_code=with_code)
            return check_folder(folder, job.check)
    checksums.require_intact_source(local, with_weights=False)
    return check_folder(local, job.check)


def resolve_intact(spec: ModelSpec, job: JobContext) -> Path:
    """Return the folder of a model, as `resolve`, after reading its weights if it comes from a run."""
    folder = resolve(spec, job)
    checksums.require_intact_source(folder, job.check)
    return folder


@dataclass(frozen=True)
class ModelLocation:
    """Where a model is, without reading weights.

    `headers` are as `read_safetensors_headers` returns them, `bytes` is the size of its files,
    `missing_bytes` what must be downloaded; a `gated` model's terms must be accepted. A model that
    was unpacked from a GGUF file has the quantization of that file, and its size as `gguf_bytes`.
    """

    folder: Path
    headers: dict[str, dict[str, Any]]
    bytes: int
    missing_bytes: int = 0
    gated: bool = False
    gguf_type: str = ""
    gguf_bytes: int = 0


def locate(spec: ModelSpec, job: JobContext) -> ModelLocation:
    """Return where a model is, without downloading weights from the Hub; raises as `resolve` does."""
    if spec.kind != "hub" or Path(spec.source).is_dir():
        folder = resolve(spec, job)
        size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        location = ModelLocation(folder, read_safetensors_headers(folder, job.check), size)
        return _with_gguf(location, spec, job)
    from lora_studio.engine.hub import models

    with_code = spec.trust_remote_code
    remote = models.get_remote_model_info(spec.source, spec.revision, job, with_code=with_code)
    require_bounded_files(remote.folder)
    check_architecture(remote.folder)
    headers = remote.headers
    if headers is None:
        headers = read_safetensors_headers(check_folder(remote.folder, job.check), job.check)
    return ModelLocation(remote.folder, headers, remote.bytes, remote.missing_bytes, remote.gated)


def _with_gguf(location: ModelLocation, spec: ModelSpec, job: JobContext) -> ModelLocation:
    """Return the location with the facts of the GGUF file that it was unpacked from, if any."""
    from lora_studio.engine.model import gguf_header

    if spec.kind not in ("builtin", "gguf"):
        return location
    file = download_builtin(job) if spec.kind == "builtin" else Path(spec.source)
    file_type = gguf_header.get_file_type(gguf_header.read(file, job.check))
    return replace(location, gguf_type=file_type, gguf_bytes=file.stat().st_size)


def resolve_tokenizer(spec: ModelSpec, job: JobContext) -> Path:
    """Return the folder of a model's tokenizer and configuration; raises as `resolve` does.

    Of a Hub model only these files are downloaded.
    """
    if spec.kind != "hub" or Path(spec.source).is_dir():
        return resolve(spec, job)
    from lora_studio.engine.hub import models

    with_code = spec.trust_remote_code
    folder = models.download_small_files(spec.source, spec.revision, with_code=with_code)
    read_config(folder)
    return folder


def from_gguf(file: Path, job: JobContext) -> Path:
    """Return the folder that a GGUF file was unpacked into; done once for each content."""
    if not file.is_file():
        raise fail(
            "model.not_found",
            "The file {file} doesn't exist.",
            "Check the spelling, or choose the file again if it was moved.",
            where=_SOURCE,
            file=str(file),
        )
    checksums.require_intact_source(file, job.check)
    from lora_studio.engine.model import from_gguf as model_from_gguf

    target = paths.get_cache_folder() / "models" / f"gguf-{_hash_content(file, job)}"
    if not _is_complete(target):
        with create_folder_atomic(target, stays=_is_complete) as folder:
            model_from_gguf.convert(file, folder, job)
    return target


def _is_complete(folder: Path) -> bool:
    """Return whether the folder has a complete model, which another process may be reading."""
    return (folder / "config.json").is_file()


def _hash_content(file: Path, job: JobContext) -> str:
    """Return the first 24 hex digits of the SHA-256 of the file and of how it is converted."""
    digest = hashlib.sha256(b"v2")
    total = file.stat().st_size
    with open_regular(file) as stream:
        done = 0
        while block := stream.read(1 << 24):
            digest.update(block)
            done += len(block)
            job.report_progress(text("reading the model file"), done, total, "bytes")
    return digest.hexdigest()[:24]
