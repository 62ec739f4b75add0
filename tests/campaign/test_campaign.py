"""A short campaign with fixed inputs, and every input that once failed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest

from tests.campaign import pool, runner
from tests.campaign.families import FAMILIES, load_family

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the limits of the processes are Linux's"
)

#: Minutes of the long campaign, in one process.
MINUTES = os.environ.get("LORA_STUDIO_CAMPAIGN_MINUTES", "10")


#: Families that share a process: those that need torch, and those that need a server before the Hub's
#: library is imported. All others are in one more.
_ENGINE = ("adapters", "safetensors", "rows", "data-files", "archives")
_SERVERS = ("hub-answers", "ollama-answers")
_OTHERS = tuple(name for name in FAMILIES if name not in (*_ENGINE, *_SERVERS))


@pytest.mark.slow
@pytest.mark.parametrize("names", [_ENGINE, _SERVERS, _OTHERS], ids=["engine", "servers", "others"])
def test_fixed_and_past_inputs_are_handled(names: Sequence[str]) -> None:
    families = [family for name in names if (family := load_family(name)).smoke]
    assert runner.run_smoke(families) == []


def test_every_folder_of_the_corpus_has_a_family() -> None:
    assert {folder.name for folder in runner.CORPUS.iterdir()} <= set(FAMILIES)


def test_processes_in_other_sessions_end_with_their_home(tmp_path: Path) -> None:
    script = "import subprocess, sys, time; subprocess.Popen([sys.executable, *sys.argv[1:]], start_new_session=True); time.sleep(60)"
    command = [sys.executable, "-c", script, "-c", "import time; time.sleep(60)"]
    ours = subprocess.Popen(command, env=os.environ | {"HOME": str(tmp_path / "home")})
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        started = psutil.Process(ours.pid)
        wait_until(lambda: bool(started.children()))
        (inner,) = started.children()
        pool.end_processes(tmp_path)
        assert ours.wait(10) == -signal.SIGKILL
        wait_until(lambda: not _is_alive(inner))
        assert other.poll() is None
    finally:
        ours.kill()
        other.kill()
        other.wait()


@pytest.mark.slow
def test_child_ends_when_campaign_is_killed() -> None:
    command = [sys.executable, "-m", "tests.campaign", "--family", "patterns", "--jobs", "1"]
    campaign = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL)
    process = psutil.Process(campaign.pid)
    try:
        wait_until(lambda: bool(process.children()))
        (child,) = process.children()
    finally:
        campaign.kill()
        campaign.wait()
    wait_until(lambda: not _is_alive(child))


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.timeout(60 * float(MINUTES) + 1800)
def test_campaign_finds_nothing() -> None:
    command = [sys.executable, "-m", "tests.campaign", "--minutes", MINUTES, "--seed", "1", "--jobs", "1"]  # fmt: skip
    root = Path(__file__).parents[2]
    ended = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    print(ended.stdout)
    assert ended.returncode == 0, ended.stdout + ended.stderr
