"""Which files of a llama.cpp folder the user's consent covers."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.core import llama_cpp
from lora_studio.core.problems import ProblemError
from lora_studio.core.system import consent

NEW_CODE = (
    "numpy/__init__.py",
    "gguf-py/gguf/constants.py",
    "helpers.py",
    "build/bin/libggml.so.1",
    "build/bin/llama-quantize",
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "llama.cpp"
    folder.mkdir()
    (folder / llama_cpp.CONVERTER).write_text("print()", "utf-8")
    consent.trust(llama_cpp.find_programs(folder))
    return folder


@pytest.mark.parametrize("name", NEW_CODE)
def test_consent_ends_when_a_program_file_is_added(name: str, checkout: Path) -> None:
    assert llama_cpp.is_allowed(str(checkout))
    (checkout / name).parent.mkdir(parents=True, exist_ok=True)
    (checkout / name).write_text("x", "utf-8")
    assert not llama_cpp.is_allowed(str(checkout))


def test_consent_ends_when_a_linked_folder_adds_code(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "__init__.py").write_text("x", "utf-8")
    (checkout / "numpy").symlink_to(tmp_path / "elsewhere")
    assert not llama_cpp.is_allowed(str(checkout))


def test_consent_stays_when_other_files_are_added(checkout: Path) -> None:
    (checkout / "README.md").write_text("x", "utf-8")
    assert llama_cpp.is_allowed(str(checkout))


def test_folder_that_links_to_itself_is_refused(checkout: Path) -> None:
    (checkout / "loop").symlink_to(checkout)
    with pytest.raises(ProblemError, match="more program files"):
        llama_cpp.find_programs(checkout)
