"""Several pieces of background work of one owner, ended together."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from PySide6.QtCore import QObject

from lora_studio.gui.threads import BackgroundReader


class TaskRunner(QObject):
    """Keeps each thread until it has ended."""

    def __init__(
        self, on_failure: Callable[[object], object], parent: QObject | None = None
    ) -> None:
        """`on_failure` gets the problem of whatever could not be done."""
        super().__init__(parent)
        self._on_failure = on_failure
        self._threads: list[BackgroundReader] = []

    def begin(
        self, work: Callable[[BackgroundReader], object], then: Callable[[object], object]
    ) -> None:
        """Does `work` in a thread; `then` gets its result in the window's."""
        # What is done with the result travels with it: a slot that belongs to no object may be called
        # in the thread.
        thread = BackgroundReader(lambda background: (then, work(background)), self)
        thread.done.connect(self._deliver)
        thread.failed.connect(self._on_failure)
        thread.finished.connect(partial(self._ended, thread))
        self._threads.append(thread)
        thread.start()

    @property
    def busy(self) -> bool:
        """Whether anything is under way."""
        return bool(self._threads)

    def leave(self) -> None:
        """Ends what is under way; harmless when done twice."""
        threads, self._threads = self._threads, []
        for thread in threads:
            thread.drop()
            thread.deleteLater()

    def _deliver(self, outcome: tuple[Callable[[object], object], object]) -> None:
        then, result = outcome
        then(result)

    def _ended(self, thread: BackgroundReader) -> None:
        if thread in self._threads:
            self._threads.remove(thread)
            thread.deleteLater()
