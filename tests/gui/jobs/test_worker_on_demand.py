"""The on-demand worker: resting never blocks, and workers start one after the other."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from pytestqt.qtbot import QtBot

from lora_studio.client.link import Command, Link
from lora_studio.core.protocol import commands, events
from lora_studio.gui.jobs.worker_on_demand import OnDemandWorker
from lora_studio.gui.jobs.worker_thread import WorkerThread
from tests.gui.conftest import WAIT


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
    qtbot.waitUntil(lambda: log == ["1 begins", f"1 is asked {first.id}"], timeout=WAIT)
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
    qtbot.waitUntil(lambda: len(log) == 5, timeout=WAIT)
    assert log[2:] == ["1 has gone", "2 begins", f"2 is asked {last.id}"]
    workers[1].may_go.set()
    link.leave()
    link.deleteLater()
