"""Freed memory on a CPU: kept for the next step's tensors, and returned afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lora_studio.client.worker import get_worker_variables

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


@pytest.mark.skipif(
    not _HUGE_PAGES.is_file() or "[madvise]" not in _HUGE_PAGES.read_text(),
    reason="this system doesn't leave the use of huge pages to programs",
)
def test_a_worker_allocates_tensors_in_huge_pages() -> None:
    """One page fault for 2 MB instead of 512."""
    faults = _measure("returned", get_worker_variables())["faults"]
    assert faults < _measure("returned")["faults"] / 10
