"""Device locks: one job per GPU across processes; a dead process holds no lock."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lora_studio.core.system import locks as locks_module
from lora_studio.core.system.locks import DeviceIdentity, LockHolder

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
