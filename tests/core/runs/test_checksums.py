"""Checksums of what a run has produced, for everything that reads it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lora_studio.core.problems import ProblemError
from lora_studio.core.project.project import Project
from lora_studio.core.runs import checksums, folder
from lora_studio.core.runs.folder import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    created = folder.create_run(tmp_path / "runs", Project(name="Pim"), tmp_path)
    created.merged.mkdir()
    for name in ("config.json", "chat_template.jinja", "model.safetensors"):
        (created.merged / name).write_text(name)
    checksums.record_checksums(created, created.merged)
    return created


def find_code(path: Path, *, with_weights: bool = True) -> str:
    try:
        checksums.require_intact_source(path, with_weights=with_weights)
    except ProblemError as error:
        return str(error.problems[0].code)
    return ""


@pytest.mark.parametrize("name", ["config.json", "chat_template.jinja"])
def test_missing_small_file_of_a_run_is_named(run: RunFolder, name: str) -> None:
    assert find_code(run.merged, with_weights=False) == ""
    (run.merged / name).unlink()
    assert find_code(run.merged) == "run.damaged_merged"
    assert find_code(run.merged, with_weights=False) == "run.damaged_merged"
    assert find_code(run.merged / name) == "run.damaged_merged"


def test_weights_are_left_to_those_who_read_them(run: RunFolder) -> None:
    (run.merged / "model.safetensors").write_text("noise")
    assert find_code(run.merged, with_weights=False) == ""
    assert find_code(run.merged) == "run.damaged_merged"
    assert find_code(run.merged / "model.safetensors", with_weights=False) == "run.damaged_merged"


def test_relative_path_of_a_run_is_checked(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    (run.merged / "config.json").write_text("other")
    monkeypatch.chdir(run.path)
    assert find_code(Path("merged")) == "run.damaged_merged"


def test_change_with_the_old_modification_time_is_noticed(run: RunFolder) -> None:
    file = run.merged / "config.json"
    assert find_code(run.merged) == ""
    times = file.stat()
    file.write_text("config.jsom")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert find_code(run.merged) == "run.damaged_merged"
