"""A short campaign with fixed inputs, and every input that once failed."""

from __future__ import annotations

import os
import random
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
from tests.campaign.family import Figures, SimpleFamily
from tests.campaign.minimization import Minimizer

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


def test_minimizer_leaves_only_the_fault() -> None:
    minimizer = Minimizer(lambda content: b"bad" in content)
    parts = b"x\n" * 50 + b"is bad here\n" + b"y\n" * 50
    assert minimizer.minimize(parts, lambda content: content.splitlines(keepends=True)) == b"bad"


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


def test_input_that_waits_for_nothing_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_STALL_SECONDS", 0.2)
    sleeping = subprocess.Popen(["sleep", "60"])
    try:
        watch = pool._Stopwatch(sleeping.pid, 0)
        wait_until(lambda: watch.is_over(1e9))
    finally:
        sleeping.kill()
        sleeping.wait()


def test_answers_that_come_at_once_are_all_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part and the last answer follow each other within microseconds; the second was taken for a hang."""
    monkeypatch.setattr(pool, "_STALL_SECONDS", 5.0)
    printing = [
        sys.executable,
        "-c",
        "import os, time; os.write(1, b'1\\n2\\n3\\n'); time.sleep(60)",
    ]
    popen = subprocess.Popen
    monkeypatch.setattr(pool.subprocess, "Popen", lambda _, **options: popen(printing, **options))
    child = pool.ChildProcess([], 0)
    try:
        assert [child._read(60) for _ in range(3)] == [1, 2, 3]
    finally:
        child.close()


def test_work_of_started_programs_counts() -> None:
    busy = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"
    started = subprocess.Popen([sys.executable, "-c", busy], start_new_session=True)
    try:
        watch = pool._Stopwatch(started.pid, 0)
        wait_until(lambda: watch.is_over(0.2))
    finally:
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()


def test_time_that_a_goal_leaves_goes_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(runner.time, "time", lambda: now)
    killed = SimpleFamily("killed", bytes_of, count, weight=3, goal=("kills", 100))
    quick, slow = (SimpleFamily(name, bytes_of, count, weight=1) for name in ("quick", "slow"))
    schedule = runner._Schedule([killed, quick, slow], seconds=360, jobs=1)
    assert schedule.get_share(killed) == pytest.approx(360 * 3 / 5)
    assert not schedule.has_reached_goal(killed, Figures(outcomes={"kills": 9}))
    assert schedule.has_reached_goal(killed, Figures(outcomes={"kills": 10}))
    assert not schedule.has_reached_goal(quick, Figures(inputs=10**6))
    now += 60
    schedule.finish(killed)
    assert schedule.get_share(quick) == pytest.approx(150)
    now += 150
    schedule.finish(quick)
    assert schedule.get_share(slow) == pytest.approx(150)


def bytes_of(rng: random.Random) -> bytes:
    return b""


def count(content: bytes, sandbox: Path) -> str:
    return "done"


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
