"""Consent to run foreign code: kept by content, outside of what it is about."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.core.system import consent
from lora_studio.core.system.consent import ForeignCode


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
