"""The window follows a run that another program works on."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder, create_run
from lora_studio.core.system.locks import FileLock
from lora_studio.gui.jobs.control import JobControl


def write_events(run: RunFolder, *new: events.Event) -> None:
    with run.events_file.open("ab") as file:
        file.writelines(events.to_line(event).encode() + b"\n" for event in new)


@pytest.mark.parametrize("skew", [0, -3600, 3600])
def test_only_endings_after_reopening_are_reported(
    qtbot: QtBot, tmp_path: Path, skew: float
) -> None:
    """The worker's clock may differ from that of the window."""
    run = create_run(tmp_path / "runs", Project(name="x"), tmp_path)
    before = time.time() - 60 + skew
    write_events(
        run,
        events.Started(id="a", command="train", time=before),
        events.Done(id="a", paused=True, time=before + 1),
        events.Started(id="b", command="train", time=before + 2),
    )
    lock = FileLock(run.lock_file)
    assert lock.acquire({"pid": 1})
    control = JobControl()
    endings: list[object] = []
    control.ended.connect(lambda _, ending: endings.append(ending))
    try:
        control.attach(run)
        qtbot.waitUntil(lambda: control.running and control._id == "b", timeout=20_000)
        assert endings == [], "the pause was over before"
        write_events(run, events.Done(id="b", stopped=True, time=before + 90))
        qtbot.waitUntil(lambda: not control.running, timeout=20_000)
    finally:
        lock.release()
        control.detach()
    assert [ending.stopped for ending in endings if isinstance(ending, events.Done)] == [True]
