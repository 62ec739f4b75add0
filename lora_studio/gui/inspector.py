"""The warm worker for questions: the latest of each kind counts, a dead one is replaced."""

from __future__ import annotations

from PySide6.QtCore import QObject, Signal

from lora_studio.core import commands, events
from lora_studio.core.problems import Problem, Step
from lora_studio.gui.worker_thread import WorkerThread

#: The step that a question is about.
ABOUT: dict[str, Step] = {
    "inspect_model": "model",
    "inspect_dataset": "dataset",
    "inspect_ollama": "export",
}


class Inspector(QObject):
    """Asks questions while the user moves through the pages.

    Signals:
        answered(event): an event about the latest question of its kind.
        finished(kind, problem): the latest question of a kind has its answer, or the problem why not.
        busy_changed(kind, busy): a question of a kind is under way, or no more.
    """

    answered = Signal(object)
    finished = Signal(str, object)
    busy_changed = Signal(str, bool)

    def __init__(self, parent: QObject | None = None) -> None:
        """The worker starts with the first question."""
        super().__init__(parent)
        self._thread: WorkerThread | None = None
        self._over = False
        self._latest: dict[str, commands.Question] = {}  # by kind, while under way

    def ask(self, question: commands.Question) -> None:
        """Asks; an older question of the same kind is dropped, its answer too."""
        thread = self._running()
        if older := self._latest.get(question.kind):
            thread.send(commands.Cancel(target=older.id))
        self._latest[question.kind] = question
        thread.send(question)
        if not older:
            self.busy_changed.emit(question.kind, True)

    def forget(self) -> None:
        """Drops every question under way: another project is open."""
        for kind, question in list(self._latest.items()):
            if self._thread is not None:
                self._thread.send(commands.Cancel(target=question.id))
            del self._latest[kind]
            self.busy_changed.emit(kind, False)

    def shut_down(self) -> None:
        """Ends the worker at once; questions hold nothing worth waiting for."""
        self._over = True
        if self._thread is not None:
            self._thread.kill()
            self._thread.wait()

    def _running(self) -> WorkerThread:
        if self._thread is None:
            self._thread = WorkerThread.starting(parent=self)
            self._thread.event_received.connect(self._take)
            self._thread.ended.connect(self._gone)
            self._thread.start()
        return self._thread

    def _take(self, event: events.Event) -> None:
        kind = next((kind for kind, asked in self._latest.items() if asked.id == event.id), None)
        if kind is None:
            return
        self.answered.emit(event)
        if isinstance(event, events.Ending):
            del self._latest[kind]
            problem = event.problem if isinstance(event, events.Failed) else None
            self.busy_changed.emit(kind, False)
            self.finished.emit(kind, _placed(problem, kind))

    def _gone(self) -> None:
        """The worker ended; what it was asked too late, and the next question, start another."""
        if self._thread is not None:
            self._thread.deleteLater()
            self._thread = None
        if not self._over:
            for question in self._latest.values():
                self._running().send(question)


def _placed(problem: Problem | None, kind: str) -> Problem | None:
    """The problem with the step it belongs to, so that a click on it leads somewhere."""
    if problem is None or problem.where.step is not None or kind not in ABOUT:
        return problem
    where = problem.where.model_copy(update={"step": ABOUT[kind]})
    return problem.model_copy(update={"where": where})
