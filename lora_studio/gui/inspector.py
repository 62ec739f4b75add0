"""Warm workers for questions: the latest of each kind counts, a dead worker is replaced."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import QDeadlineTimer, QObject, Signal

from lora_studio.core import commands, events
from lora_studio.core.problems import Problem, Step
from lora_studio.gui.worker_thread import WorkerThread

#: The step that a question is about.
ABOUT: dict[str, Step] = {
    "inspect_model": "model",
    "inspect_dataset": "dataset",
    "read_rows": "dataset",
    "show_row": "dataset",
    "measure_dataset": "dataset",
    "lint_dataset": "dataset",
    "plan_merge": "merging",
    "inspect_ollama": "export",
    "copy_ollama": "export",
    "remove_ollama": "export",
    "derive_template": "export",
    "estimate_sizes": "export",
}

#: Questions that only show more of what was read.
_LOOKS = (
    "read_rows", "show_row", "measure_dataset", "lint_dataset", "estimate_sizes", "copy_ollama",
    "remove_ollama", "derive_template",
)  # fmt: skip

#: Questions that do not share the common worker. Reading all of a dataset takes minutes, and a page
#: of rows has to come while that goes on, or while another question imports transformers (seconds).
#: Each worker costs a light process of about 60 MB, which starts with its first question.
_LANES = {
    "inspect_dataset": "scanner",
    "measure_dataset": "scanner",
    "lint_dataset": "scanner",
    "list_models": "finder",
    "search_models": "hub",  # which may not answer for long
    "inspect_account": "hub",
    "sign_in": "hub",
    "sign_out": "hub",
    "download_model": "downloads",
    "read_rows": "reader",
    "estimate_sizes": "sizes",  # ten seconds in a process of its own
    "derive_template": "sizes",  # some seconds in a process of its own
}


#: Questions that are about no project. The page shows their failures that asked; they go on when another
#: project is opened, and are asked again where their worker is replaced.
_OWN = (
    "list_models", "search_models", "download_model", "inspect_account", "sign_in", "sign_out",
)  # fmt: skip


#: Longest wait for a worker that was killed, in milliseconds: the window never hangs for one.
_PATIENCE = 3000


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
        """A worker starts with the first question for it."""
        super().__init__(parent)
        self._threads: dict[str, WorkerThread] = {}  # by lane
        self._over = False
        self._latest: dict[str, commands.Question] = {}  # by kind, while under way

    def ask(self, question: commands.Question) -> None:
        """Asks; an older question of the same kind is dropped, its answer too.

        Nothing is asked any more once it has been shut down: a page whose timer fires while the
        window closes would start a worker that nobody waits for.
        """
        if self._over:
            return
        thread = self._running(_lane(question.kind))
        if older := self._latest.get(question.kind):
            thread.send(commands.Cancel(target=older.id))
        self._latest[question.kind] = question
        thread.send(question)
        if not older:
            self.busy_changed.emit(question.kind, True)

    def expect(self, kind: str) -> None:
        """Starts the worker for a kind of question, which saves its first one half a second."""
        if not self._over:
            self._running(_lane(kind))

    def cancel(self, kind: str) -> None:
        """Ends the question of a kind, if one is under way; it is answered by `Cancelled`."""
        question, thread = self._latest.get(kind), self._threads.get(_lane(kind))
        if question is not None and thread is not None:
            thread.cancel(question.id)

    def forget(self) -> None:
        """Drops every question under way: another project is open."""
        for kind, question in list(self._latest.items()):
            if kind in _OWN:
                continue
            if (thread := self._threads.get(_lane(kind))) is not None:
                thread.send(commands.Cancel(target=question.id))
            del self._latest[kind]
            self.busy_changed.emit(kind, False)

    def renew(self) -> None:
        """Ends the workers: the next question starts one that sees the environment as it is now."""
        self.forget()
        for thread in self._threads.values():
            thread.kill()

    def shut_down(self) -> None:
        """Ends the workers at once; questions hold nothing worth waiting for."""
        self._over = True
        for thread in self._threads.values():
            thread.kill()
        for thread in self._threads.values():
            thread.wait(QDeadlineTimer(_PATIENCE))

    def _running(self, lane: str) -> WorkerThread:
        if lane not in self._threads:
            thread = WorkerThread.starting()
            thread.event_received.connect(self._take)
            thread.ended.connect(partial(self._gone, lane))
            self._threads[lane] = thread
            thread.start()
        return self._threads[lane]

    def _take(self, event: events.Event) -> None:
        kind = next((kind for kind, asked in self._latest.items() if asked.id == event.id), None)
        if kind is None:
            return
        ended = isinstance(event, events.Ending)
        if ended:  # before anybody hears of it, and asks the next question of the kind
            del self._latest[kind]
        self.answered.emit(event)
        if ended:
            problem = event.problem if isinstance(event, events.Failed) else None
            if kind not in self._latest:
                self.busy_changed.emit(kind, False)
            self.finished.emit(kind, _placed(problem, kind))

    def _gone(self, lane: str) -> None:
        """A worker ended; what it was asked too late, and the next question, start another."""
        self._threads.pop(lane).deleteLater()
        if not self._over:
            for question in self._latest.values():
                if _lane(question.kind) == lane:
                    self._running(lane).send(question)


def _lane(kind: str) -> str:
    return _LANES.get(kind, "common")


def _placed(problem: Problem | None, kind: str) -> Problem | None:
    """The problem with the step it belongs to, so that a click on it leads somewhere.

    A look at rows that fails keeps nobody from training on them.
    """
    if problem is None or kind in _OWN:
        return None
    if kind not in ABOUT:
        return problem
    where = problem.where.model_copy(update={"step": problem.where.step or ABOUT[kind]})
    severity = "warning" if kind in _LOOKS else problem.severity
    return problem.model_copy(update={"where": where, "severity": severity})
