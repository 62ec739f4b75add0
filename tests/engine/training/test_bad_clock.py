"""A clock that is set while training runs: durations and the order of runs stay correct."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lora_studio.core.protocol import events
from lora_studio.core.runs import facts, folder
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.state import RunState
from tests.engine.training.test_bad_disk import train_on_bad_disk
from tests.engine.training.test_best_adapter import start  # noqa: F401
from tests.helpers.faults import bad_clock

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the clock is a library for Linux"),
]


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(-3600, marks=pytest.mark.thorough),
        -3 * 365 * 86_400,
    ],
)
def test_clock_set_during_training_keeps_durations(
    start: Callable[..., RunFolder],  # noqa: F811 - the fixture
    tmp_path: Path,
    seconds: int,
) -> None:
    run = start(epochs=4, save_every=2)
    switch = tmp_path / "set"
    environment = bad_clock.environment(bad_clock.build(tmp_path), seconds, switch)
    began = time.monotonic()
    ending, seen = train_on_bad_disk(run, environment, switch)
    elapsed = time.monotonic() - began
    assert isinstance(ending, events.Done)
    times = [event.time for event in seen]
    assert times == sorted(times)
    assert 0 < times[-1] - times[0] <= elapsed
    progress = facts.follow_events(run, RunState())
    assert 0 < progress.seconds <= elapsed
    etas = [event.eta_s for event in seen if isinstance(event, events.StepDone) and event.eta_s]
    assert all(0 <= eta <= elapsed for eta in etas)
    assert run.has_adapter
    assert folder.find_latest(run.path.parent) == run
