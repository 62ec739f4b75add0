"""Which files of a llama.cpp folder the user's consent covers, and the copy of them that runs."""

from __future__ import annotations

import os
import py_compile
import shutil
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
    "models/templates/Own.jinja",
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


# --- the copy ---------------------------------------------------------------------------------


@pytest.fixture
def built(checkout: Path, tmp_path: Path) -> Path:
    """A checkout with a package behind a linked folder, bytecode beside it, and a build of libraries."""
    assets = tmp_path / "assets"
    (assets / "gguf").mkdir(parents=True)
    (checkout / "gguf-py").symlink_to("../assets")
    (assets / "gguf" / "__init__.py").write_text("x = 1", "utf-8")
    py_compile.compile(str(assets / "gguf" / "__init__.py"))
    py_compile.compile(str(assets / "gguf" / "__init__.py"), str(assets / "gguf" / "other.pyc"))
    (checkout / "build" / "bin").mkdir(parents=True)
    (checkout / "build" / "bin" / "llama-quantize").write_text("program", "utf-8")
    (checkout / "build" / "bin" / "libggml.so.0.1").write_text("library", "utf-8")
    (checkout / "build" / "bin" / "libggml.so").symlink_to("libggml.so.0.1")
    consent.trust(llama_cpp.find_programs(checkout))
    return checkout


def test_copy_has_only_what_was_hashed(built: Path) -> None:
    copy = llama_cpp.copy_allowed(str(built))
    files = {each.relative_to(copy).as_posix() for each in copy.rglob("*") if not each.is_dir()}
    assert files == {*llama_cpp.find_programs(built).files}
    assert not any(each.is_symlink() for each in copy.rglob("*"))
    assert not any(name.endswith(".pyc") for name in files)
    assert llama_cpp.find_programs(copy).digest == llama_cpp.find_programs(built).digest


def test_copy_stays_when_the_folder_changes(built: Path) -> None:
    copy = llama_cpp.copy_allowed(str(built))
    (built / llama_cpp.CONVERTER).write_text("print('swapped')", "utf-8")
    (built / "build" / "bin" / "llama-quantize").write_text("swapped", "utf-8")
    assert (copy / llama_cpp.CONVERTER).read_text("utf-8") == "print()"
    assert (copy / "build" / "bin" / "llama-quantize").read_text("utf-8") == "program"
    with pytest.raises(ProblemError) as raised:
        llama_cpp.copy_allowed(str(built))
    assert raised.value.problems[0].code == "export.code_not_trusted"


def test_unchanged_folder_is_copied_once(built: Path) -> None:
    copy = llama_cpp.copy_allowed(str(built))
    assert llama_cpp.copy_allowed(str(built)) == copy
    consent.revoke(llama_cpp.find_programs(built).digest)
    with pytest.raises(ProblemError):
        llama_cpp.copy_allowed(str(built))


def test_program_of_a_copy_loads_the_libraries_of_the_copy(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/lib")
    program = llama_cpp.find_program(str(built), llama_cpp.QUANTIZER)
    assert program is not None
    folder = str(Path(program).parent)
    if llama_cpp._LIBRARY_PATH == "LD_LIBRARY_PATH":
        assert llama_cpp.get_variables(program) == {"LD_LIBRARY_PATH": f"{folder}:/opt/lib"}
    assert llama_cpp.get_original(program) == str(built / "build" / "bin" / "llama-quantize")
    assert llama_cpp.get_variables("/usr/bin/llama-server") == {}
    assert llama_cpp.get_original("/usr/bin/llama-server") == "/usr/bin/llama-server"


@pytest.mark.skipif(os.name == "nt", reason="uses descriptors of folders")
def test_folder_that_cannot_be_listed_is_refused(checkout: Path) -> None:
    inner = os.open(checkout, os.O_RDONLY)
    for _ in range(20):  # a path that is too long for the system, which fails for every user
        os.mkdir("x" * 250, dir_fd=inner)
        inner = os.open("x" * 250, os.O_RDONLY, dir_fd=inner)
    try:
        with pytest.raises(OSError, match="too long"):
            llama_cpp.is_allowed(str(checkout))
    finally:
        shutil.rmtree(checkout / ("x" * 250))
