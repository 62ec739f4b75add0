"""Where other programs are found and started: never in a folder that somebody else could have filled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lora_studio.core.system import programs
from lora_studio.core.system.foreign_files import UnsafeFileError


@pytest.fixture(autouse=True)
def _cache(own_cache: Path) -> None:
    """Keep the folders in a cache of the test's own."""


def test_empty_folder_stays_empty_and_private(own_cache: Path) -> None:
    folder = programs.get_empty_folder()
    assert folder.is_relative_to(own_cache)
    folder.chmod(0o700)
    (folder / "libggml-cpu.so").write_bytes(b"\x7fELF")
    (folder / "build").mkdir()
    (folder / "link").symlink_to(own_cache)
    assert programs.get_empty_folder() == folder
    assert list(folder.iterdir()) == []
    assert own_cache.is_dir()
    assert folder.stat().st_mode & 0o777 == 0o500
    assert folder.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("linked", ["private", "private/empty"])
def test_link_is_no_empty_folder(own_cache: Path, tmp_path: Path, linked: str) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "notes.txt").write_text("x")
    (own_cache / linked).parent.mkdir(parents=True)
    (own_cache / linked).symlink_to(foreign)
    with pytest.raises(UnsafeFileError):
        programs.get_empty_folder()
    assert (foreign / "notes.txt").exists()


#: Creates a private folder, says where, and waits for the end of its input.
_HOLDER = """
import sys
from lora_studio.core.system import programs
print(programs.create_private_folder(), flush=True)
sys.stdin.read()
"""


def hold_folder() -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


@pytest.mark.skipif(sys.platform == "win32", reason="uses signals")
def test_private_folders_end_with_their_process() -> None:
    (living, kept), (killed, left), (ending, gone) = (hold_folder() for _ in range(3))
    assert kept.is_dir()
    assert gone.is_dir()
    ending.communicate("")
    assert not gone.exists()
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert left.is_dir()
    sweeping, _ = hold_folder()
    assert not left.exists()
    assert kept.is_dir()
    for process in (living, sweeping):
        process.communicate("")


def test_program_of_the_current_folder_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "llama-quantize"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    for path in (str(tmp_path), ".", "", f"{os.pathsep}/usr/bin"):
        monkeypatch.setenv("PATH", path)
        assert programs.find_on_path("llama-quantize") is None
    monkeypatch.chdir(tmp_path.parent)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert programs.find_on_path("llama-quantize") == str(program)
