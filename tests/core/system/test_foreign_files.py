"""Files that somebody else may have prepared: links, pipes, devices and endless ones."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lora_studio.core import limits
from lora_studio.core.system import foreign_files
from lora_studio.core.system.files import describe_os_error
from lora_studio.core.system.foreign_files import (
    NamingFile,
    UnsafeFileError,
    open_own,
    read_bytes,
    read_json,
)
from lora_studio.core.system.locks import FileLock


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A file of the user outside the project."""
    file = tmp_path / "diary.txt"
    file.write_text("Dear diary")
    return file


@pytest.mark.parametrize("mode", ["ab", "wb", "ab+", "rb+"])
def test_link_is_never_written_through(private: Path, tmp_path: Path, mode: str) -> None:
    link = tmp_path / "log.txt"
    link.symlink_to(private)
    with pytest.raises(OSError, match="link to another file"):
        open_own(link, mode)  # type: ignore[arg-type]  # a parametrized literal
    assert private.read_text() == "Dear diary"


def test_lock_that_is_a_link_leaves_the_file_alone(private: Path, tmp_path: Path) -> None:
    lock = tmp_path / ".p.lorastudio.lock"
    lock.symlink_to(private)
    assert not FileLock(lock).is_held()
    with pytest.raises(OSError, match="link to another file"):
        FileLock(lock).acquire({"pid": 1})
    assert private.read_text() == "Dear diary"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipe_neither_blocks_nor_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for use in (read_bytes, lambda file: open_own(file, "ab")):
        with pytest.raises(OSError):
            use(tmp_path / "pipe")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="this system has no /dev/zero")
def test_link_to_an_endless_device_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").symlink_to("/dev/zero")
    with pytest.raises(UnsafeFileError, match="isn't a regular file"):
        read_bytes(tmp_path / "config.json")


def test_file_over_its_limit_is_refused_with_the_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 11)
    with pytest.raises(UnsafeFileError, match="larger than 10 B"):
        read_bytes(tmp_path / "a", limit=10)
    assert read_bytes(tmp_path / "a", limit=11) == b"x" * 11


def test_deep_json_is_a_value_error(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"[" * 200_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        read_json(tmp_path / "a.json")


def test_link_to_a_regular_file_is_read(private: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").symlink_to(private)
    assert foreign_files.read_text(tmp_path / "README.md") == "Dear diary"


def read_raw(file: Path) -> bytes:
    with foreign_files.open_raw(file) as raw:
        return raw.readall()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc has a file whose reading fails")
@pytest.mark.parametrize("read", [foreign_files.read_bytes, read_raw])
def test_failed_read_names_its_file(read: Callable[[Path], bytes], tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.symlink_to("/proc/self/mem")
    with pytest.raises(OSError, match="Input/output error") as caught:
        read(file)
    assert caught.value.filename == str(file)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_failed_write_names_the_file() -> None:
    with (
        NamingFile("/dev/full", "wb") as file,
        pytest.raises(OSError, match="No space left on device: '/dev/full'"),
    ):
        file.write(b"1")


def test_lines_over_the_limit_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RECORD_LINE", 4)
    lines = list(foreign_files.iter_lines(io.BytesIO(b"one\n1234567890\ntwo\nthr")))
    assert lines == [(b"one\n", 4), (b"", 11), (b"two\n", 4)]


def test_reason_omits_error_number_and_path(tmp_path: Path) -> None:
    with pytest.raises(OSError) as absent:
        (tmp_path / "absent").read_bytes()
    assert describe_os_error(absent.value) == "No such file or directory"


def test_reason_is_the_first_line_of_an_error_or_its_name() -> None:
    assert describe_os_error(ValueError("no number.\nat line 3")) == "no number"
    assert describe_os_error(MemoryError()) == "MemoryError"
