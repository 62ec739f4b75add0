"""The run queue of the open project: starts the next run when the current job ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from PySide6.QtCore import QFileSystemWatcher, QObject, QTimer, Signal

from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import events
from lora_studio.core.runs import queue as run_queue
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.queue import QueuedRun, QueueFile
from lora_studio.gui.jobs.control import JobControl
from lora_studio.gui.jobs.launcher import JobLauncher
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.message_translation import localize
from lora_studio.gui.project import lock
from lora_studio.gui.project.state import ProjectState

#: Milliseconds without a change in the runs folder before the queue is reloaded.
_RELOAD_DELAY = 300


class RunQueue(QObject):
    """Starts queued runs one after another; the queue is stored in a file in the runs folder.

    Runs that were queued before the project was opened start after the next job, or when the user
    starts the queue. If several windows have the project open, only the one that can edit it starts
    runs, including those that the others add.

    Signals:
        changed: `items` or `paused` has changed.
    """

    changed = Signal()

    def __init__(
        self,
        state: ProjectState,
        jobs: JobControl,
        flow: JobLauncher,
        parent: QObject | None = None,
    ) -> None:
        """Start runs through `flow` when a job of `jobs` has ended."""
        super().__init__(parent)
        self._state, self._jobs, self._flow = state, jobs, flow
        self._queue = QueueFile()
        self._held = False
        self._closed = False
        self._next = QTimer(self, singleShot=True, interval=0)
        self._next.timeout.connect(self._start_next)
        self._watcher = QFileSystemWatcher(self)
        self._reload_timer = QTimer(self, singleShot=True, interval=_RELOAD_DELAY)
        self._watcher.directoryChanged.connect(lambda _: self._reload_timer.start())
        self._reload_timer.timeout.connect(self._reload_external)
        state.opened.connect(self._on_opened)
        jobs.changed.connect(self._on_job_changed)
        jobs.ended.connect(self._on_job_ended)

    @property
    def items(self) -> list[QueuedRun]:
        """The queued runs, the next one first."""
        return list(self._queue.entries)

    @property
    def paused(self) -> bool:
        """Whether runs don't start automatically."""
        return self._queue.paused or self._held

    @property
    def names(self) -> list[str]:
        """The folders of the queued runs, the next one first."""
        return self._queue.names

    # --- user actions -------------------------------------------------------------------------

    def start_or_add(self, run: RunFolder, *, resume: bool = False) -> None:
        """Train a run now, or queue it if a job is running."""
        if self._jobs.running or self._is_guest:
            self.add([QueuedRun(run=run.path.name, resume=resume)])
            self._state.messages.success(
                tr("Run queued. Start it in the window that has the project open for editing.")
                if self._is_guest
                else tr("Run queued. It starts when the current job finishes.")
            )
            return
        self.remove([run.path.name])
        try:
            self._flow.start_run(run, resume=resume)
        except ProblemError as error:
            self._report(error)

    def add(self, entries: Sequence[QueuedRun]) -> None:
        """Add runs to the end; starts the first one if no job is running."""
        if self._change_queue(lambda runs: run_queue.add(runs, entries)):
            self._held = False
            self.changed.emit()
            self._next.start()

    def remove(self, names: Sequence[str]) -> None:
        """Remove runs from the queue; the runs themselves are kept."""
        if set(names) & set(self.names):
            self._change_queue(lambda runs: run_queue.remove(runs, names))

    def move(self, name: str, index: int) -> None:
        """Move a run to a position, 0 being the next to start."""
        self._change_queue(lambda runs: run_queue.move(runs, name, index))

    def pause(self) -> None:
        """Pause the queue after the current job."""
        self._change_queue(lambda runs: run_queue.set_paused(runs, True))

    def start(self) -> None:
        """Resume the queue."""
        self._held = False
        self._change_queue(lambda runs: run_queue.set_paused(runs, False))
        self.changed.emit()
        self._next.start()

    def reload(self) -> None:
        """Load changes that other programs made."""
        folder = self._state.runs_folder
        self._set_queue(run_queue.load(folder) if folder else QueueFile())

    def stop_background_work(self) -> None:
        """Stop starting runs: the window is closing."""
        self._closed = True
        self._next.stop()
        self._reload_timer.stop()

    # --- implementation -----------------------------------------------------------------------

    @property
    def _is_guest(self) -> bool:
        """Whether another window has the project open for editing."""
        return lock.is_guest(self._state.draft)

    def _reload_external(self) -> None:
        """Show runs that another program queued, without starting them, because that program may be
        about to.
        """
        previous_names = set(self.names)
        self.reload()
        if set(self.names) - previous_names and not (self._jobs.running or self._held):
            self._held = True
            self.changed.emit()

    def _watch(self) -> None:
        if watched := self._watcher.directories():
            self._watcher.removePaths(watched)
        folder = self._state.runs_folder
        if folder is not None and folder.is_dir():
            self._watcher.addPath(str(folder))

    def _on_opened(self) -> None:
        self._next.stop()
        self._reload_timer.stop()
        self._watch()
        self._queue = QueueFile()
        self._held = True
        self.reload()
        self.changed.emit()
        if self.items and not self._queue.paused:
            self._state.messages.info(
                tr_n(
                    "{n} run is queued. Start it on the Runs page.",
                    "{n} runs are queued. Start them on the Runs page.",
                    len(self.items),
                )
            )

    def _on_job_changed(self) -> None:
        if not self._watcher.directories():  # the first run of a project creates the folder
            self._watch()
        if self._held and self._jobs.running:
            self._held = False
            self.changed.emit()

    def _on_job_ended(self, kind: str, ending: object) -> None:
        self.reload()
        if not self.items or self.paused:
            return
        match ending:
            case events.Cancelled() | events.Done(paused=True):
                self.pause()
                self._state.messages.info(tr("Queue paused. Start it on the Runs page."))
            case events.Failed():
                self._state.messages.warning(
                    tr("{what} The queue continues with the next run.").format(
                        what=localize(ending.problem.what)
                    )
                )
        self._next.start()

    def _start_next(self) -> None:
        """Start the first run that can be started, unless another job is running."""
        folder = self._state.runs_folder
        while folder and not (self._closed or self._jobs.running or self.paused or self._is_guest):
            try:
                entry = run_queue.pop_next(folder)
            except ProblemError as error:
                self._report(error)
                return
            self.reload()
            if entry is None:
                return
            try:
                self._flow.start_run(
                    RunFolder(folder / entry.run), resume=entry.resume, show=False
                )  # fmt: skip
            except ProblemError as error:
                self._report(error)

    def _change_queue(self, change: Callable[[Path], QueueFile]) -> bool:
        folder = self._state.runs_folder
        if folder is None:
            return False
        try:
            self._set_queue(change(folder))
        except ProblemError as error:
            self._report(error)
            return False
        return True

    def _set_queue(self, queue: QueueFile) -> None:
        if queue != self._queue:
            self._queue = queue
            self.changed.emit()

    def _report(self, error: ProblemError) -> None:
        for problem in error.problems:
            self._state.messages.problem(problem)
