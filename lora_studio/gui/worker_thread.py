"""A thread that owns one worker: commands in, events out as signals. The window never waits."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from PySide6.QtCore import QObject, Qt, QThread, Signal

from lora_studio import client
from lora_studio.core import commands, events
from lora_studio.core.problems import Problem, ProblemError
from lora_studio.core.run_folder import RunFolder
from lora_studio.restarting import RestartingWorker

#: Longest time that events keep the window from its other work, in seconds.
_SLICE = 0.008


class WorkerThread(QThread):
    """Carries the events of one worker into the window's thread, in order and in small slices.

    The slices keep the window alive when a run of many steps is read again from its beginning.
    Events that have not been delivered when the object is deleted are lost to the window; the
    run's own file has them.

    Signals:
        event_received(event): the next event. Every command that was sent gets its ending.
        ended: no more events will come and the thread has ended; the worker has too, or was
            left alone.
    """

    event_received = Signal(object)
    ended = Signal()
    _arrived = Signal()

    def __init__(self, make: Callable[[], client.Link], parent: QObject | None = None) -> None:
        """`make` starts or finds the worker; it is called in the thread and may be slow."""
        super().__init__(parent)
        self._make = make
        self._link: client.Link | None = None
        self._lock = threading.Lock()
        self._unsent: list[client.Command] = []
        self._leave: Callable[[client.Link], None] | None = None
        self._events: deque[events.Event | None] = deque()
        self._arrived.connect(self._deliver, Qt.ConnectionType.QueuedConnection)

    @classmethod
    def starting(cls, run: RunFolder | None = None, parent: QObject | None = None) -> WorkerThread:
        """A worker process of our own, for a run or for questions."""
        if run is None:
            return cls(client.Worker.start, parent)
        return cls(lambda: RestartingWorker.start(run), parent)

    @classmethod
    def watching(cls, run: RunFolder, parent: QObject | None = None) -> WorkerThread:
        """A run as its folder tells it, from its beginning; its worker may be anybody's."""
        return cls(lambda: client.Watched(run), parent)

    # --- from the window's thread -------------------------------------------------------------

    def send(self, command: client.Command) -> None:
        """Passes a command on, at once or as soon as the worker is there."""
        self._with_link(lambda link: link.send(command), command)

    def cancel(self, target: str) -> None:
        """Asks for the end of a command; enforced after ten seconds."""
        self._with_link(lambda link: link.cancel(target), commands.Cancel(target=target))

    def close(self) -> None:
        """No more commands: the worker ends when its current one has."""
        self._let_go(lambda link: link.close())

    def detach(self) -> None:
        """Leaves the worker alone at its work; the thread ends."""
        self._let_go(lambda link: link.detach())

    def kill(self) -> None:
        """Ends the worker, whatever it is doing; the thread ends."""
        self._let_go(lambda link: link.kill())

    # --- in the thread ------------------------------------------------------------------------

    def run(self) -> None:
        """Delivers events until there are no more."""
        try:
            link = self._make()
            self._take(link)
            for event in link.events():
                self._put(event)
        except ProblemError as error:
            self._not_started(error.problems[0])
        finally:
            self._put(None)

    def _take(self, link: client.Link) -> None:
        with self._lock:
            self._link = link
            for command in self._unsent:
                link.send(command)
            if self._leave is not None:
                self._leave(link)

    def _not_started(self, problem: Problem) -> None:
        with self._lock:
            unsent, self._unsent = self._unsent, []
        for command in unsent:
            if not isinstance(command, commands.Control):
                self._put(events.Failed(id=command.id, problem=problem))

    def _put(self, event: events.Event | None) -> None:
        self._events.append(event)
        if len(self._events) == 1:
            self._arrived.emit()

    # --- inside -------------------------------------------------------------------------------

    def _with_link(self, do: Callable[[client.Link], None], command: client.Command) -> None:
        with self._lock:
            if self._link is None:
                self._unsent.append(command)
                return
            try:
                do(self._link)
            except ProblemError as error:
                self._put(events.Warned(problem=error.problems[0]))

    def _let_go(self, leave: Callable[[client.Link], None]) -> None:
        with self._lock:
            if self._link is None:
                self._leave = leave
            else:
                leave(self._link)

    def _deliver(self) -> None:
        """Hands out events for a moment, then lets the window do something else."""
        until = time.perf_counter() + _SLICE
        while self._events:
            event = self._events.popleft()
            if event is None:
                self.wait()  # a moment: it was the last thing the thread had to say
                self.ended.emit()
                return
            self.event_received.emit(event)
            if time.perf_counter() > until and self._events:
                self._arrived.emit()
                return
