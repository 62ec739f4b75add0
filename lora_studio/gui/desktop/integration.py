"""A job and the desktop: awake while it runs, its progress on the task bar, news when it has ended."""

from __future__ import annotations

import time
from collections.abc import Callable

from PySide6.QtCore import QObject

from lora_studio.client.sleep_inhibitor import SleepInhibitor
from lora_studio.core import formatting
from lora_studio.core.protocol import events
from lora_studio.core.protocol.commands import COMMANDS
from lora_studio.gui.desktop.notifications import Notifications
from lora_studio.gui.desktop.task_bar import TaskBar
from lora_studio.gui.jobs.control import JobControl
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import tell

#: Seconds after which nobody is expected to have waited in front of the window.
LONG = 60.0
#: Seconds before a job shows on the task bar.
VISIBLE_AFTER = 10.0
#: Seconds between two looks for another worker: one that was ended for lack of memory is replaced.
LOOK_EVERY = 5.0


class DesktopIntegration(QObject):
    """Follows the jobs of the window; says nothing of the end of a short one."""

    def __init__(
        self,
        jobs: JobControl,
        awake: SleepInhibitor,
        bar: TaskBar,
        news: Notifications,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """The three ways of this system, and a clock in seconds."""
        super().__init__(jobs)
        self._jobs, self._awake, self._bar, self._news, self._clock = jobs, awake, bar, news, clock
        self._begun: float | None = None
        self._worker: int | None = None  # the process that the system stays awake for
        self._looked = float("-inf")
        jobs.changed.connect(self._changed)
        jobs.ended.connect(self._ended)

    def leave(self) -> None:
        """The window closes: a worker that goes on keeps the system awake by itself."""
        self._awake.let_go()
        self._worker = None
        self._bar.show(None)

    def _changed(self) -> None:
        jobs, now = self._jobs, self._clock()
        if not jobs.running:
            self._bar.show(None)
            self._rest()
            return
        if self._begun is None:
            self._begun, self._looked = now, float("-inf")
        if now - self._looked >= (LOOK_EVERY if self._worker is not None else 0.5):
            self._looked = now
            self._stay_awake()
        self._bar.show(jobs.progress.share if now - self._begun >= VISIBLE_AFTER else None)

    def _rest(self) -> None:
        """A job that has ended lets the system sleep; one that is only left alone does not."""
        if self._worker is None:
            return
        self._worker = None
        if self._jobs.run is None:
            self._awake.let_go()
            self._begun = None
        else:
            self._awake.release()

    def _stay_awake(self) -> None:
        worker = self._jobs.run.worker_pid() if self._jobs.run is not None else None
        if worker is not None and worker != self._worker:
            self._worker = worker
            self._awake.hold(worker, tell(COMMANDS[self._jobs.kind].title))

    def _ended(self, kind: str, ending: events.Ending) -> None:
        begun, self._begun = self._begun, None
        took = self._clock() - begun if begun is not None else 0.0
        if took >= LONG:
            self._news.tell(_title(kind, ending), _text(ending, took))


def _title(kind: str, ending: events.Ending) -> str:
    match ending:
        case events.Done(paused=True):
            return tr("Training is paused")
        case events.Done(stopped=True):
            return tr("Training has stopped")
        case events.Failed():
            return tr("{doing} has failed").format(doing=tell(COMMANDS[kind].title))
        case events.Cancelled():
            return tr("{doing} was cancelled").format(doing=tell(COMMANDS[kind].title))
    return tr("{doing} is done").format(doing=tell(COMMANDS[kind].title))


def _text(ending: events.Ending, took: float) -> str:
    if isinstance(ending, events.Failed):
        return tell(ending.problem.what)
    return tr("After {time}.").format(time=formatting.duration(took))
