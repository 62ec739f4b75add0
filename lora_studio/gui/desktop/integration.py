"""Keep the system awake while a job runs, show its progress, and notify the user when it ends."""

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
from lora_studio.gui.message_translation import localize

#: Seconds after which the user is probably doing something else.
LONG = 60.0
#: Seconds before the task bar shows a job's progress.
VISIBLE_AFTER = 10.0
#: Seconds between two checks for a new worker, which replaces one that ran out of memory.
LOOK_EVERY = 5.0


class DesktopIntegration(QObject):
    """Follows the window's jobs; only jobs longer than `LONG` end with a notification."""

    def __init__(
        self,
        jobs: JobControl,
        awake: SleepInhibitor,
        bar: TaskBar,
        notifications: Notifications,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Use this system's sleep inhibitor, task bar and notifications; `clock` is in seconds."""
        super().__init__(jobs)
        self._jobs, self._awake, self._bar, self._notifications, self._clock = (
            jobs,
            awake,
            bar,
            notifications,
            clock,
        )
        self._begun: float | None = None
        self._worker: int | None = None  # process ID of the worker that the system stays awake for
        self._looked = float("-inf")
        jobs.changed.connect(self._on_changed)
        jobs.ended.connect(self._on_ended)

    def leave(self) -> None:
        """Stop following; a running worker keeps the system awake itself."""
        self._awake.detach()
        self._worker = None
        self._bar.show(None)

    def _on_changed(self) -> None:
        jobs, now = self._jobs, self._clock()
        if not jobs.running:
            self._bar.show(None)
            self._allow_sleep()
            return
        if self._begun is None:
            self._begun, self._looked = now, float("-inf")
        if now - self._looked >= (LOOK_EVERY if self._worker is not None else 0.5):
            self._looked = now
            self._prevent_sleep()
        self._bar.show(jobs.progress.share if now - self._begun >= VISIBLE_AFTER else None)

    def _allow_sleep(self) -> None:
        """Let the system sleep if the job has ended; a detached worker keeps it awake itself."""
        if self._worker is None:
            return
        self._worker = None
        if self._jobs.run is None:
            self._awake.detach()
            self._begun = None
        else:
            self._awake.release()

    def _prevent_sleep(self) -> None:
        worker = self._jobs.run.worker_pid() if self._jobs.run is not None else None
        if worker is not None and worker != self._worker:
            self._worker = worker
            self._awake.hold(worker, localize(COMMANDS[self._jobs.kind].title))

    def _on_ended(self, kind: str, ending: events.Ending) -> None:
        begun, self._begun = self._begun, None
        took = self._clock() - begun if begun is not None else 0.0
        if took >= LONG:
            self._notifications.notify(_format_title(kind, ending), _format_text(ending, took))


def _format_title(kind: str, ending: events.Ending) -> str:
    match ending:
        case events.Done(paused=True):
            return tr("Training paused")
        case events.Done(stopped=True):
            return tr("Training stopped")
        case events.Failed():
            return tr("{job} failed").format(job=localize(COMMANDS[kind].title))
        case events.Cancelled():
            return tr("{job} canceled").format(job=localize(COMMANDS[kind].title))
    return tr("{job} finished").format(job=localize(COMMANDS[kind].title))


def _format_text(ending: events.Ending, took: float) -> str:
    if isinstance(ending, events.Failed):
        return localize(ending.problem.what)
    return tr("After {time}.").format(time=formatting.format_duration(took))
