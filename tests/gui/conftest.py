"""A window without a screen, folders of its own, an engine that plays scenarios, and no leaks."""

from __future__ import annotations

import gc
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import QThread, QTimer
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot
from shiboken6 import isValid

from lora_studio.gui import theme
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project_state import ProjectState
from lora_studio.gui.window import Window
from tests.helpers import fake_engine, plain_pages

#: Longest wait for a worker process, in milliseconds; a busy machine starts one in seconds.
WAIT = 30_000


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA", "CACHE", "CONFIG", "LOGS"):
        monkeypatch.setenv(f"LORA_STUDIO_{name}", str(tmp_path / name.lower()))


@pytest.fixture
def scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets what workers do from now on: `scenario(train=[…], inspect_model=[…])`."""
    file = tmp_path / "scenario.json"
    monkeypatch.setenv("LORA_STUDIO_ENGINE", fake_engine.command_line(file))

    def play(**kinds: list[dict[str, object]]) -> None:
        file.write_text(json.dumps(kinds))

    play()
    return play


@pytest.fixture(autouse=True)
def _nothing_left_behind(qapp: QApplication, request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test that leaves a running thread, timer or worker process."""
    theme.apply(qapp, "light")
    if "qtbot" not in request.fixturenames:
        yield
        return
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    yield
    gc.collect()
    kept = [item for item in gc.get_objects() if isinstance(item, QThread) and isValid(item)]
    running = [item for item in kept if item.isRunning() and item is not qapp.thread()]
    assert not running, f"threads still running: {running}"
    assert not [item for item in threading.enumerate() if item.name == "worker events"]
    timers = [timer for timer in qapp.findChildren(QTimer) if timer.isActive()]
    assert not timers, f"timers still running: {timers}"
    left = [item for item in psutil.Process().children(recursive=True) if item.pid not in before]
    for process in left:
        process.kill()
    assert not left, f"processes still running: {left}"


@pytest.fixture
def state(qapp: QApplication) -> Iterator[ProjectState]:
    """An untitled project."""
    made = ProjectState()
    yield made
    made.deleteLater()


@pytest.fixture
def project_folder(tmp_path: Path) -> Path:
    """A folder with a project that is ready to train: a model folder and a dataset file."""
    folder = tmp_path / "support bot"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "config.json").write_text("{}")
    (folder / "rows.jsonl").write_text('{"instruction": "Hi", "output": "Hello"}\n')
    (folder / "support bot.lorastudio").write_text(
        'schema_version = 1\nname = "support bot"\n'
        '[model]\nsource = "./model"\n[dataset]\nfile = "rows.jsonl"\n'
    )
    return folder


@pytest.fixture
def window(qtbot: QtBot, scenario: Callable[..., None]) -> Iterator[Window]:
    """The window over plain pages; closed, with whatever it was doing, after the test."""
    made = Window(Preferences(), plain_pages.pages)
    qtbot.addWidget(made)
    made.show()
    yield made
    if made.jobs.running:
        made.jobs.cancel()
        qtbot.waitUntil(lambda: not made.jobs.running, timeout=WAIT)
        qtbot.waitUntil(lambda: not made.jobs.is_following, timeout=WAIT)
    made.state.undo.setClean()
    made.close()
