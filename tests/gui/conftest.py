"""Fixtures of the window tests: isolated folders, a fake engine, and checks for leaked threads."""

from __future__ import annotations

import gc
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import QEvent, QThread, QTimer
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot
from shiboken6 import isValid

from lora_studio.core.project import project
from lora_studio.gui import theme
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.problems import toasts
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.window.main_window import Window
from lora_studio.gui.window.wiring import make_window
from tests.conftest import PATIENCE
from tests.helpers.accepted_projects import accept_project
from tests.helpers.runs.runs_page import Parts
from tests.helpers.window import fake_engine, plain_pages

#: Longest wait for a worker process, in milliseconds; a busy machine starts one in seconds.
WAIT = PATIENCE


@pytest.fixture(autouse=True)
def _isolated_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA", "CACHE", "CONFIG", "LOGS"):
        monkeypatch.setenv(f"LORA_STUDIO_{name}", str(tmp_path / name.lower()))


@pytest.fixture(autouse=True)
def _info_messages_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep info messages until a test has read them, however slow the machine is."""
    monkeypatch.setattr(toasts, "_INFO_TIME", 10 * WAIT)


@pytest.fixture
def scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that sets what workers do: `scenario(train=[…], inspect_model=[…])`."""
    file = tmp_path / "scenario.json"
    monkeypatch.setenv("LORA_STUDIO_ENGINE", fake_engine.command_line(file))

    def play(**kinds: list[dict[str, object]]) -> None:
        file.write_text(json.dumps(kinds))

    play()
    return play


@pytest.fixture(scope="module", autouse=True)
def _freeze_earlier_objects() -> None:
    """Exclude objects of earlier modules from every later collection: torch alone has a million."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_leaked_threads_or_processes(
    qapp: QApplication, request: pytest.FixtureRequest
) -> Iterator[None]:
    """Fail a test that leaves a running thread, timer or worker process."""
    theme.apply(qapp, "light")
    if "qtbot" not in request.fixturenames:
        yield
        return
    earlier_pids = {child.pid for child in _children()}
    yield
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    gc.collect()
    # Not isinstance, which reads `__class__` of every object and makes some of torch's warn.
    threads_and_timers = [
        item for item in gc.get_objects() if issubclass(type(item), QThread | QTimer)
    ]
    # A worker that is ending ends its thread a moment later; the window doesn't wait for it.
    alive = _left_after(
        lambda: [item for item in threads_and_timers if isValid(item) and _is_at_work(item)]
    )
    assert not alive, f"threads or timers still running: {alive}"
    workers = _left_after(lambda: [item for item in _children() if item.pid not in earlier_pids])
    for process in workers:
        process.kill()
    assert not workers, f"processes still running: {workers}"
    readers = _left_after(lambda: [t for t in threading.enumerate() if t.name == "worker events"])
    assert not readers, f"threads still running: {readers}"


def _is_at_work(item: QThread | QTimer) -> bool:
    if isinstance(item, QTimer):
        return item.isActive()
    return item.isRunning() and item is not QThread.currentThread()


def _children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def _left_after(look: Callable[[], list[Any]], seconds: float = WAIT / 1000) -> list[Any]:
    """Return what is still left after `seconds`, because a worker takes a moment to end."""
    until = time.monotonic() + seconds
    while (leftovers := look()) and time.monotonic() < until:
        time.sleep(0.05)
    return leftovers


@pytest.fixture
def state(qapp: QApplication) -> Iterator[ProjectState]:
    """Yield an untitled project."""
    project_state = ProjectState()
    yield project_state
    project_state.deleteLater()


@pytest.fixture
def project_folder(tmp_path: Path) -> Path:
    """Return a folder with a project that is ready to train: a model folder and a dataset file."""
    folder = tmp_path / "support bot"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "config.json").write_text("{}")
    (folder / "rows.jsonl").write_text('{"instruction": "Hi", "output": "Hello"}\n')
    (folder / "support bot.lorastudio").write_text(
        'name = "support bot"\n[model]\nsource = "./model"\n[dataset]\nsources = ["rows.jsonl"]\n'
    )
    accept_project(project.load(folder))
    return folder


@pytest.fixture
def window(qtbot: QtBot, scenario: Callable[..., None]) -> Iterator[Window]:
    """Yield a window with plain pages; close it and cancel its job after the test."""
    # Not added to qtbot, which would delete it while its job is running.
    main_window = make_window(Preferences(), plain_pages.pages)
    main_window.show()
    yield main_window
    if main_window.jobs.running:
        main_window.jobs.cancel()
        qtbot.waitUntil(lambda: not main_window.jobs.running)
        qtbot.waitUntil(lambda: not main_window.jobs.is_following)
    main_window.state.undo.setClean()
    main_window.close()
    main_window.deleteLater()


@pytest.fixture
def parts(
    qtbot: QtBot, state: ProjectState, project_folder: Path, scenario: Callable[..., None]
) -> Iterator[Parts]:
    """Yield the Runs page with a project that is ready to train, without the rest of the window."""
    page_parts = Parts(state)
    state.open(project_folder)
    yield page_parts
    if page_parts.jobs.running:
        page_parts.queue.stop_background_work()
        page_parts.jobs.cancel()
    qtbot.waitUntil(lambda: not page_parts.jobs.is_following)
    page_parts.stop_background_work()
