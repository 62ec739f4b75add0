"""Threads that whoever started them may forget: they end when they have ended, and nothing breaks."""

from __future__ import annotations

import atexit
import time

from PySide6.QtCore import QDeadlineTimer, QThread
from shiboken6 import isValid

#: Threads that run. Qt ends the whole program when the object of one is deleted; whoever forgets
#: one, or is itself deleted first, must not bring that about.
_AT_WORK: set[DetachedThread] = set()

#: Longest wait for threads when the program ends, in seconds; one that is told ends in moments.
_PATIENCE = 5.0


class DetachedThread(QThread):
    """Belongs to nobody once it has begun, and stays until it has ended."""

    def __init__(self) -> None:
        """Has no parent: that would delete it with itself."""
        super().__init__()
        self.silent = False

    def start(self, priority: QThread.Priority = QThread.Priority.InheritPriority) -> None:
        """Begins; from now on the object lives until it has ended."""
        _AT_WORK.add(self)
        self.finished.connect(self._finished)
        super().start(priority)

    def forget(self) -> None:
        """Nobody listens any more: it ends soon and is heard of no more. Returns at once."""
        self.silent = True
        self.requestInterruption()

    def _finished(self) -> None:
        """Nobody needs the object for the thread's sake any more."""
        _AT_WORK.discard(self)
        if self.silent:
            self.deleteLater()


def at_work() -> list[DetachedThread]:
    """The threads that run now."""
    return [thread for thread in _AT_WORK if isValid(thread) and thread.isRunning()]


@atexit.register
def _end_all() -> None:
    """Lets go of whatever is still at work when the program ends."""
    until = time.monotonic() + _PATIENCE
    left = at_work()
    for thread in left:
        thread.forget()
    for thread in left:
        thread.wait(QDeadlineTimer(max(1, int(1000 * (until - time.monotonic())))))
