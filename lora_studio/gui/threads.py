"""Work that takes long and is no job of a worker: in a thread that lets the window go first."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from PySide6.QtCore import QObject, QThread, Signal

from lora_studio.core.problems import Problem, ProblemError
from lora_studio.core.system.files import reason_of

_T = TypeVar("_T")

#: Python runs one thread at a time: after this many seconds of work the window gets its turn.
_TURN = 0.003
#: How long the work rests then; a window that has nothing to do needs no more.
_REST = 0.001


class ObsoleteResult(Exception):  # noqa: N818 - no error: nobody waits for the result any more
    """Raised in the work when it is not wanted any more."""


class BackgroundReader(QThread):
    """Does one thing and tells what came of it.

    Signals:
        done(result): the work's result.
        failed(problem): the work could not be done.
    """

    done = Signal(object)
    failed = Signal(object)

    def __init__(
        self, work: Callable[[BackgroundReader], object], parent: QObject | None = None
    ) -> None:
        """`work` gets this object, whose `gently` it goes through its items with."""
        super().__init__(parent)
        self._work = work

    def run(self) -> None:
        """Works; ends without a word when nobody waits any more."""
        try:
            self.done.emit(self._work(self))
        except ProblemError as error:
            self.failed.emit(error.problems[0])
        except OSError as error:
            self.failed.emit(_not_read(error))
        except ObsoleteResult:
            return

    def gently(self, items: Iterable[_T]) -> Iterator[_T]:
        """The items, with rests in between; raises `Unwanted` when nobody waits any more."""
        begun = time.perf_counter()
        for item in items:
            yield item
            if time.perf_counter() - begun > _TURN:
                if self.isInterruptionRequested():
                    raise ObsoleteResult
                time.sleep(_REST)
                begun = time.perf_counter()

    def drop(self) -> None:
        """Ends the work soon; nothing more is heard of it."""
        self.requestInterruption()
        self.wait()


def _not_read(error: OSError) -> Problem:
    return Problem(
        code="files.failed",
        what=f"{error.filename or 'A file'} cannot be used: {reason_of(error)}.",
        remedy="Check that the disk is there, writable, and not full.",
    )
