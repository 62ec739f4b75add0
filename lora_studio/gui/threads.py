"""Background threads of the window, which yield to it and can outlive their owner."""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeVar

from PySide6.QtCore import QDeadlineTimer, QObject, QThread, Signal
from shiboken6 import isValid

from lora_studio.core.problems import Problem, ProblemError, error
from lora_studio.core.system.files import describe_os_error

_T = TypeVar("_T")

#: Seconds of work after which a thread yields to the window, because Python runs one thread at a time.
_WORK_SECONDS = 0.003
#: Seconds to sleep when yielding; an idle window needs no more.
_REST_SECONDS = 0.001

#: Running threads. Qt aborts the program if the object of a running thread is deleted, so each
#: thread is referenced here until it has finished, even if its owner is deleted.
_RUNNING: set[DetachedThread] = set()

#: Maximum seconds to wait for all detached threads when the program ends.
_EXIT_TIMEOUT = 5.0


class ObsoleteResult(Exception):  # noqa: N818 - a control-flow signal, not an error
    """Raised inside background work whose result is no longer wanted."""


class CooperativeThread(QThread):
    """A thread whose work lets the window run."""

    def cooperative_iter(self, items: Iterable[_T]) -> Iterator[_T]:
        """Yield the items, with short pauses that keep the window responsive.

        Raises `ObsoleteResult` when the thread was asked to end.
        """
        started = time.perf_counter()
        for item in items:
            yield item
            if time.perf_counter() - started > _WORK_SECONDS:
                if self.isInterruptionRequested():
                    raise ObsoleteResult
                time.sleep(_REST_SECONDS)
                started = time.perf_counter()


class BackgroundReader(CooperativeThread):
    """Runs one function in a thread and reports its result.

    Signals:
        done(result): the return value of the function.
        failed(problem): the function raised a `ProblemError` or an `OSError`.
    """

    done = Signal(object)
    failed = Signal(object)

    def __init__(
        self, work: Callable[[BackgroundReader], object], parent: QObject | None = None
    ) -> None:
        """Create it for a function, which is called with this object and can use its `cooperative_iter`."""
        super().__init__(parent)
        self._work = work

    def run(self) -> None:
        """Run the function; emit nothing when the result is obsolete."""
        try:
            self.done.emit(self._work(self))
        except ProblemError as failure:
            self.failed.emit(failure.problems[0])
        except OSError as failure:
            self.failed.emit(_make_file_problem(failure))
        except ObsoleteResult:
            return

    def drop(self) -> None:
        """Ask the work to end and wait for it; no signal follows."""
        self.requestInterruption()
        self.wait()


class TaskRunner(QObject):
    """Runs several background tasks for one owner and ends them together."""

    def __init__(
        self, on_failure: Callable[[object], object], parent: QObject | None = None
    ) -> None:
        """Call `on_failure` with the problem of each task that fails."""
        super().__init__(parent)
        self._on_failure = on_failure
        self._threads: list[BackgroundReader] = []

    def start(
        self, work: Callable[[BackgroundReader], object], then: Callable[[object], object]
    ) -> None:
        """Run `work` in a thread, then call `then` with its result in the window's thread."""
        # The callback is part of the result, because a slot that isn't a method of a QObject may be
        # called in the worker thread.
        thread = BackgroundReader(lambda background: (then, work(background)), self)
        thread.done.connect(self._deliver)
        thread.failed.connect(self._on_failure)
        thread.finished.connect(partial(self._on_finished, thread))
        self._threads.append(thread)
        thread.start()

    @property
    def busy(self) -> bool:
        """Whether a task is running."""
        return bool(self._threads)

    def stop_background_work(self) -> None:
        """End all running tasks; safe to call twice."""
        threads, self._threads = self._threads, []
        for thread in threads:
            thread.drop()
            thread.deleteLater()

    def _deliver(self, outcome: tuple[Callable[[object], object], object]) -> None:
        then, result = outcome
        then(result)

    def _on_finished(self, thread: BackgroundReader) -> None:
        if thread in self._threads:
            self._threads.remove(thread)
            thread.deleteLater()


class DetachedThread(CooperativeThread):
    """A thread without an owner, whose object exists until it has finished."""

    def __init__(self) -> None:
        """Create it without a parent, because a parent could delete it while it runs."""
        super().__init__()
        self.silent = False

    def start(self, priority: QThread.Priority = QThread.Priority.InheritPriority) -> None:
        """Start the thread and keep a reference until it has finished."""
        _RUNNING.add(self)
        self.finished.connect(self._on_finished)
        super().start(priority)

    def forget(self) -> None:
        """Ask the thread to end soon and to emit nothing more; return immediately."""
        self.silent = True
        self.requestInterruption()

    def _on_finished(self) -> None:
        _RUNNING.discard(self)
        if self.silent:
            self.deleteLater()


def list_running_threads() -> list[DetachedThread]:
    """Return the detached threads that are running."""
    return [thread for thread in _RUNNING if isValid(thread) and thread.isRunning()]


@atexit.register
def _end_all() -> None:
    """Ask every running thread to end, and wait a limited time for it, when the program ends."""
    deadline = time.monotonic() + _EXIT_TIMEOUT
    threads = list_running_threads()
    for thread in threads:
        thread.forget()
    for thread in threads:
        thread.wait(QDeadlineTimer(max(1, int(1000 * (deadline - time.monotonic())))))


def _make_file_problem(failure: OSError) -> Problem:
    if failure.filename:
        return error(
            "files.failed",
            "Can't use {file}: {reason}.",
            "Check that the disk is connected, writable, and not full.",
            file=str(failure.filename),
            reason=describe_os_error(failure),
        )
    return error(
        "files.failed",
        "Can't use a file: {reason}.",
        "Check that the disk is connected, writable, and not full.",
        reason=describe_os_error(failure),
    )
