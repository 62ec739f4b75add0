"""The run queue of the window: order, failures, cancellation and restarts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.project.project import Project
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.runs import queue as run_queue
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.queue import QueuedRun
from lora_studio.gui.project.state import ProjectState
from tests.gui.conftest import WAIT
from tests.helpers.runs.many_runs import make_runs
from tests.helpers.runs.runs_page import Parts

SHORT = [{"steps": 3, "seconds": 0.005}]
LONG = [{"steps": 100_000, "seconds": 0.02}]


def _runs(folder: Path, count: int) -> list[RunFolder]:
    """Return new runs that are ready to start."""
    specs = [LoraSpec(rank=8 << number) for number in range(count)]
    return [
        run_folder.create_run(folder / "runs", Project(name="bot", lora=spec), folder)
        for spec in specs
    ]


def _add(parts: Parts, runs: list[RunFolder]) -> None:
    parts.queue.add([QueuedRun(run=run.path.name) for run in runs])


def _until_over(parts: Parts, qtbot: QtBot) -> None:
    qtbot.waitUntil(
        lambda: not parts.queue.items and not parts.jobs.running and not parts.jobs.is_following,
        timeout=WAIT,
    )


def _started(runs: list[RunFolder]) -> list[RunFolder]:
    begun = [run for run in runs if run.events_file.is_file()]
    return sorted(begun, key=lambda run: next(iter(run.iter_events())).time)


@pytest.mark.slow
def test_queued_runs_start_in_order(
    parts: Parts, project_folder: Path, scenario: Callable[..., None], qtbot: QtBot
) -> None:
    scenario(train=SHORT)
    runs = _runs(project_folder, 2)
    parts.queue.pause()
    _add(parts, runs)
    parts.queue.move(runs[1].path.name, 0)
    assert not parts.jobs.running
    parts.queue.start()
    _until_over(parts, qtbot)
    assert _started(runs) == [runs[1], runs[0]]
    assert {run.read_state() for run in runs} == {"trained"}


@pytest.mark.slow
def test_queue_continues_after_a_failure_with_a_message(
    parts: Parts, project_folder: Path, scenario: Callable[..., None], qtbot: QtBot
) -> None:
    scenario(train=SHORT)
    runs = _runs(project_folder, 2)
    runs[0].lock_file.mkdir()  # can't be locked
    _add(parts, runs)
    _until_over(parts, qtbot)
    assert runs[1].read_state() == "trained"
    assert any("The queue continues with the next run." in text for text in parts.posted)


@pytest.mark.slow
def test_canceling_a_run_pauses_the_queue(
    parts: Parts, project_folder: Path, scenario: Callable[..., None], qtbot: QtBot
) -> None:
    scenario(train=LONG)
    runs = _runs(project_folder, 2)
    _add(parts, runs)
    qtbot.waitUntil(lambda: parts.jobs.progress.share is not None, timeout=WAIT)
    assert parts.queue.names == [runs[1].path.name]
    parts.jobs.cancel()
    qtbot.waitUntil(lambda: not parts.jobs.running and not parts.jobs.is_following, timeout=WAIT)
    qtbot.waitUntil(lambda: parts.queue.paused)
    assert parts.queue.names == [runs[1].path.name]
    assert runs[1].read_state() == "new"
    assert run_queue.load(project_folder / "runs").paused


@pytest.mark.slow
def test_run_started_during_training_is_queued(
    parts: Parts, project_folder: Path, scenario: Callable[..., None], qtbot: QtBot
) -> None:
    scenario(train=LONG)
    runs = _runs(project_folder, 2)
    parts.queue.start_or_add(runs[0])
    parts.queue.start_or_add(runs[1])
    assert parts.queue.names == [runs[1].path.name]
    assert "Run queued" in parts.posted[-1]


def test_earlier_queue_opens_paused(
    parts: Parts, state: ProjectState, project_folder: Path, qtbot: QtBot
) -> None:
    runs = _runs(project_folder, 2)
    run_queue.add(project_folder / "runs", [QueuedRun(run=run.path.name) for run in runs])
    state.open(project_folder)
    assert parts.queue.names == [run.path.name for run in runs]
    assert parts.queue.paused
    assert "2 runs are queued" in parts.posted[-1]
    qtbot.wait(50)
    assert not parts.jobs.running
    assert [run.read_state() for run in runs] == ["new", "new"]


@pytest.mark.slow
def test_earlier_queue_continues_after_a_run_is_started(
    parts: Parts,
    state: ProjectState,
    project_folder: Path,
    scenario: Callable[..., None],
    qtbot: QtBot,
) -> None:
    scenario(train=SHORT)
    runs = _runs(project_folder, 2)
    run_queue.add(project_folder / "runs", [QueuedRun(run=runs[1].path.name)])
    state.open(project_folder)
    assert parts.queue.paused
    parts.launcher.start_run(runs[0])
    assert not parts.queue.paused
    _until_over(parts, qtbot)
    assert _started(runs) == runs


def test_queue_is_reordered_by_keyboard(parts: Parts, project_folder: Path, qtbot: QtBot) -> None:
    runs = _runs(project_folder, 3)
    parts.queue.pause()
    _add(parts, runs)
    page = parts.page
    page.on_shown()
    qtbot.waitUntil(lambda: len(page.library.runs) == 3, timeout=WAIT)
    page.side.setCurrentWidget(page.side.queue)
    names, shown = [run.path.name for run in runs], page.side.queue.list
    assert page.side.tabText(2) == "Queue (3)"
    shown.setFocus()
    shown.setCurrentRow(2)
    qtbot.keyClick(shown, Qt.Key.Key_Up, Qt.KeyboardModifier.AltModifier)
    qtbot.keyClick(shown, Qt.Key.Key_Up, Qt.KeyboardModifier.AltModifier)
    assert shown.list_names() == [names[2], names[0], names[1]] == parts.queue.names
    qtbot.keyClick(shown, Qt.Key.Key_Delete)
    assert parts.queue.names == [names[0], names[1]]
    states = {run.folder: page.table.rows.get_state(run) for run in page.library.runs}
    assert [states[name] for name in names] == ["queued", "queued", "new"]


def test_queued_runs_are_resumed_if_interrupted_and_else_copied(
    parts: Parts, project_folder: Path, qtbot: QtBot
) -> None:
    runs = make_runs(project_folder, 50)  # the last one was interrupted
    parts.queue.pause()
    page = parts.page
    page.on_shown()
    qtbot.waitUntil(lambda: len(page.library.runs) == 50, timeout=WAIT)
    page.table.choose([runs[49].path.name, runs[0].path.name])
    page.run_actions.actions["queue"].trigger()
    qtbot.waitUntil(lambda: len(parts.queue.items) == 2, timeout=WAIT)
    first, second = parts.queue.items
    assert first == QueuedRun(run=runs[49].path.name, resume=True)
    assert not second.resume
    copy = RunFolder(project_folder / "runs" / second.run)
    assert copy.load_project() == runs[0].load_project()
    qtbot.waitUntil(lambda: not page.library.is_scanning, timeout=WAIT)
