"""Files of a reproduction script: damage is repaired, and what the user has edited stays."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lora_studio.core.project.project import Project
from lora_studio.core.runs import checksums
from lora_studio.core.runs.folder import RunFolder, create_run
from lora_studio.engine.training.reproduction import script

SOURCE = "# Training\nprint('first')\nprint('second')\n"
LOCKED = "# Python 3.11\ntorch==2.9.0\n"


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """Return a run with a script, its rows and its requirements."""
    run = create_run(tmp_path / "runs", Project(name="Pim"), tmp_path)
    run.data.mkdir()
    (run.data / "order.npy").write_bytes(b"order")
    checksums.record_checksums(run, run.data)
    assert write(run) == []
    assert script.is_complete(run)
    return run


def write(run: RunFolder) -> list[Path]:
    return script.write_files(
        run, {run.lock_list: LOCKED, run.rewards_script: "x = 1\n", run.train_script: SOURCE}
    )


@pytest.mark.parametrize("content", ["", "\x00", "print(", SOURCE[: len(SOURCE) // 2], SOURCE[:26]])
def test_damaged_script_is_written_again(run: RunFolder, content: str) -> None:
    run.train_script.write_text(content)
    assert not script.is_complete(run)
    assert write(run) == []
    assert run.train_script.read_text() == SOURCE
    assert script.is_complete(run)


@pytest.mark.parametrize("name", ["train.py", "rewards.py", "requirements.lock.txt"])
def test_missing_file_of_a_script_is_written_again(run: RunFolder, name: str) -> None:
    (run.path / name).unlink()
    assert not script.is_complete(run)
    assert write(run) == []
    assert script.is_complete(run)


@pytest.mark.parametrize("name", ["train.py", "rewards.py", "requirements.lock.txt"])
def test_edited_file_stays_and_is_named(run: RunFolder, name: str) -> None:
    edited = run.path / name
    edited.write_text(edited.read_text().replace("1", "4").replace("first", "1st"))
    content = edited.read_text()
    (run.data / "order.npy").write_bytes(b"damaged")
    for _ in range(2):
        assert not script.is_complete(run)
        assert write(run) == [edited]
        assert edited.read_text() == content


def test_checksums_stay_if_every_file_is_edited(run: RunFolder) -> None:
    recorded = checksums.read_recorded(run)
    run.train_script.write_text("mine = True\n")
    assert script.write_files(run, {run.train_script: SOURCE}) == [run.train_script]
    assert checksums.read_recorded(run) == recorded


def test_module_of_the_user_is_not_deleted(run: RunFolder) -> None:
    script.write_files(run, {run.rewards_script: None})
    run.rewards_script.write_text("mine = True\n")
    script.write_files(run, {run.rewards_script: None})
    assert run.rewards_script.read_text() == "mine = True\n"


def test_module_that_is_no_longer_needed_is_deleted(run: RunFolder) -> None:
    script.write_files(run, {run.rewards_script: None})
    assert not run.rewards_script.exists()
    assert script.is_complete(run)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc has a file whose reading fails")
@pytest.mark.parametrize("name", ["train.py", "requirements.lock.txt"])
def test_file_on_a_failing_disk_is_not_written_again(name: str, tmp_path: Path) -> None:
    run = create_run(tmp_path / "runs", Project(name="Pim"), tmp_path)
    run.train_script.write_text("print('edited')\n")
    (run.path / name).unlink(missing_ok=True)
    (run.path / name).symlink_to("/proc/self/mem")
    with pytest.raises(OSError, match="Input/output error"):
        script.is_complete(run)
