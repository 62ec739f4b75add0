"""Consent to run foreign code: kept by content, outside of what it is about."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lora_studio.core.system import consent, programs
from lora_studio.core.system.consent import ForeignCode
from lora_studio.core.system.foreign_files import UnsafeFileError


@pytest.fixture(autouse=True)
def _config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_STUDIO_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv(consent.TRUST_VARIABLE, raising=False)


def write_code(folder: Path, **files: str) -> ForeignCode:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.py").write_text(content)
    return consent.identify_code("model", folder, folder.glob("*.py"))


def test_code_is_not_trusted_until_the_user_allows_it(tmp_path: Path) -> None:
    code = write_code(tmp_path / "model", modeling="pass")
    assert not consent.is_trusted(code)
    consent.trust(code)
    assert consent.is_trusted(code)
    consent.revoke(code.digest)
    assert not consent.is_trusted(code)


def test_consent_stays_when_the_folder_moves(tmp_path: Path) -> None:
    consent.trust(write_code(tmp_path / "here", modeling="pass"))
    assert consent.is_trusted(write_code(tmp_path / "there", modeling="pass"))


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({"modeling": "import os"}, id="changed file"),
        pytest.param({"modeling": "pass", "extra": ""}, id="added file"),
        pytest.param({"other": "pass"}, id="renamed file"),
        pytest.param({"model": "ing.py\0pass"}, id="name moved into the content"),
    ],
)
def test_consent_ends_when_the_code_changes(tmp_path: Path, files: dict[str, str]) -> None:
    consent.trust(write_code(tmp_path / "before", modeling="pass"))
    assert not consent.is_trusted(write_code(tmp_path / "after", **files))


@pytest.mark.parametrize("place", [0, 63, 64, 4096, 99_999])
def test_hash_covers_the_whole_content(tmp_path: Path, place: int) -> None:
    content = bytearray(b"#" * 100_000)
    before = consent.identify_contents("model", tmp_path, {"modeling.py": bytes(content)})
    content[place] ^= 1
    after = consent.identify_contents("model", tmp_path, {"modeling.py": bytes(content)})
    assert after.digest != before.digest


def test_consent_covers_one_kind_of_code(tmp_path: Path) -> None:
    consent.trust(write_code(tmp_path / "code", modeling="pass"))
    programs = consent.identify_code("llama_cpp", tmp_path / "code", (tmp_path / "code").glob("*"))
    assert not consent.is_trusted(programs)


def test_hash_of_the_command_line_counts_in_this_process_only(tmp_path: Path) -> None:
    code = write_code(tmp_path / "model", modeling="pass")
    consent.trust_in_this_process([code.digest.upper(), " "])
    assert consent.is_trusted(code)
    assert consent.read_trusted() == {}


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b"\xff", b'{"a": 1}', b"[" * 100_000], ids=lambda value: value[:9]
)
def test_damaged_file_of_consents_allows_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "trusted_code.json").write_bytes(content)
    assert consent.read_trusted() == {}
    code = write_code(tmp_path / "model", modeling="pass")
    consent.trust(code)
    assert consent.is_trusted(code)


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
