"""No folder is created in place of a disk that isn't connected."""

from __future__ import annotations

import errno
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lora_studio.core.problems import STEPS, ProblemError
from lora_studio.core.project import project
from lora_studio.core.system import files
from lora_studio.core.system import locks as locks_module
from lora_studio.core.system.files import write_atomic
from lora_studio.core.system.locks import DeviceIdentity, LockHolder


@pytest.fixture
def mnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder of mount points, all on the disk of the system."""
    folder = tmp_path / "mnt"
    (folder / "connected" / "models").mkdir(parents=True)
    (folder / "empty").mkdir()
    monkeypatch.setattr(files, "_ROOTS", (folder,))
    monkeypatch.setattr(files, "_PER_USER", (folder,))
    monkeypatch.setattr(files, "_SYSTEM", tmp_path)
    monkeypatch.setenv("USER", "ada")
    yield folder
    assert sorted(path.name for path in folder.iterdir()) == ["connected", "empty"]


@pytest.mark.parametrize(
    ("path", "missing"),
    [
        ("absent/projects/bot", "absent"),
        ("ada/BACKUP/projects", "ada/BACKUP"),
        ("empty/projects", "empty"),
        ("connected/projects/bot", None),
        ("../elsewhere/projects", None),
    ],
)
def test_missing_mount_point_is_found(mnt: Path, path: str, missing: str | None) -> None:
    found = files.find_missing_mount(mnt / path)
    assert found == (None if missing is None else mnt / missing)


def test_connected_disk_may_be_empty(mnt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_SYSTEM", Path("/proc"))  # another disk
    assert files.find_missing_mount(mnt / "empty" / "projects") is None


def test_files_on_a_missing_disk_are_refused(mnt: Path) -> None:
    with pytest.raises(OSError) as refused:
        write_atomic(mnt / "absent" / "settings.json", "{}")
    assert isinstance(refused.value, ProblemError)
    assert str(refused.value.problems[0].what) == f"No disk is mounted at {mnt / 'absent'}."


def test_new_project_on_a_missing_disk_is_refused(mnt: Path) -> None:
    draft = project.Draft("bot", {step: {} for step in STEPS}, None)
    with pytest.raises(ProblemError) as refused:
        draft.save(mnt / "absent" / "bot" / "bot.lorastudio")
    assert refused.value.problems[0].code == "disk.not_mounted"


def test_only_one_place_creates_folders_with_parents() -> None:
    source = Path(files.__file__).parents[2]
    found = {
        file.relative_to(source).as_posix()
        for file in source.rglob("*.py")
        if re.search(r"mkdir\([^)]*parents=True|os\.makedirs", file.read_text("utf-8"))
    }
    # The home of the trash, and a folder in the system's temporary files.
    assert found <= {
        "core/system/files.py",
        "core/system/locks.py",
        "gui/desktop/integration.py",
    }


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


FIRST, SECOND = DeviceIdentity("cuda-GPU-1/2", "RTX 4090"), DeviceIdentity("cuda-GPU-3", "RTX 4090")


class _EnoughError(Exception):
    pass


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """Yield another process that trains on the first device."""
    monkeypatch.setenv("LORA_STUDIO_DATA", str(tmp_path / "data"))
    code = (
        "import time; from lora_studio.core.system.locks import *\n"
        f"held = lock_devices([DeviceIdentity({FIRST.key!r}, '')], LockHolder('/p/bot/runs/r1', 'training'), print)\n"
        "print('taken', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "taken\n"
    yield process
    process.kill()
    process.communicate()


def test_second_job_waits_and_learns_the_lock_holder(other: subprocess.Popen[str]) -> None:
    holders: list[LockHolder] = []

    def waits(device: DeviceIdentity, holder: LockHolder) -> None:
        assert device == FIRST
        holders.append(holder)
        if len(holders) == 2:
            other.kill()  # the system frees the lock

    locks = locks_module.lock_devices([FIRST], LockHolder("/p/other/runs/r2", "training"), waits)
    assert holders[0] == LockHolder("/p/bot/runs/r1", "training", other.pid)
    held = locks_module.find_holder(FIRST)
    assert held is not None
    assert held.run == "/p/other/runs/r2"
    for lock in locks:
        lock.release()
    assert locks_module.find_holder(FIRST) is None


@pytest.mark.usefixtures("other")
def test_lock_of_another_gpu_is_free() -> None:
    for lock in locks_module.lock_devices([SECOND], LockHolder("/p/x/runs/r"), pytest.fail):
        lock.release()


@pytest.mark.usefixtures("other")
def test_canceled_wait_releases_all_locks() -> None:
    def waits(device: DeviceIdentity, holder: LockHolder) -> None:
        raise _EnoughError

    with pytest.raises(_EnoughError):
        locks_module.lock_devices([DeviceIdentity("a", ""), FIRST], LockHolder(), waits)
    assert locks_module.find_holder(DeviceIdentity("a", "")) is None


def test_busy_problem_names_the_run_that_holds_the_device() -> None:
    problem = locks_module.device_busy_problem(FIRST, LockHolder("/p/bot/runs/r1", "training"))
    assert str(problem.what) == "RTX 4090 is in use by r1 in /p/bot."
    assert problem.severity == "warning"


def test_read_only_data_folder_does_not_block_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").write_text("is a file")
    monkeypatch.setenv("LORA_STUDIO_DATA", str(tmp_path / "data"))
    assert locks_module.lock_devices([FIRST], LockHolder(), pytest.fail) == []
