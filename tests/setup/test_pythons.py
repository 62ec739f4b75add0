"""The Python of an engine: the system's, a named one, or a verified standalone build."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import sys
import tarfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lora_studio.core.problems import ProblemError
from lora_studio.setup import pythons, tools
from lora_studio.setup.folders import VARIABLE, EngineRoot
from lora_studio.setup.tools import SetupLog, StopFlag
from tests.helpers.servers.ports import run_server

RELEASE, NAME = (
    "20261110",
    "cpython-3.12.16+20261110-x86_64-unknown-linux-gnu-install_only_stripped.tar.gz",
)
HOST = "https://github.com/astral-sh/python-build-standalone/releases/download"

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the build in this test is one for Linux"
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EngineRoot:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "Zoë engines"))
    root = EngineRoot(tmp_path / "Zoë engines")
    root.path.mkdir()
    return root


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SetupLog]:
    setup_log = SetupLog(tmp_path / "log.txt")
    yield setup_log
    setup_log.close()


@pytest.fixture
def no_system_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a system without a Python on its path."""
    monkeypatch.setenv(tools.VARIABLE, str(tools.find_uv()))
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a standalone build on a local server, which runs the Python of the tests."""
    file = tmp_path / "mirror" / RELEASE / NAME
    file.parent.mkdir(parents=True)
    script = f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'.encode()
    with tarfile.open(file, "w:gz") as archive:
        for name, content in (
            ("python/bin/python3.12", script),
            ("python/bin/python3", script),
            (
                "python/lib/python3.12/_sysconfigdata__linux_x86_64-linux-gnu.py",
                b"# system configuration generated and used by the sysconfig module\n"
                b'build_time_vars = {\n    "CC": "cc"\n}\n',
            ),
        ):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    build = {
        "name": "cpython", "arch": {"family": "x86_64", "variant": None}, "os": "linux", "libc": "gnu",
        "major": 3, "minor": 12, "patch": 16, "prerelease": "", "variant": None,
        "url": f"{HOST}/{RELEASE}/{NAME.replace('+', '%2B')}",
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }  # fmt: skip
    known = tmp_path / "builds.json"
    known.write_text(json.dumps({"cpython-3.12.16-linux-x86_64-gnu": build}))

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    make = functools.partial(Handler, directory=str(tmp_path / "mirror"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), make)
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("UV_PYTHON_INSTALL_MIRROR", address)
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS_JSON_URL", str(known))
    with run_server(server):
        yield file


def test_named_python_is_examined(root: EngineRoot, log: SetupLog) -> None:
    python = pythons.find_python(sys.executable, root, StopFlag(), log)
    assert python is not None
    assert python.path == Path(sys.executable)
    assert python.version == sys.version.split()[0]


def test_file_that_is_not_a_python_is_refused(
    tmp_path: Path, root: EngineRoot, log: SetupLog
) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho no\n")
    script.chmod(0o755)
    with pytest.raises(ProblemError) as caught:
        pythons.find_python(str(script), root, StopFlag(), log)
    assert caught.value.problems[0].where.file == str(script)


@pytest.mark.parametrize(
    ("output", "code"),
    [
        ("error: failed to write `x`: No space left on device (os error 28)", "disk.full"),
        ("error: Failed to initialize cache: Not a directory", "engine.python"),
    ],
    ids=["full-disk", "cache-not-a-folder"],
)
def test_failed_python_search_is_a_problem(
    tmp_path: Path,
    root: EngineRoot,
    log: SetupLog,
    monkeypatch: pytest.MonkeyPatch,
    output: str,
    code: str,
) -> None:
    script = tmp_path / "uv"
    script.write_text(f"#!/bin/sh\necho '{output}'\nexit 2\n")
    script.chmod(0o755)
    monkeypatch.setenv(tools.VARIABLE, str(script))
    with pytest.raises(ProblemError) as caught:
        pythons.find_python(None, root, StopFlag(), log)
    assert caught.value.problems[0].code == code


@pytest.mark.slow
def test_standalone_python_is_downloaded_and_verified(
    root: EngineRoot, log: SetupLog, no_system_python: None, mirror: Path
) -> None:
    assert pythons.find_python(None, root, StopFlag(), log) is None
    stages = list(pythons.install_standalone(root, "3.12", None, StopFlag(), log))
    assert {str(event.stage) for event in stages if event.kind == "progress"} == {
        "Downloading Python"
    }
    python = pythons.find_python("3.12", root, StopFlag(), log)
    assert python is not None
    assert root.pythons in python.path.parents


@pytest.mark.slow
def test_standalone_python_with_a_wrong_checksum_is_deleted(
    root: EngineRoot, log: SetupLog, no_system_python: None, mirror: Path
) -> None:
    mirror.write_bytes(mirror.read_bytes() + b"x")
    with pytest.raises(ProblemError) as caught:
        list(pythons.install_standalone(root, "3.12", None, StopFlag(), log))
    assert caught.value.problems[0].code == "engine.python_install"
    assert "mismatch" in str(caught.value.problems[0].what)
    assert not list(root.downloads.rglob("*.tar.gz"))


@pytest.mark.slow
def test_standalone_python_in_a_wheel_folder_needs_no_network(
    tmp_path: Path, root: EngineRoot, log: SetupLog, no_system_python: None, mirror: Path
) -> None:
    folder = tmp_path / "wheels"
    (folder / "python").mkdir(parents=True)
    mirror.parent.rename(folder / "python" / RELEASE)
    events = list(pythons.install_standalone(root, "3.12", folder, StopFlag(), log))
    assert not events
    assert pythons.find_python("3.12", root, StopFlag(), log) is not None
