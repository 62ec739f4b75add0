"""A job waits for a GPU in use, reports it, and can be canceled or paused while it waits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.protocol import commands, events
from lora_studio.core.system import locks as locks_module
from lora_studio.core.system.locks import DeviceIdentity, LockHolder
from lora_studio.engine.devices import lock as device_lock
from lora_studio.engine.runtime.channel import Flags
from tests.helpers.runs.jobs import handle, new_run

GPU = DeviceIdentity("cuda-GPU-1", "RTX 4090")


def test_cpu_is_never_locked() -> None:
    assert device_lock.get_lockable_devices(ModelSpec(device="cpu:2")) == []


@pytest.fixture
def _gpu_in_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A machine with one GPU that a job of another project uses."""
    monkeypatch.setenv("LORA_STUDIO_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(device_lock, "get_lockable_devices", lambda model: [GPU])
    locks = locks_module.lock_devices([GPU], LockHolder("/p/bot/runs/r1", "training"), pytest.fail)
    yield
    for lock in locks:
        lock.release()


@pytest.mark.usefixtures("_gpu_in_use")
@pytest.mark.parametrize("wish", ["cancel", "pause"])
def test_training_waits_for_busy_gpu_until_canceled_or_paused(tmp_path: Path, wish: str) -> None:
    run = new_run(tmp_path, model={"source": "builtin:harbor-tiny"})

    def on_event(event: events.Event, flags: Flags) -> None:
        if isinstance(event, events.Progress) and "waiting" in str(event.stage):
            getattr(flags, wish).set()

    channel = handle(commands.Train(run=str(run.path)), on_event)
    problem = channel.last(events.Warned).problem
    assert str(problem.what) == "RTX 4090 is in use by r1 in /p/bot."
    assert str(channel.last(events.Progress).stage) == "waiting for RTX 4090"
    if wish == "cancel":
        assert isinstance(channel.events[-1], events.Cancelled)
    else:
        assert channel.last(events.Done).paused
    assert run.read_state() == ("stopped" if wish == "cancel" else "paused")
