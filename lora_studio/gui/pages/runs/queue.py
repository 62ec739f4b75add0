"""The queue of the open project in this window: the next run starts when the job before has ended."""

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
from lora_studio.gui.message_translation import tell
from lora_studio.gui.project import lock
from lora_studio.gui.project.state import ProjectState

#: Milliseconds without a change in the runs folder before it is looked at.
_SETTLE = 300


class RunQueue(QObject):
    """Starts what waits, one after another. The file in the runs folder is the truth.

    What waited already when the project was opened starts after the next job, or when the user says so.
    Of several windows on one project only that which may change it starts anything; it shows what the
    others add.

    Signals:
        changed: `items` or `paused` is another one.
    """

    changed = Signal()

    def __init__(
        self,
        state: ProjectState,
        jobs: JobControl,
        flow: JobLauncher,
        parent: QObject | None = None,
    ) -> None:
        """Listens to `jobs`; starts through `flow`."""
        super().__init__(parent)
        self._state, self._jobs, self._flow = state, jobs, flow
        self._queue = QueueFile()
        self._held = False
        self._closed = False
        self._next = QTimer(self, singleShot=True, interval=0)
        self._next.timeout.connect(self._start_next)
        self._watcher = QFileSystemWatcher(self)
        self._look = QTimer(self, singleShot=True, interval=_SETTLE)
        self._watcher.directoryChanged.connect(lambda _: self._look.start())
        self._look.timeout.connect(self._look_again)
        state.opened.connect(self._opened)
        jobs.changed.connect(self._job_changed)
        jobs.ended.connect(self._ended)

    @property
    def items(self) -> list[QueuedRun]:
        """What waits, the next first."""
        return list(self._queue.entries)

    @property
    def paused(self) -> bool:
        """Whether nothing starts by itself."""
        return self._queue.paused or self._held

    @property
    def names(self) -> list[str]:
        """Folders of the runs that wait, the next first."""
        return self._queue.names

    # --- what the user does -------------------------------------------------------------------

    def start_or_add(self, run: RunFolder, *, resume: bool = False) -> None:
        """Trains a run now, or when the job under way has ended."""
        if self._jobs.running or self._is_guest:
            self.add([QueuedRun(run=run.path.name, resume=resume)])
            self._state.messages.info(
                tr("Run queued. Start it in the window that has the project open for editing.")
                if self._is_guest
                else tr("Run queued. It starts when the current job finishes.")
            )
            return
        self.remove([run.path.name])
        try:
            self._flow.start_run(run, resume=resume)
        except ProblemError as error:
            self._tell(error)

    def add(self, entries: Sequence[QueuedRun]) -> None:
        """Puts runs at the end; the first of them starts now when nothing is under way."""
        if self._change(lambda runs: run_queue.add(runs, entries)):
            self._held = False
            self.changed.emit()
            self._next.start()

    def remove(self, names: Sequence[str]) -> None:
        """Takes runs out of the queue; they stay among the runs."""
        if set(names) & set(self.names):
            self._change(lambda runs: run_queue.remove(runs, names))

    def move(self, name: str, place: int) -> None:
        """Moves a run to another place, 0 being the next to start."""
        self._change(lambda runs: run_queue.move(runs, name, place))

    def pause(self) -> None:
        """Lets the job under way end; nothing follows it."""
        self._change(lambda runs: run_queue.set_paused(runs, True))

    def start(self) -> None:
        """Goes on with the queue."""
        self._held = False
        self._change(lambda runs: run_queue.set_paused(runs, False))
        self.changed.emit()
        self._next.start()

    def reload(self) -> None:
        """Takes over what another program has changed."""
        folder = self._state.runs_folder
        self._take(run_queue.load(folder) if folder else QueueFile())

    def leave(self) -> None:
        """The window closes: nothing starts any more."""
        self._closed = True
        self._next.stop()
        self._look.stop()

    # --- inside -------------------------------------------------------------------------------

    @property
    def _is_guest(self) -> bool:
        """Whether another window has the project open, and its queue with it."""
        why = self._state.draft.read_only
        return why is not None and why.code == lock.CODE

    def _look_again(self) -> None:
        """Shows what another program has put into the queue; it starts after the next job, or when the
        user says so: whoever added it may be about to start it."""
        known = set(self.names)
        self.reload()
        if set(self.names) - known and not (self._jobs.running or self._held):
            self._held = True
            self.changed.emit()

    def _watch(self) -> None:
        if watched := self._watcher.directories():
            self._watcher.removePaths(watched)
        folder = self._state.runs_folder
        if folder is not None and folder.is_dir():
            self._watcher.addPath(str(folder))

    def _opened(self) -> None:
        self._next.stop()
        self._look.stop()
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

    def _job_changed(self) -> None:
        if not self._watcher.directories():  # the first run of a project makes the folder
            self._watch()
        if self._held and self._jobs.running:
            self._held = False
            self.changed.emit()

    def _ended(self, kind: str, ending: object) -> None:
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
                        what=tell(ending.problem.what)
                    )
                )
        self._next.start()

    def _start_next(self) -> None:
        """Starts the first that can be started; not while the job before goes on to its next step."""
        folder = self._state.runs_folder
        while folder and not (self._closed or self._jobs.running or self.paused or self._is_guest):
            try:
                entry = run_queue.take(folder)
            except ProblemError as error:
                self._tell(error)
                return
            self.reload()
            if entry is None:
                return
            try:
                self._flow.start_run(
                    RunFolder(folder / entry.run), resume=entry.resume, show=False
                )  # fmt: skip
            except ProblemError as error:
                self._tell(error)

    def _change(self, change: Callable[[Path], QueueFile]) -> bool:
        folder = self._state.runs_folder
        if folder is None:
            return False
        try:
            self._take(change(folder))
        except ProblemError as error:
            self._tell(error)
            return False
        return True

    def _take(self, queue: QueueFile) -> None:
        if queue != self._queue:
            self._queue = queue
            self.changed.emit()

    def _tell(self, error: ProblemError) -> None:
        for problem in error.problems:
            self._state.messages.problem(problem)
