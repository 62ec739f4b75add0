"""A training run that is killed repeatedly ends like one that wasn't."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.folder import RunFolder
from tests.engine.conftest import TinyModel
from tests.helpers.faults.forking_engine import ENDED
from tests.helpers.faults.kill_trials import KillTrials
from tests.helpers.faults.killed_runs import ForkingEngine, find_differences, new_small_run
from tests.helpers.runs.jobs import wait_until_free

KILLS, STEPS = 20, 140

#: The maximum number of events of a kind before a kill; "start" counts events of any kind.
_MOST = {"start": 14, "step_done": 9, "checkpoint_saved": 3, "evaluated": 1}


@pytest.fixture
def engine() -> Iterator[ForkingEngine]:
    new_engine = ForkingEngine()
    yield new_engine
    new_engine.close()


def _kill_in_the_middle(
    engine: ForkingEngine, run: RunFolder, chance: random.Random, *, resume: bool
) -> int:
    """Kill a worker shortly after one of its events; return the number of steps it had done.

    It may have finished: the worker doesn't wait for this process.
    """
    command = commands.Train(run=str(run.path), resume=resume)
    at = chance.choice(("start", "step_done", "checkpoint_saved", "evaluated"))
    last, pid, steps = chance.randrange(_MOST[at]), 0, 0
    for event in engine.begin(command):
        if isinstance(event, events.Failed):
            pytest.fail(str(event.problem))
        if isinstance(event, events.Hello):
            pid = event.pid
        steps += isinstance(event, events.StepDone)
        last -= at in ("start", event.kind)
        if last < 0:
            time.sleep(chance.random() * 0.02)
            with suppress(ProcessLookupError):  # it may have finished
                os.kill(pid, signal.SIGKILL)
            break
    wait_until_free(run)
    return steps


def test_worker_that_dies_before_its_first_event_ends_its_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = f"import sys\nfor line in sys.stdin: print({ENDED.decode()!r}, end='', flush=True)"
    start = subprocess.Popen

    def start_dying(_command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        return start([sys.executable, "-c", script], **options)

    monkeypatch.setattr(subprocess, "Popen", start_dying)
    engine = ForkingEngine()
    try:
        assert list(engine.begin(commands.Merge(run="one"))) == []
        assert list(engine.begin(commands.Merge(run="two"))) == []
    finally:
        engine.close()


@pytest.mark.slow
@pytest.mark.thorough
def test_run_killed_repeatedly_matches_an_unbroken_run(
    engine: ForkingEngine, tiny: TinyModel, tmp_path: Path
) -> None:
    began = time.monotonic()
    seed = random.randrange(1 << 32)
    print(f"seed of the moments: {seed}")
    chance = random.Random(seed)
    whole = new_small_run(tmp_path / "whole", tiny("llama3"), STEPS)
    assert isinstance(list(engine.begin(commands.Train(run=str(whole.path))))[-1], events.Done)
    killed = new_small_run(tmp_path / "killed", tiny("llama3"), STEPS)
    repeated: list[int] = []
    while len(repeated) < KILLS and killed.read_state() != "trained":
        repeated.append(_kill_in_the_middle(engine, killed, chance, resume=bool(repeated)))
    assert len(repeated) > 1
    if killed.read_state() != "trained":
        assert killed.read_state() == "interrupted"
        rest = list(engine.begin(commands.Train(run=str(killed.path), resume=True)))
        assert isinstance(rest[-1], events.Done)
    print(f"{len(repeated)} kills after {repeated} steps, {time.monotonic() - began:.0f} s")

    assert find_differences(killed, whole) == []


@pytest.mark.slow
@pytest.mark.thorough
def test_kills_of_every_job_lose_nothing(
    engine: ForkingEngine, tiny: TinyModel, tmp_path: Path
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed of the moments: {seed}")
    report = KillTrials(engine, tiny("llama3"), tmp_path).run(kills=15, seed=seed)
    print(report)
    assert report.kills
    assert not report.losses
