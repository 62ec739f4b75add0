"""Folders of the user that can't be written to are named with the variable that moves them."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from lora_studio.core.system import files


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file where a folder is expected."""
    path = tmp_path / "home"
    path.write_text("")
    return path


@pytest.mark.parametrize(
    ("name", "number", "is_named"),
    [
        pytest.param("home/cache/rows", errno.ENOTDIR, True, id="inside"),
        pytest.param("home", errno.EEXIST, True, id="above"),
        pytest.param("home/cache/rows", errno.ENOSPC, False, id="full disk"),
        pytest.param("project/rows", errno.ENOTDIR, False, id="elsewhere"),
        pytest.param(None, errno.ENOTDIR, False, id="without a name"),
    ],
)
def test_cache_in_a_file_is_named(
    file: Path, monkeypatch: pytest.MonkeyPatch, name: str | None, number: int, is_named: bool
) -> None:
    monkeypatch.setenv("LORA_STUDIO_CACHE", str(file / "cache"))
    failure = OSError(number, "failed", str(file.parent / name) if name else None)
    problem = files.cache_problem(failure, "Training")
    assert (problem is not None) == is_named
    if problem is not None:
        assert (problem.code, problem.where.file) == (
            "system.cache_not_writable",
            str(file / "cache"),
        )


def test_writable_cache_is_never_blamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_STUDIO_CACHE", str(tmp_path))
    failure = FileNotFoundError(errno.ENOENT, "missing", str(tmp_path / "rows" / "gone"))
    assert files.cache_problem(failure, "Training") is None


def test_unwritable_settings_are_reported(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert files.settings_problem() is None
    monkeypatch.setenv("LORA_STUDIO_CONFIG", str(file / "config"))
    problem = files.settings_problem()
    assert problem is not None
    assert problem.code == "settings.not_saved"
    assert str(file / "config") in str(problem.what)
