"""Desktop integration of a job: sleep inhibition, task bar progress and notifications."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot
from typer.testing import CliRunner

from lora_studio.cli.app import app
from lora_studio.client import sleep_inhibitor
from lora_studio.client.sleep_inhibitor import ProcessInhibitor, ThreadStateInhibitor
from lora_studio.core.problems import STEPS, Problem
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs import folder
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.locks import FileLock
from lora_studio.gui.desktop import integration
from lora_studio.gui.desktop.integration import (
    LONG,
    VISIBLE_AFTER,
    DesktopIntegration,
    DesktopNotifications,
)
from lora_studio.gui.jobs.control import JobControl, JobProgress
from tests.gui.conftest import WAIT


class Desktop:
    """Record calls as sleep inhibitor, task bar and notifications in one."""

    def __init__(self) -> None:
        self.held: list[int] = []
        self.released = 0
        self.bar: list[float | None] = []
        self.notifications: list[tuple[str, str]] = []

    def hold(self, worker: int, why: str) -> None:
        self.held.append(worker)

    def release(self) -> None:
        self.released += 1

    def detach(self) -> None:
        self.held.append(-1)

    def show(self, share: float | None) -> None:
        if not self.bar or self.bar[-1] != share:
            self.bar.append(share)

    def notify(self, title: str, text: str) -> None:
        self.notifications.append((title, text))


class Scene:
    """Jobs on a run whose lock this process holds, with a clock that the test sets."""

    def __init__(self, run: RunFolder) -> None:
        self.jobs, self.desktop, self.now = JobControl(), Desktop(), 0.0
        self.run = run
        self.integration = DesktopIntegration(
            self.jobs, self.desktop, self.desktop, self.desktop, clock=lambda: self.now
        )

    def go(self, kind: str = "train", share: float | None = None) -> None:
        self.jobs.run, self.jobs.kind, self.jobs.progress = self.run, kind, JobProgress("", share)
        self.jobs.changed.emit()

    def end(self, ending: events.Ending) -> None:
        kind, self.jobs.kind = self.jobs.kind, ""
        self.jobs.changed.emit()
        self.jobs.ended.emit(kind, ending)


@pytest.fixture
def scene(tmp_path: Path, qapp: QApplication) -> Iterator[Scene]:
    run = folder.create_run(tmp_path / "runs", Project(name="bot"), tmp_path)
    lock = FileLock(run.lock_file)
    assert lock.acquire({"pid": 4711})
    yield Scene(run)
    lock.release()


def test_system_stays_awake_while_a_job_runs(scene: Scene) -> None:
    for second in range(4):
        scene.now = float(second)
        scene.go()
    assert scene.desktop.held == [4711]
    scene.end(events.Done(id="t"))
    assert scene.desktop.released == 1
    scene.jobs.changed.emit()
    assert scene.desktop.released == 1


def test_system_stays_awake_for_a_replacement_worker(scene: Scene) -> None:
    scene.go()
    scene.run.lock_file.write_text(json.dumps({"pid": 4712}))
    scene.now = 60.0
    scene.go()
    assert scene.desktop.held == [4711, 4712]


def test_system_stays_awake_while_a_worker_outlives_the_window(scene: Scene) -> None:
    scene.go()
    scene.integration.stop_background_work()
    scene.jobs.kind = ""
    scene.jobs.changed.emit()
    assert scene.desktop.held == [4711, -1]
    assert scene.desktop.released == 0


def test_system_stays_awake_for_a_background_job(scene: Scene) -> None:
    scene.go()
    scene.jobs.detach()  # another project is opened
    assert scene.desktop.held == [4711, -1]
    assert scene.desktop.released == 0
    scene.now = 2 * LONG
    scene.go()
    scene.end(events.Done(id="t"))
    assert scene.desktop.held == [4711, -1, 4711]
    assert scene.desktop.released == 1
    assert scene.desktop.notifications == [], "the previous job's time doesn't count"


def test_task_bar_shows_progress_of_a_long_job(scene: Scene) -> None:
    scene.go(share=0.1)
    scene.now = VISIBLE_AFTER
    scene.go(share=0.2)
    scene.end(events.Done(id="t"))
    assert scene.desktop.bar == [None, 0.2, None]


@pytest.mark.parametrize(
    ("ending", "title", "text"),
    [
        (events.Done(id="t"), "Training finished", "After 1 min"),
        (events.Done(id="t", paused=True), "Training paused", "After 1 min"),
        (
            events.Failed(id="t", problem=Problem(code="a.b", what="The disk is full.", remedy="")),
            "Training failed",
            "The disk is full.",
        ),
    ],
    ids=["finished", "paused", "failed"],
)
def test_end_of_a_long_job_sends_a_notification(
    scene: Scene, ending: events.Ending, title: str, text: str
) -> None:
    scene.go()
    scene.now = LONG
    scene.end(ending)
    ((heading, more),) = scene.desktop.notifications
    assert heading == title
    assert more.startswith(text)


def test_end_of_a_short_job_sends_no_notification(scene: Scene) -> None:
    scene.go()
    scene.now = LONG - 1
    scene.end(events.Done(id="t"))
    assert scene.desktop.notifications == []


def test_helper_process_runs_until_the_inhibitor_is_released() -> None:
    held = ProcessInhibitor(lambda worker, why: [sys.executable, "-c", "input()", str(worker), why])
    before = {child.pid for child in psutil.Process().children()}
    held.hold(1, "Training")
    (child,) = [item for item in psutil.Process().children() if item.pid not in before]
    held.release()
    assert not child.is_running()
    held.release()


@pytest.mark.skipif(shutil.which("tail") is None, reason="there is no GNU tail here")
def test_systemd_helper_ends_when_its_worker_ends() -> None:
    worker = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    command = sleep_inhibitor.build_systemd_inhibit_command(worker.pid, "Training")
    assert command[0] == "systemd-inhibit"
    watching = subprocess.Popen(command[command.index("tail") :])
    time.sleep(0.1)
    assert watching.poll() is None
    worker.communicate()
    assert watching.wait(WAIT / 1000) == 0


def test_windows_sleep_is_inhibited_by_thread_state() -> None:
    states: list[int] = []
    held = ThreadStateInhibitor(states.append)
    held.hold(1, "Training")
    held.release()
    assert states == [0x80000001, 0x80000000]


_LISTENER = """
import os, sys
from lora_studio.gui.desktop.integration import LauncherEntry
bar = LauncherEntry()
bar.show(0.25)
bar.show(0.251)
bar.show(None)
import time; time.sleep(1)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(shutil.which, ("dbus-run-session", "dbus-monitor", "dbus-send"))),
    reason="there is no session bus to start here",
)
def test_dock_receives_progress_over_the_session_bus(tmp_path: Path) -> None:
    log = tmp_path / "heard.txt"
    probe = "dbus-send --session --type=signal / com.canonical.Unity.LauncherEntry.Probe"
    script = (
        f"dbus-monitor --session \"interface='com.canonical.Unity.LauncherEntry'\" > {log} & "
        # A probe shows when the monitor is listening.
        f"until grep -q member=Probe {log}; do {probe}; sleep 0.1; done; "
        f"{sys.executable} -c '{_LISTENER}'; "
        f"for n in $(seq 100); do [ $(grep -c member=Update {log}) -lt 2 ] || break; sleep 0.1; done; "
        "kill %1"
    )
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen"}
    subprocess.run(
        ["dbus-run-session", "--", "bash", "-c", script],
        env=environment,
        check=False,
        timeout=600,
        stderr=subprocess.DEVNULL,
    )
    signals = log.read_text()
    assert signals.count("member=Update") == 2
    assert "variant             double 0.25" in signals
    assert "application://lora-studio.desktop" in signals


@pytest.mark.skipif(sys.platform == "win32", reason="notify-send is a program of Linux desktops")
def test_notification_uses_notify_send_without_a_tray(
    qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "arguments.txt"
    program = tmp_path / "notify-send"
    program.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {output}.part && mv {output}.part {output}\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    window = QWidget()
    qtbot.addWidget(window)
    DesktopNotifications(window).notify("Nobody", "is here")
    DesktopNotifications(window, seen=True).notify("Training finished", "--<b>bold")
    qtbot.waitUntil(output.is_file)
    assert output.read_text().splitlines()[-3:] == ["--", "Training finished", "--‹b>bold"]


def test_without_a_desktop_sleep_and_task_bar_are_left_alone() -> None:
    assert isinstance(sleep_inhibitor.create_inhibitor(), sleep_inhibitor.NoInhibitor)
    assert isinstance(integration.make_task_bar(), integration.NoTaskBar)


RUN = "import sys; sys.argv = ['lora-studio', '--check-window']; from lora_studio.__main__ import main; main()"
FAILING_PAGE = """
from lora_studio.gui.pages.export import page
def fail(*_):
    raise ImportError("No module named 'somewhere'")
page.ExportPage.__init__ = fail
"""
FAILING_LATER = """
from lora_studio.gui.pages.runs import page
def fail(*_):
    raise KeyError("lost")
page.RunsPage.paintEvent = fail
"""
QT_WARNING = """
from PySide6.QtCore import qWarning
from lora_studio.gui.pages.settings import page
page.SettingsPage.on_shown = lambda *_: qWarning("Could not load the icon")
"""


def check(tmp_path: Path, defect: str = "") -> subprocess.CompletedProcess[str]:
    """Run the check in a program with a defect, without an engine."""
    return subprocess.run(
        [sys.executable, "-c", defect + RUN],
        env=os.environ
        | {"QT_QPA_PLATFORM": "offscreen", "LANG": "C.UTF-8", "HOME": str(tmp_path), "LORA_STUDIO_ENGINE": "missing"},
        capture_output=True,
        text=True,
        timeout=300,
    )  # fmt: skip


@pytest.mark.slow
def test_every_page_is_shown_and_the_user_folders_stay_untouched(tmp_path: Path) -> None:
    ended = check(tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    shown = [line.partition(":")[0] for line in ended.stdout.splitlines()]
    assert {*STEPS, "home", "runs", "evaluation", "playground", "settings", "about"} <= set(shown)
    assert not [
        file for file in tmp_path.rglob("*") if file.is_file() and "lora" in str(file).lower()
    ]


@pytest.mark.parametrize(
    ("defect", "message"),
    [
        pytest.param(FAILING_PAGE, "No module named 'somewhere'", id="page can't be created"),
        pytest.param(FAILING_LATER, "KeyError: 'lost'", id="exception in an event handler"),
        pytest.param(QT_WARNING, "Qt: Could not load the icon", id="warning of Qt"),
    ],
)
@pytest.mark.slow
def test_defects_are_reported(tmp_path: Path, defect: str, message: str) -> None:
    ended = check(tmp_path, defect)
    assert ended.returncode == 1
    assert message in ended.stderr


@pytest.mark.slow
def test_other_arguments_are_refused() -> None:
    assert CliRunner().invoke(app, ["--check-window", "doctor"]).exit_code == 2
