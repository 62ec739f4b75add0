"""Controller of a classifier in the playground: finds classifiers, and predicts labels of texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QObject, Signal

from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import names
from lora_studio.core.runs.folder import list_runs
from lora_studio.core.runs.manifest import get_task
from lora_studio.gui.jobs.worker_on_demand import OnDemandWorker
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize_stage
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.threads import BackgroundReader, TaskRunner

#: Maximum number of runs, newest first, that are searched for classifiers.
_MAX_RUNS = 300


@dataclass(frozen=True)
class ClassifierRun:
    """A run with a trained classifier; `is_newest`: no newer run of the project has an adapter."""

    folder: str
    name: str
    is_newest: bool = False


class ClassifierController(QObject):
    """Finds the classifiers of the open project, and asks a worker for the labels of texts.

    Signals:
        found: `runs` has changed.
        classified(texts, TextsClassified): the labels of the texts.
        status_changed(text): what is in progress, "" for nothing.
        busy_changed(bool): whether texts are being classified.
        failed(problem): why texts couldn't be classified.
    """

    found = Signal()
    classified = Signal(object, object)
    status_changed = Signal(str)
    busy_changed = Signal(bool)
    failed = Signal(object)

    def __init__(self, state: ProjectState, parent: QObject | None = None) -> None:
        """Follow the open project."""
        super().__init__(parent)
        self._state = state
        self.link = OnDemandWorker(self)
        self.runs: tuple[ClassifierRun, ...] = ()
        self._tasks = TaskRunner(self.failed.emit, self)
        self._asked: commands.Classify | None = None
        self.link.event_received.connect(self._on_event)
        self.link.busy_changed.connect(self._on_busy_changed)
        state.opened.connect(self._on_opened)
        state.device_needed.connect(self._on_device_needed)

    def find_runs(self) -> None:
        """Search for classifiers that runs have trained meanwhile."""
        if (runs := self._state.runs_folder) is not None:
            self._tasks.start(
                lambda thread: (runs, _list_classifiers(runs, thread)), self._on_found
            )

    def classify(self, run: str, texts: Sequence[str]) -> None:
        """Predict the labels of texts; ignored while others are being classified."""
        if texts and not self.link.busy:
            self._asked = commands.Classify(run=run, texts=tuple(texts))
            self.link.send(self._asked)

    def leave(self) -> None:
        """Stop the worker and the search."""
        self.link.leave()
        self._tasks.leave()

    def _on_opened(self) -> None:
        self.link.release()
        self._asked = None
        if self.runs:
            self.runs = ()
            self.found.emit()
        self.find_runs()

    def _on_device_needed(self) -> None:
        """Unload the classifier for a job."""
        if self.link.held:
            self.link.release()
            self.status_changed.emit(
                tr("The playground's models were unloaded to free memory for the job.")
            )

    def _on_found(self, result: object) -> None:
        """Show the runs, unless another project was opened meanwhile."""
        match result:
            case (Path() as folder, tuple() as runs) if folder == self._state.runs_folder:
                if runs != self.runs:
                    self.runs = runs
                    self.found.emit()

    def _on_event(self, event: events.Event) -> None:
        if self._asked is None or event.id != self._asked.id:
            return
        match event:
            case events.Progress():
                self.status_changed.emit(localize_stage(event.stage))
            case events.Warned():
                self.failed.emit(event.problem)
            case events.TextsClassified():
                self.classified.emit(self._asked.texts, event)
            case events.Failed():
                self.failed.emit(event.problem)

    def _on_busy_changed(self, busy: bool) -> None:
        """Clear the status at the end, also of a worker that was released before its answer."""
        if not busy:
            self.status_changed.emit("")
        self.busy_changed.emit(busy)


def _list_classifiers(runs: Path, thread: BackgroundReader) -> tuple[ClassifierRun, ...]:
    """Return the runs with a trained classifier, newest first."""
    found: list[ClassifierRun] = []
    is_newest = True
    for run in thread.cooperative_iter(list_runs(runs)[:_MAX_RUNS]):
        if not run.has_adapter:
            continue
        if get_task(run.read_manifest()) == "classification":
            found.append(ClassifierRun(str(run.path), names.read_run_name(run), is_newest))
        is_newest = False
    return tuple(found)
