"""The program as a process: starting with a project, and ending by signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication

from lora_studio.core.project.project import SUFFIX, load
from lora_studio.core.runs import folder
from lora_studio.gui import app
from tests.gui.conftest import WAIT

START = """
import sys
from PySide6.QtCore import QTimer
from lora_studio.gui import app
from lora_studio.gui.window import main_window, wiring
from tests.helpers.window import plain_pages

class PrintingWindow(main_window.Window):
    def __init__(self, preferences, make_pages):
        super().__init__(preferences, plain_pages.pages)

    def show_page(self, name):
        super().show_page(name)
        print(name, flush=True)
        if name == "export":  # everything is ready
            QTimer.singleShot(0, lambda: self.launcher.request("train"))
        elif name == "model":
            print(self.state.draft.path, flush=True)
            QTimer.singleShot(0, lambda: self.state.set("lora", "rank", 24))
            QTimer.singleShot(50, lambda: print("changed", flush=True))

wiring.Window = PrintingWindow
"""
RUN = "sys.exit(app.main(sys.argv[1:]))"
#: Simulate a double-click on a file in macOS, which Qt delivers as this event.
RUN_AND_ASK = """
from PySide6.QtCore import QCoreApplication, QUrl
from PySide6.QtGui import QFileOpenEvent

def ask():
    application = QCoreApplication.instance()
    application.sendEvent(application, QFileOpenEvent(QUrl.fromLocalFile(sys.argv.pop())))

class Asked(PrintingWindow):
    def show(self):
        super().show()
        QTimer.singleShot(0, ask)

wiring.Window = Asked
sys.exit(app.main([]))
"""


@contextmanager
def _window(project: Path, run: str = RUN) -> Iterator[subprocess.Popen[str]]:
    """Run a window in its own process, which is killed at the end of the block."""
    process = subprocess.Popen(
        [sys.executable, "-c", START + run, str(project)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"QT_QPA_PLATFORM": "offscreen"},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def _read_until(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == word:
            return
    pytest.fail(f"the window ended before it said {word}")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no polite kill")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_changes_and_ends_every_process(
    scenario: Callable[..., None], project_folder: Path, number: signal.Signals
) -> None:
    (project_folder / "rows.jsonl").unlink()
    (project_folder / "model" / "config.json").unlink()
    with _window(project_folder) as process:
        _read_until(process, "changed")
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        assert process.wait(WAIT / 1000) == 0
    assert load(project_folder).get("lora", "rank") == 24
    _, alive = psutil.wait_procs(children, timeout=WAIT / 1000)
    assert not alive


@pytest.mark.slow
def test_file_open_event_opens_the_project(
    scenario: Callable[..., None], project_folder: Path
) -> None:
    (project_folder / "rows.jsonl").unlink()
    (project_folder / "model" / "config.json").unlink()
    (file,) = project_folder.glob(f"*{SUFFIX}")
    with _window(file, RUN_AND_ASK) as process:
        _read_until(process, str(file))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no polite kill")
def test_signal_before_the_event_loop_quits_the_app(qapp: QApplication) -> None:
    end_listening = app.quit_on_signals(qapp)
    too_late = QTimer(singleShot=True, interval=WAIT)
    too_late.timeout.connect(lambda: qapp.exit(3))
    too_late.start()
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        assert qapp.exec() == 0
    finally:
        too_late.stop()
        end_listening()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no polite kill")
def test_training_survives_a_killed_window(
    scenario: Callable[..., None], project_folder: Path, tmp_path: Path
) -> None:
    go_on = tmp_path / "go on"
    halves = [{"steps": 5, "seconds": 0.01}, {"steps": 5, "seconds": 0.01, "after": 5}]
    scenario(train=[halves[0], {"await": str(go_on)}, halves[1]])
    with _window(project_folder) as process:
        _read_until(process, "training")
        until = time.monotonic() + WAIT / 1000
        while not (runs := folder.list_runs(project_folder / "runs")) or not _steps(runs[0]):
            assert time.monotonic() < until
            time.sleep(0.05)
        process.kill()
        process.wait()
    run = runs[0]
    assert run.is_running()
    go_on.touch()
    until = time.monotonic() + WAIT / 1000
    while run.is_running() and time.monotonic() < until:
        time.sleep(0.05)
    assert run.read_state() == "trained"
    assert _steps(run) == 10


def _steps(run: folder.RunFolder) -> int:
    return sum(event.kind == "step_done" for event in run.iter_events())
