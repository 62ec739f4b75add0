"""The running job, one at a time: starts, follows, stops or detaches it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from PySide6.QtCore import QObject, QTimer, Signal

from lora_studio.client.watched_run import WatchedRun
from lora_studio.core.messages import NO_TEXT, Text
from lora_studio.core.problems import Problem
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.commands import COMMANDS
from lora_studio.core.runs.folder import RunFolder, list_running_runs
from lora_studio.gui.jobs.worker_thread import WorkerThread

#: Milliseconds between two `changed` signals; steps can arrive by the thousand.
_CHANGED_INTERVAL = 100

#: Commands that change a run; only one runs at a time.
RunJob = (
    commands.Train
    | commands.Merge
    | commands.Export
    | commands.ImportAdapter
    | commands.ImportModel
    | commands.CreateOllama
    | commands.Push
    | commands.Evaluate
)
_RUN_JOBS = frozenset(job.model_fields["kind"].default for job in get_args(RunJob))


@dataclass(frozen=True)
class JobProgress:
    """The progress of a job: `share` is from 0 to 1 or None if unknown, `eta_s` in seconds."""

    stage: Text = NO_TEXT
    share: float | None = None
    eta_s: float | None = None


class JobControl(QObject):
    """Starts jobs, follows their events and sends control commands.

    Signals:
        event_received(event): every event of the run followed, history first.
        changed: `run`, `kind` or `progress` changed.
        ended(kind, ending): a job that this window followed live has ended.
    """

    event_received = Signal(object)
    changed = Signal()
    ended = Signal(str, object)

    def __init__(self, parent: QObject | None = None) -> None:
        """Start without a job."""
        super().__init__(parent)
        self.run: RunFolder | None = None
        self.kind = ""
        self.progress = JobProgress()
        #: Whether the job was asked to end, and whether that is to pause it.
        self.stopping = self.pausing = False
        #: Whether the run has completed a training step, which ending the training keeps.
        self.has_steps = False
        self._id = ""
        self._live = False
        #: Whether the events are those that the run had before this window followed it.
        self._is_history = False
        self._thread: WorkerThread | None = None
        self._before: WorkerThread | None = (
            None  # worker whose job has ended but whose process is still exiting
        )
        self._changed_timer = QTimer(self, singleShot=True, interval=_CHANGED_INTERVAL)
        self._changed_timer.timeout.connect(self.changed)

    @property
    def running(self) -> bool:
        """Whether a job is running."""
        return bool(self.kind)

    @property
    def is_following(self) -> bool:
        """Whether more events can arrive, from a job or from a run being read."""
        return self._thread is not None

    def start(self, command: RunJob, run: RunFolder) -> None:
        """Start a job in a new worker, once the previous one has released its memory."""
        assert not self.running, "one job at a time"
        previous, self._thread = self._thread, None
        thread = WorkerThread.create(run)
        thread.send(command)
        self._is_history = False
        self._follow(thread, run, live=True)
        if previous is not None:
            previous.event_received.disconnect(self._on_event)
            previous.ended.disconnect(self._on_thread_ended)
            previous.ended.connect(self._start_thread)
            previous.close()
            self._before = previous
        else:
            self._start_thread()
        self._on_started(command.kind, command.id)

    def attach(self, run: RunFolder) -> None:
        """Read a run from its beginning, and follow its worker if it is running."""
        self._leave_thread()
        self._is_history = True
        self._follow(WorkerThread.watch(run), run, live=run.is_running())
        self._start_thread()
        self.changed.emit()

    def detach(self) -> None:
        """Stop following; the job continues in the background."""
        self._leave_thread()
        self.run, self.kind, self.progress = None, "", JobProgress()
        self.stopping = self.pausing = False
        self.changed.emit()

    def stop(self) -> None:
        """Stop training after this step and keep the adapter."""
        self._send(commands.Stop(target=self._id))
        self.stopping = True
        self.changed.emit()

    def pause(self) -> None:
        """Pause training after this step and save a checkpoint."""
        self._send(commands.Pause(target=self._id))
        self.stopping = self.pausing = True
        self.changed.emit()

    def cancel(self) -> None:
        """Cancel the job; the worker is killed after ten seconds."""
        if self._thread is not None and self.running:
            self._thread.cancel(self._id)
            self.stopping = True
            self.changed.emit()

    def save_checkpoint(self) -> None:
        """Save a checkpoint after this step."""
        self._send(commands.SaveCheckpoint(target=self._id))

    def go_offline(self, runs: Path | None) -> None:
        """Let running jobs contact no other computer from now on.

        These are this window's job, and those of other programs in the folder `runs`. Raises ProblemError
        if one can't be told.
        """
        self._send(commands.GoOffline())
        for run in list_running_runs(runs) if runs is not None else ():
            if run != self.run:
                WatchedRun(run).send(commands.GoOffline())

    # --- inside -------------------------------------------------------------------------------

    def _follow(self, thread: WorkerThread, run: RunFolder, *, live: bool) -> None:
        self.has_steps = self.has_steps and run == self.run
        self.run, self._live = run, live
        self.stopping = self.pausing = False
        self.kind, self._id, self.progress = "", "", JobProgress()
        self._thread = thread
        thread.event_received.connect(self._on_event)
        thread.history_read.connect(self._on_history_read)
        thread.ended.connect(self._on_thread_ended)

    def _start_thread(self) -> None:
        if self._before is not None:
            self._before.deleteLater()
            self._before = None
        if self._thread is not None:
            self._thread.start()

    def _on_thread_ended(self) -> None:
        if self._thread is not None:
            self._thread.deleteLater()
            self._thread = None
        if self.running:
            self._end(events.Cancelled(id=self._id))

    def _leave_thread(self) -> None:
        self._changed_timer.stop()
        for thread in (self._before, self._thread):
            if thread is not None:
                thread.disconnect(self)
                thread.forget()
        self._before = self._thread = None

    def _send(self, command: commands.Control) -> None:
        if self._thread is not None and self.running:
            self._thread.send(command)

    def _on_started(self, kind: str, command_id: str) -> None:
        self.kind, self._id = kind, command_id
        self.stopping = self.pausing = False
        self.progress = JobProgress(stage=COMMANDS[kind].title)
        self.changed.emit()

    def _on_event(self, event: events.Event) -> None:
        match event:
            case events.Started() if (
                self._live and event.command in _RUN_JOBS and event.id != self._id
            ):
                self._on_started(event.command, event.id)
            case events.Progress() if event.id == self._id:
                share = event.done / event.total if event.total else None
                self._set_progress(
                    JobProgress(event.stage or COMMANDS[self.kind].title, share, event.eta_s)
                )
            case events.AnswersRecorded() if event.id == self._id:
                share = event.done / event.total if event.total else None
                self._set_progress(JobProgress(commands.Evaluate.title, share, event.eta_s))
            case events.StepDone() if event.id == self._id:
                self._set_progress(
                    JobProgress(commands.Train.title, event.step / event.steps, event.eta_s)
                )
        self.has_steps = self.has_steps or isinstance(event, events.StepDone)
        self.event_received.emit(event)
        if isinstance(event, events.Ending) and event.id == self._id and self.running:
            self._end(event, is_past=self._is_history)

    def _on_history_read(self) -> None:
        self._is_history = False

    def _set_progress(self, progress: JobProgress) -> None:
        self.progress = progress
        if not self._changed_timer.isActive():
            self._changed_timer.start()

    def _end(
        self, ending: events.Done | events.Failed | events.Cancelled, *, is_past: bool = False
    ) -> None:
        self._changed_timer.stop()
        kind, self.kind, self._id = self.kind, "", ""
        self.progress = JobProgress()
        self.stopping = self.pausing = False
        if self._thread is not None:
            self._thread.close()
        self.changed.emit()
        if not is_past:
            self.ended.emit(kind, ending)


Phase = Literal["none", "running", "done", "stopped", "paused", "failed", "cancelled"]


@dataclass
class JobRecord:
    """The latest job of one kind: "train", "merge" or "export"."""

    kind: str
    phase: Phase = "none"
    problem: Problem | None = None
    progress: events.Progress | None = None
    begun: float = 0.0
    ended: float = 0.0
    _id: str = ""

    def apply(self, event: object) -> bool:
        """Apply an event; return whether it belongs to this job."""
        match event:
            case events.Started() if event.command in _RUN_JOBS:
                is_own = event.command == self.kind
                self._id = event.id if is_own else ""  # of another job, the following events are
                if is_own:
                    self.phase, self.problem, self.progress = "running", None, None
                    self.begun = event.time
                return is_own
        if not self._id or getattr(event, "id", "") != self._id:
            return False
        match event:
            case events.Progress():
                self.progress = event
            case events.Done():
                phase: Phase = "stopped" if event.stopped else "paused" if event.paused else "done"
                self._end(phase, event)
            case events.Failed():
                self.problem = event.problem
                self._end("failed", event)
            case events.Cancelled():
                self._end("cancelled", event)
        return True

    def clear(self) -> None:
        """Reset the record for another run."""
        self.phase, self.problem, self.progress, self._id = "none", None, None, ""
        self.begun = self.ended = 0.0

    def is_running(self, job_under_way: str) -> bool:
        """Return whether the job is running."""
        return job_under_way == self.kind

    def was_cut_off(self, job_under_way: str) -> bool:
        """Return whether the job started and its worker vanished."""
        return self.phase == "running" and not self.is_running(job_under_way)

    @property
    def seconds(self) -> float:
        """Duration of the job in seconds."""
        return max(0.0, self.ended - self.begun)

    def _end(self, phase: Phase, event: events.Ending) -> None:
        self.phase, self.ended, self.progress = phase, event.time, None
