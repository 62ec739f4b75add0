"""Worker threads: the order of events, endings, and a responsive window."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from PySide6.QtCore import QObject, QTimer, QUrl, Slot
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QFileDialog
from pytestqt.qtbot import QtBot

from lora_studio.client import worker
from lora_studio.client.worker import Command, Link
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import folder
from lora_studio.core.runs.folder import RunFolder, create_run
from lora_studio.core.system import files
from lora_studio.core.system.locks import FileLock
from lora_studio.gui.jobs.control import JobControl
from lora_studio.gui.jobs.worker_on_demand import OnDemandWorker
from lora_studio.gui.jobs.worker_thread import WorkerThread
from lora_studio.gui.pages.training.page import TrainingPage
from lora_studio.gui.problems.suggested_actions import Toast
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.window.main_window import CloseDialog, Window
from tests.gui.conftest import WAIT

Scenario = Callable[..., None]


class Follower:
    """A worker thread and the events that it emitted."""

    def __init__(self, qtbot: QtBot, thread: WorkerThread) -> None:
        self.qtbot, self.thread = qtbot, thread
        self.events: list[events.Event] = []
        self.over = False
        thread.event_received.connect(self.events.append)
        thread.ended.connect(self._end)
        thread.start()

    def _end(self) -> None:
        self.over = True

    def events_of(self, kind: type[events.Event]) -> list[events.Event]:
        return [event for event in self.events if isinstance(event, kind)]

    def wait_for(self, kind: type[events.Event]) -> events.Event:
        self.qtbot.waitUntil(lambda: bool(self.events_of(kind)))
        return self.events_of(kind)[0]

    def wait_for_end(self) -> None:
        self.qtbot.waitUntil(lambda: self.over)
        assert self.thread.wait(WAIT)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return folder.create_run(tmp_path / "runs", Project(name="x"), tmp_path)


@pytest.fixture
def follow(qtbot: QtBot, scenario: Scenario) -> Iterator[Callable[[WorkerThread], Follower]]:
    followers: list[Follower] = []

    def start(thread: WorkerThread) -> Follower:
        followers.append(Follower(qtbot, thread))
        return followers[-1]

    yield start
    for follower in followers:
        follower.thread.kill()
        assert follower.thread.wait(WAIT)


Follow = Callable[[WorkerThread], Follower]


@pytest.mark.slow
def test_events_arrive_in_order_and_end_with_done(follow: Follow, scenario: Scenario) -> None:
    scenario(inspect_devices=[{"emit": {"kind": "log", "text": str(n)}} for n in range(300)])
    follower = follow(WorkerThread.create())
    command = commands.InspectDevices()
    follower.thread.send(command)
    follower.wait_for(events.Done)
    logs = [str(event.text) for event in follower.events if isinstance(event, events.LogLine)]
    assert logs == [str(n) for n in range(300)]
    assert {event.id for event in follower.events[1:]} == {command.id}
    follower.thread.close()
    follower.wait_for_end()


@pytest.mark.slow
def test_killed_worker_fails_its_command(
    follow: Follow, scenario: Scenario, run: RunFolder
) -> None:
    scenario(train=[{"steps": 10_000, "seconds": 0.05}])
    follower = follow(WorkerThread.create(run))
    follower.thread.send(commands.Train(run=str(run.path)))
    hello = follower.wait_for(events.Hello)
    follower.wait_for(events.StepDone)
    assert isinstance(hello, events.Hello)
    os.kill(hello.pid, signal.SIGKILL)
    failed = follower.wait_for(events.Failed)
    assert isinstance(failed, events.Failed)
    assert failed.problem.code == "worker.crashed"
    assert "SIGKILL" in str(failed.problem.what)
    follower.wait_for_end()


def test_engine_that_cannot_start_fails_every_command(
    follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_STUDIO_ENGINE", "/nowhere/python")
    thread = WorkerThread.create()
    first, second = commands.InspectDevices(), commands.InspectOllama()
    thread.send(first)
    thread.send(second)
    follower = follow(thread)
    follower.wait_for_end()
    failed = [event for event in follower.events if isinstance(event, events.Failed)]
    assert [event.id for event in failed] == [first.id, second.id]
    assert failed[0].problem.code == "engine.not_started"


def test_detached_worker_finishes_its_job(
    follow: Follow, scenario: Scenario, run: RunFolder, tmp_path: Path
) -> None:
    go_on = tmp_path / "go on"
    halves = [{"steps": 20, "seconds": 0.01}, {"steps": 20, "seconds": 0.01, "after": 20}]
    scenario(train=[halves[0], {"await": str(go_on)}, halves[1]])
    follower = follow(WorkerThread.create(run))
    follower.thread.send(commands.Train(run=str(run.path)))
    follower.wait_for(events.StepDone)
    follower.thread.detach()
    assert follower.thread.wait(WAIT)
    assert run.is_running()
    go_on.touch()
    until = time.monotonic() + WAIT / 1000
    while run.is_running() and time.monotonic() < until:
        time.sleep(0.05)
    assert run.read_state() == "trained"
    steps = [event.step for event in run.iter_events() if isinstance(event, events.StepDone)]
    assert steps == list(range(1, 41))
    _wait_until_gone(follower)


@pytest.mark.slow
def test_run_of_another_process_is_replayed_and_can_be_stopped(
    follow: Follow, scenario: Scenario, run: RunFolder
) -> None:
    scenario(train=[{"steps": 10_000, "seconds": 0.02}])
    owner = follow(WorkerThread.create(run))
    command = commands.Train(run=str(run.path))
    owner.thread.send(command)
    owner.wait_for(events.StepDone)
    owner.thread.detach()
    assert owner.thread.wait(WAIT)
    watcher = follow(WorkerThread.watch(run))
    watcher.wait_for(events.StepDone)
    watcher.thread.send(commands.Stop(target=command.id))
    done = watcher.wait_for(events.Done)
    assert isinstance(done, events.Done)
    assert done.stopped
    assert next(event.step for event in watcher.events if isinstance(event, events.StepDone)) == 1
    watcher.wait_for_end()
    _wait_until_gone(owner)


@pytest.mark.slow
def test_replaying_a_long_history_keeps_the_window_responsive(
    qtbot: QtBot, follow: Follow, run: RunFolder
) -> None:
    line = events.to_line(events.LogLine(id="a", text="x" * 100)) + "\n"
    run.events_file.write_text(line * 20_000)
    gaps: list[float] = []
    ticks = [time.thread_time()]  # CPU time of this thread, independent of the machine's load

    def tick() -> None:
        gaps.append(time.thread_time() - ticks[-1])
        ticks.append(time.thread_time())

    timer = QTimer(interval=0)
    timer.timeout.connect(tick)
    timer.start()
    follower = follow(WorkerThread.watch(run))
    follower.wait_for_end()
    timer.stop()
    assert len(follower.events) == 20_000
    assert len(gaps) > 20, "the event loop ran throughout the replay"
    assert sorted(gaps)[int(len(gaps) * 0.99)] < 0.1
    assert max(gaps) < 1.0


def test_unread_events_are_limited(qtbot: QtBot, run: RunFolder) -> None:
    line = events.to_line(events.LogLine(text="x")) + "\n"
    run.events_file.write_text(line * 20_000)
    thread = WorkerThread.watch(run)
    thread.start()
    time.sleep(0.5)  # this blocks the window's thread, so no event is delivered
    assert thread.undelivered <= 1002
    thread.detach()
    assert thread.wait(WAIT), "a thread without listeners ends"
    with qtbot.waitSignal(thread.ended):
        pass


def test_killing_a_starting_worker_leaves_no_process(follow: Follow) -> None:
    before = set(psutil.Process().children(recursive=True))
    follower = follow(WorkerThread.create())
    follower.thread.kill()
    follower.wait_for_end()
    _, alive = psutil.wait_procs(
        set(psutil.Process().children(recursive=True)) - before, timeout=WAIT / 1000
    )
    assert not alive


class BrokenLink(worker.Worker):
    """A worker whose events become unreadable, as after a disk failure."""

    def iter_events(self) -> Iterator[events.Event]:
        yield from itertools.islice(super().iter_events(), 1)
        self.kill()
        raise ConnectionResetError("the disk has gone")


def test_broken_connection_fails_every_command(
    follow: Follow, scenario: Scenario, capsys: pytest.CaptureFixture[str]
) -> None:
    thread = WorkerThread(BrokenLink.start)
    follower = follow(thread)
    command = commands.InspectDevices()
    thread.send(command)
    failed = follower.wait_for(events.Failed)
    assert isinstance(failed, events.Failed)
    assert (failed.id, failed.problem.code) == (command.id, "worker.lost")
    assert "the disk has gone" in str(failed.problem.what)
    follower.wait_for_end()
    assert "ConnectionResetError" in capsys.readouterr().err


#: Delete a window with running workers, in the worst order.
FORGOTTEN = """
import gc, sys
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication
from lora_studio.core.protocol import commands
from lora_studio.gui import theme
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.window.wiring import make_window
from tests.helpers.window import plain_pages
app = QApplication([])
theme.apply(app, "light")
window = make_window(Preferences(), plain_pages.pages)
for question in (commands.InspectDevices(), commands.EstimateSizes.model_construct(id="a")):
    window.query_workers.ask(question)
window.query_workers.prepare_worker("read_rows")
def forget():
    global window
    {how}
    gc.collect()
    QTimer.singleShot(200, app.quit)
QTimer.singleShot({after}, forget)
status = app.exec()
print("ended", status)
"""


@pytest.mark.slow
@pytest.mark.parametrize("after", [0, 1500])
@pytest.mark.parametrize("how", ["del window", "window.deleteLater(); window = None"])
def test_deleting_a_window_with_running_workers_does_not_crash(
    scenario: Scenario, how: str, after: int
) -> None:
    scenario(inspect_devices=[{"sleep": 30}])
    process = subprocess.run(
        [sys.executable, "-c", FORGOTTEN.format(how=how, after=after)],
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip() == "ended 0"
    assert "QThread" not in process.stderr


def _wait_until_gone(follower: Follower) -> None:
    hello = follower.wait_for(events.Hello)
    assert isinstance(hello, events.Hello)
    until = time.monotonic() + WAIT / 1000
    while psutil.pid_exists(hello.pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not psutil.pid_exists(hello.pid)


class SlowToEndWorker:
    """A worker that ends only when the test allows it, like one that holds GPU memory."""

    def __init__(self, number: int, log: list[str]) -> None:
        self._number, self._log = number, log
        self._killed = threading.Event()
        self.may_go = threading.Event()
        log.append(f"{number} begins")

    def iter_events(self) -> Iterator[events.Event]:
        yield events.Hello(protocol=events.PROTOCOL, app_version="0", pid=1)
        self._killed.wait(WAIT / 1000)
        self.may_go.wait(WAIT / 1000)
        self._log.append(f"{self._number} has gone")

    def send(self, command: Command) -> None:
        self._log.append(f"{self._number} is asked {command.id}")

    def cancel(self, target: str) -> None:
        self.kill()

    def close(self) -> None:
        self.kill()

    def kill(self) -> None:
        self._killed.set()

    def detach(self) -> None:
        self.kill()


def test_next_worker_starts_after_the_previous_one_has_ended(
    qtbot: QtBot,
) -> None:
    log: list[str] = []
    workers: list[SlowToEndWorker] = []

    def make() -> Link:
        workers.append(SlowToEndWorker(len(workers) + 1, log))
        return workers[-1]

    link = OnDemandWorker(start=lambda: WorkerThread(make))
    first, dropped, last = (commands.InspectOllama(host="http://localhost:1") for _ in range(3))
    link.send(first)
    qtbot.waitUntil(lambda: log == ["1 begins", f"1 is asked {first.id}"])
    link.release()  # returns although the worker is still running
    assert log[-1] == f"1 is asked {first.id}"
    assert not link.held
    assert not link.busy
    link.send(dropped)  # a second release drops its worker before it has started
    link.release()
    link.send(last)
    assert link.held
    assert len(workers) == 1
    workers[0].may_go.set()
    qtbot.waitUntil(lambda: len(log) == 5)
    assert log[2:] == ["1 has gone", "2 begins", f"2 is asked {last.id}"]
    workers[1].may_go.set()
    link.stop_background_work()
    link.deleteLater()


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


def test_running_jobs_of_other_programs_go_offline(tmp_path: Path, qapp: object) -> None:
    runs = tmp_path / "runs"
    detached, idle = (create_run(runs, Project(name="x"), tmp_path) for _ in range(2))
    lock = FileLock(detached.lock_file)
    assert lock.acquire({"pid": 1})
    try:
        JobControl().go_offline(runs)
    finally:
        lock.release()
    command = commands.parse(detached.mailbox_file.read_bytes().splitlines()[0])
    assert isinstance(command, commands.GoOffline)
    assert not idle.mailbox_file.exists()


class Opened(QObject):
    """Record the folders that would open in the system's file manager."""

    def __init__(self) -> None:
        super().__init__()
        self.folders: list[str] = []

    @Slot(QUrl)
    def record(self, url: QUrl) -> None:
        self.folders.append(url.toLocalFile())


@pytest.mark.slow
def test_cluster_folder_is_written_and_shown(
    qtbot: QtBot, window: Window, project_folder: Path, tmp_path: Path
) -> None:
    opened, posted = Opened(), list[Toast]()
    window.open_project(project_folder)
    window.messages.posted.connect(posted.append)
    QDesktopServices.setUrlHandler("file", opened, "record")
    try:
        out = tmp_path / "for the cluster"
        with qtbot.waitSignal(window.cluster.ended):
            window.cluster.write(out)
        with qtbot.waitSignal(window.cluster.ended):
            window.cluster.write(out)
    finally:
        QDesktopServices.unsetUrlHandler("file")
    assert opened.folders == [str(out)]
    assert RunFolder(out).load_project().model.source == str(out / "model")
    assert (out / "train.sh").is_file()
    assert [m.problem.code for m in posted if m.problem] == ["cluster.exists"]


@pytest.mark.slow
def test_cluster_export_asks_for_a_folder_or_reports_errors(
    qtbot: QtBot, window: Window, project_folder: Path
) -> None:
    window.open_project(project_folder)
    posted: list[Toast] = []
    window.messages.posted.connect(posted.append)
    window.actions_.commands["cluster"].trigger()
    dialog = window.findChild(QFileDialog)
    assert dialog is not None
    dialog.reject()
    window.state.set("model", "source", "")
    window.cluster.ask_for_folder()
    assert [m.problem.code for m in posted if m.problem] == ["model.none"]


def _slow_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy one byte at a time, so that a small file takes a while."""
    monkeypatch.setattr(files, "_PIECE", 1)
    monkeypatch.setattr(os, "link", _no_link)


def _no_link(*_: object) -> None:
    raise OSError("another disk")


@pytest.mark.slow
def test_closing_while_copying_asks_and_removes_the_folder(
    qtbot: QtBot,
    window: Window,
    project_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (project_folder / "model" / "model.safetensors").write_bytes(bytes(3_000_000))
    window.open_project(project_folder)
    _slow_disk(monkeypatch)
    window.cluster.write(tmp_path / "out")
    qtbot.waitUntil(lambda: window.header.task.isVisible())
    with qtbot.waitSignal(window.cluster.advanced):
        pass
    window.close()
    assert window.isVisible()
    dialog = window.findChild(CloseDialog)
    assert dialog is not None
    dialog.choices["cancel"].click()
    qtbot.waitUntil(lambda: not window.isVisible())
    assert [entry.name for entry in tmp_path.iterdir() if "out" in entry.name] == []


@pytest.mark.slow
def test_copying_is_canceled_from_the_header(
    qtbot: QtBot,
    window: Window,
    project_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (project_folder / "model" / "model.safetensors").write_bytes(bytes(3_000_000))
    window.open_project(project_folder)
    _slow_disk(monkeypatch)
    window.cluster.write(tmp_path / "out")
    assert window.header.task.isVisible()
    with qtbot.waitSignal(window.cluster.ended):
        window.header.task.stop.click()
    assert not window.header.task.isVisible()
    assert "The incomplete folder was removed" in window.toasts.text


@pytest.mark.slow
def test_training_page_offers_cluster_export(qtbot: QtBot, state: ProjectState) -> None:
    page = TrainingPage(state)
    qtbot.addWidget(page)
    page.show()
    with qtbot.waitSignal(page.run_requested) as signal:
        page.cluster.click()
    assert signal.args == ["cluster"]
