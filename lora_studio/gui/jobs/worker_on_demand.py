"""A worker that starts with its first question and releases its memory when idle."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QObject, QTimer, Signal

from lora_studio.core.protocol import commands, events
from lora_studio.gui.jobs.worker_thread import WorkerThread

#: Milliseconds without a question after which a worker is ended to release its memory.
IDLE = 15 * 60 * 1000


class OnDemandWorker(QObject):
    """One worker process at a time, which may keep models in memory between questions.

    Signals:
        event_received(event): an event about a command that was sent.
        busy_changed(busy): whether commands are in progress.
        held_changed(held): whether there is a worker, which may hold models in memory.
    """

    event_received = Signal(object)
    busy_changed = Signal(bool)
    held_changed = Signal(bool)

    def __init__(
        self,
        parent: QObject | None = None,
        start: Callable[[], WorkerThread] = WorkerThread.create,
    ) -> None:
        """Start no worker yet; `start` creates its thread."""
        super().__init__(parent)
        self._make = start
        self._thread: WorkerThread | None = None
        self._leaving: WorkerThread | None = None  # ended, but still holds memory
        self._open: dict[str, str] = {}  # pending commands by ID, with their kinds
        self._over = False
        self._idle = QTimer(self, singleShot=True, interval=IDLE)
        self._idle.timeout.connect(self.release)

    @property
    def busy(self) -> bool:
        """Whether a command is running."""
        return bool(self._open)

    @property
    def held(self) -> bool:
        """Whether there is a worker, which may hold models in memory."""
        return self._thread is not None

    def send(self, command: commands.Question) -> None:
        """Send a question; questions are answered one after another."""
        if self._over:
            return
        if self._thread is None:
            self._thread = self._make()
            self._thread.event_received.connect(self._on_event)
            self._thread.ended.connect(self._on_worker_exited)
            if self._leaving is None:
                self._thread.start()
            self.held_changed.emit(True)
        self._idle.stop()
        was_busy, self._open[command.id] = self.busy, command.kind
        self._thread.send(command)
        if not was_busy:
            self.busy_changed.emit(True)

    def cancel(self, only: str = "") -> None:
        """Cancel all commands, or one; the partial answer is emitted before the
        ending."""
        if self._thread is not None:
            for command in list(self._open):
                if only in ("", command):
                    self._thread.cancel(command)

    def release(self) -> None:
        """End the worker to release its memory; the next question starts another."""
        self._idle.stop()
        thread, self._thread = self._thread, None
        if thread is None:
            return
        thread.event_received.disconnect(self._on_event)
        thread.ended.disconnect(self._on_worker_exited)
        if self._leaving is None:
            thread.ended.connect(self._on_memory_freed)
            self._leaving = thread
            thread.kill()
        else:  # it waits for the previous worker to exit and holds no memory yet
            thread.deleteLater()
        self._end_all()
        self.held_changed.emit(False)

    def stop_background_work(self) -> None:
        """End the worker, and start no other."""
        self._over = True
        self.release()

    def _on_event(self, event: events.Event) -> None:
        if event.id not in self._open:
            return
        self.event_received.emit(event)
        if isinstance(event, events.Ending):
            self._open.pop(event.id, None)
            if not self._open:
                self._idle.start()
                self.busy_changed.emit(False)

    def _on_memory_freed(self) -> None:
        """Start the waiting worker, since memory is free now."""
        if self._leaving is not None:
            self._leaving.deleteLater()
            self._leaving = None
        if self._thread is not None:
            self._thread.start()

    def _on_worker_exited(self) -> None:
        """Forget a worker that ended after answering every command."""
        if self._thread is not None:
            self._thread.deleteLater()
            self._thread = None
            self._idle.stop()
            self._end_all()
            self.held_changed.emit(False)

    def _end_all(self) -> None:
        if self._open:
            self._open = {}
            self.busy_changed.emit(False)
