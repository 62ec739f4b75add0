"""Threads on machines with other work, and in containers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lora_studio.client.worker import get_worker_variables
from lora_studio.engine.runtime import llama_cpp, torch_settings
from lora_studio.engine.runtime.torch_settings import ThreadChoice
from tests.helpers.runs.jobs import RecordingChannel, make_job


@pytest.mark.parametrize(
    ("cores", "allowed", "busy", "sustained", "threads", "is_passive"),
    [
        pytest.param(8, 8, 0.1, 0.1, None, False, id="quiet-keeps-the-default"),
        pytest.param(8, 8, 0.1, 8.0, None, False, id="load-that-has-ended"),
        pytest.param(2, 8, 0.0, 0.0, 2, False, id="quota-on-a-quiet-host"),
        pytest.param(2, 2, 1.0, 1.1, 1, True, id="one-of-two-cores-taken"),
        pytest.param(2, 2, 1.0, 0.1, 2, True, id="short-burst-keeps-threads"),
        pytest.param(2, 2, 2.0, 9.0, 1, True, id="all-cores-taken"),
        pytest.param(16, 16, 4.2, 5.0, 12, True, id="some-of-many-taken"),
        pytest.param(4, 64, 40.0, 40.0, 4, True, id="quota-on-a-busy-host"),
        pytest.param(1, 1, 0.9, 1.0, 1, True, id="single-core"),
    ],
)
def test_threads_use_the_idle_cores(
    cores: int,
    allowed: int,
    busy: float,
    sustained: float,
    threads: int | None,
    is_passive: bool,
) -> None:
    choice = torch_settings.choose_threads(cores, allowed, busy, sustained)
    assert (choice.threads, choice.is_passive) == (threads, is_passive)
    assert (choice.describe() is None) == (threads is None)


@pytest.mark.parametrize(
    ("own", "files", "quota"),
    [
        pytest.param("0::/\n", {"cpu.max": "150000 100000"}, 1.5, id="container"),
        pytest.param("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "400000 100000"}, 4.0, id="parent"),
        pytest.param("0::/a\n", {"a/cpu.max": "max 100000"}, None, id="unlimited"),
        pytest.param("0::/host/path\n", {"cpu.max": "200000 100000"}, 2.0, id="path-of-the-host"),
        pytest.param(
            "3:cpu,cpuacct:/x\n2:memory:/x\n",
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "50000", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"},
            0.5, id="version-1",
        ),
        pytest.param(
            "3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None,
            id="version-1-unlimited",
        ),
        pytest.param("0::/\n", {"cpu.max": "damaged"}, None, id="damaged"),
    ],
)  # fmt: skip
def test_quota_of_a_cgroup_is_read(
    tmp_path: Path, own: str, files: dict[str, str], quota: float | None
) -> None:
    for name, content in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(content + "\n")
    (tmp_path / "own").write_text(own)
    assert torch_settings.read_quota(tmp_path / "groups", tmp_path / "own") == quota


def test_cores_without_cgroups_are_those_of_the_affinity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert torch_settings.read_quota(tmp_path, tmp_path / "missing") is None
    monkeypatch.setattr(torch_settings, "read_quota", lambda: 1.5)
    assert torch_settings.count_cores() == 1


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Return a patch with an empty environment, in a process that seems to have no PyTorch yet."""
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(torch_settings, "count_cores", lambda: 2)
    monkeypatch.setattr(torch_settings, "measure_busy_cores", lambda: 1.6)
    monkeypatch.setattr(torch_settings, "read_load", lambda _: 2.0)
    monkeypatch.setattr(torch_settings, "_get_allowed_cores", lambda: {0, 1})
    return monkeypatch


def test_busy_machine_limits_the_process_and_says_so(environment: pytest.MonkeyPatch) -> None:
    channel = RecordingChannel()
    torch_settings.choose_for_job(make_job(channel))
    assert os.environ["OMP_NUM_THREADS"] == "1"
    assert os.environ["OMP_WAIT_POLICY"] == "passive"
    assert "Computing with 1 thread: other programs use 1.6 of 2" in str(channel.events[-1].text)
    environment.undo()


def test_resumed_job_keeps_its_threads(environment: pytest.MonkeyPatch) -> None:
    torch_settings.choose_for_job(make_job(), threads=2)
    assert os.environ["OMP_NUM_THREADS"] == "2"
    assert os.environ["OMP_WAIT_POLICY"] == "passive"
    environment.undo()


def test_llama_cpp_uses_the_processors_it_may_run_on(environment: pytest.MonkeyPatch) -> None:
    environment.setattr(os, "cpu_count", lambda: 64)
    assert llama_cpp.count_threads() == 2
    environment.setenv("OMP_NUM_THREADS", "7")
    assert llama_cpp.count_threads() == 7
    environment.undo()


def test_number_that_the_user_set_is_kept(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("OMP_NUM_THREADS", "7")
    torch_settings.choose_for_job(make_job())
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "OMP_WAIT_POLICY" not in os.environ
    environment.undo()


def test_default_is_described_as_nothing() -> None:
    assert ThreadChoice(8).describe() is None


_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")

#: Counts page faults of steps that each need 320 MB, and the resident memory after the last.
_STEPS = """
import contextlib, json, resource, sys
import psutil, torch
from lora_studio.engine.runtime.torch_settings import keep_freed_memory

def step():
    tensors = [torch.ones(1 << 20) for _ in range(64)] + [torch.ones(1 << 24)]

def count_faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

with keep_freed_memory() if sys.argv[1] == "kept" else contextlib.nullcontext():
    step(), step()  # the first leaves gaps
    before = count_faults()
    step()
    faults = count_faults() - before
    kept = psutil.Process().memory_info().rss
print(json.dumps({"faults": faults, "released": kept - psutil.Process().memory_info().rss}))
"""


def _can_keep_large_tensors() -> bool:
    """Return whether the C library accepts the threshold: some limit it to 32 MB."""
    if sys.platform != "linux":
        return False
    command = "import ctypes; print(ctypes.CDLL(None).mallopt(-3, 1 << 30))"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
    return done.stdout.strip() == "1"


def _measure(mode: str, variables: dict[str, str] | None = None) -> dict[str, int]:
    environment = os.environ | (variables or {})
    command = [sys.executable, "-c", _STEPS, mode]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    result: dict[str, int] = json.loads(done.stdout)
    return result


@pytest.mark.slow
@pytest.mark.skipif(
    not _can_keep_large_tensors(), reason="this C library refuses to keep tensors of 1 GB"
)
def test_a_step_uses_the_memory_that_the_last_one_freed() -> None:
    """Without it, each page comes from the system again: 81,920 of 4 KB."""
    assert _measure("returned")["faults"] > 10 * (kept := _measure("kept"))["faults"]
    assert kept["released"] > 300 << 20


@pytest.mark.slow
@pytest.mark.skipif(
    not _HUGE_PAGES.is_file() or "[madvise]" not in _HUGE_PAGES.read_text(),
    reason="this system doesn't leave the use of huge pages to programs",
)
def test_a_worker_allocates_tensors_in_huge_pages() -> None:
    """One page fault for 2 MB instead of 512."""
    faults = _measure("returned", get_worker_variables())["faults"]
    assert faults < _measure("returned")["faults"] / 10
