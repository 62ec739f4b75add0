"""A thread that owns one worker, sends it commands, and emits its events as signals."""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Literal

from PySide6.QtCore import Qt, Signal

from lora_studio.client import worker
from lora_studio.client.oom_supervisor import RestartingWorker, start_guard
from lora_studio.client.watched_run import WatchedRun
from lora_studio.client.worker import Command, Link
from lora_studio.core.problems import Problem, ProblemError, error
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.gui.threads import DetachedThread

#: Longest time in seconds that the window handles events without a pause.
_SLICE = 0.008

#: Maximum number of events that wait for the window while a long run is read: reading further ahead
#: would only use memory and slow down the window.
_AHEAD = 1000


class WorkerThread(DetachedThread):
    """Delivers the events of one worker to the window's thread, in order and in small slices.

    The slices keep the window responsive when a long run is read from its beginning.
    Events that have not been delivered when the object is deleted are lost to the window; the
    run's own file has them.

    Signals:
        event_received(event): the next event; every command that was sent gets an ending.
        history_read: the events that a run had before it was watched have been received.
        ended: no more events follow and the thread has ended; so has the worker, unless it was
            detached.
    """

    event_received = Signal(object)
    history_read = Signal()
    ended = Signal()
    _arrived = Signal()

    def __init__(self, make: Callable[[], Link]) -> None:
        """Create the worker with `make`, which is called in the thread and may be slow."""
        super().__init__()
        self._make = make
        self._link: Link | None = None
        self._lock = threading.Lock()
        self._unsent: list[Command] = []
        self._leave: Callable[[Link], None] | None = None
        self._hurry = (
            threading.Event()
        )  # whether the thread should end even if events are still undelivered
        self._detached = False
        self._events: deque[events.Event | Literal["history read"] | None] = deque()
        self._unended: dict[str, None] = {}  # commands in the order of sending
        self._arrived.connect(self._deliver, Qt.ConnectionType.QueuedConnection)

    @classmethod
    def create(cls, run: RunFolder | None = None) -> WorkerThread:
        """Return a thread with a new worker process, for a run or for questions."""
        if run is None:
            return cls(worker.Worker.start)
        return cls(lambda: RestartingWorker.start(run))

    @classmethod
    def watch(cls, run: RunFolder) -> WorkerThread:
        """Return a thread that reads a run from its beginning and follows any worker that runs it."""

        history = run.events_file.stat().st_size if run.events_file.is_file() else 0

        def open_link() -> Link:
            start_guard(run)
            return WatchedRun(
                run, history=history, on_history_read=lambda: thread._put("history read")
            )

        thread = cls(open_link)
        return thread

    @property
    def undelivered(self) -> int:
        """Number of events that wait for the window."""
        return len(self._events)

    # --- for the window's thread --------------------------------------------------------------

    def send(self, command: Command) -> None:
        """Send a command as soon as the worker is ready."""
        self._call_link(lambda link: link.send(command), command)

    def cancel(self, target: str) -> None:
        """Cancel a command; the worker is killed after ten seconds."""
        self._call_link(lambda link: link.cancel(target), commands.Cancel(target=target))

    def close(self) -> None:
        """Send no more commands; the worker ends after its current one."""
        self._release_worker(lambda link: link.close())

    def detach(self) -> None:
        """Detach from the worker, which continues; the thread ends."""
        self._detached = True
        self._hurry.set()
        self._release_worker(lambda link: link.detach())

    def kill(self) -> None:
        """Kill the worker; the thread ends."""
        self._hurry.set()
        self._release_worker(lambda link: link.kill())

    def forget(self) -> None:
        """Detach and emit nothing more; return immediately."""
        super().forget()
        self.detach()

    # --- in the thread ------------------------------------------------------------------------

    def run(self) -> None:
        """Deliver events until there are no more."""
        try:
            link = self._make()
            self._set_link(link)
            for event in link.iter_events():
                self._put(event)
                while len(self._events) > _AHEAD and not self._hurry.wait(0.002):
                    pass
                if self._detached:
                    break
        except ProblemError as failure:
            self._fail_pending(failure.problems[0])
        except Exception as failure:
            traceback.print_exception(failure)
            self._release_worker(lambda link: link.close())
            self._fail_pending(_make_lost_problem(failure))
        finally:
            self._put(None)

    def _set_link(self, link: Link) -> None:
        with self._lock:
            self._link = link
            for command in self._unsent:
                link.send(command)
            if self._leave is not None:
                self._leave(link)

    def _fail_pending(self, problem: Problem) -> None:
        """End every command that won't be answered."""
        with self._lock:
            self._unsent = []
            unended = list(self._unended)
        for command_id in unended:
            self._put(events.Failed(id=command_id, problem=problem))

    def _put(self, event: events.Event | Literal["history read"] | None) -> None:
        if isinstance(event, events.Ending):
            self._unended.pop(event.id, None)
        self._events.append(event)
        if len(self._events) == 1:
            self._arrived.emit()

    # --- helpers ------------------------------------------------------------------------------

    def _call_link(self, do: Callable[[Link], None], command: Command) -> None:
        with self._lock:
            if not isinstance(command, commands.Control):
                self._unended[command.id] = None
            if self._link is None:
                self._unsent.append(command)
                return
            try:
                do(self._link)
            except ProblemError as failure:
                self._put(events.Warned(problem=failure.problems[0]))

    def _release_worker(self, leave: Callable[[Link], None]) -> None:
        with self._lock:
            if self._link is None:
                self._leave = leave
            else:
                leave(self._link)

    def _deliver(self) -> None:
        """Emit events for a moment, then return to the event loop."""
        until = time.perf_counter() + _SLICE
        while self._events:
            event = self._events.popleft()
            if event is None:
                self.wait()  # returns soon: the thread ends after this signal
                if not self.silent:
                    self.ended.emit()
                return
            if self.silent:
                continue
            if event == "history read":
                self.history_read.emit()
                continue
            self.event_received.emit(event)
            if time.perf_counter() > until and self._events:
                self._arrived.emit()
                return


def _make_lost_problem(failure: Exception) -> Problem:
    return error(
        "worker.lost",
        "The connection to the worker was lost: {reason}",
        "Everything saved before is intact. Start the step again.",
        reason=str(failure),
    )
