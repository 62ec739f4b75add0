"""Warm workers for questions: the latest of each kind counts, a dead worker is replaced."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import QObject, Signal

from lora_studio.core.problems import Problem, Step
from lora_studio.core.protocol import commands, events
from lora_studio.gui.jobs.worker_thread import WorkerThread

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


class Inspector(QObject):
    """Asks questions while the user moves through the pages.

    Signals:
        answered(event): an event about the latest question of its kind.
        finished(kind, problem): the latest question of a kind has its answer, or the problem why not.
    """

    answered = Signal(object)
    finished = Signal(str, object)

    def __init__(self, parent: QObject | None = None) -> None:
        """A worker starts with the first question for it."""
        super().__init__(parent)
        self._threads: dict[str, WorkerThread] = {}  # by lane
        self._leaving: set[str] = set()  # lanes whose worker was killed and has not ended yet
        self._over = False
        self._held = False  # whether no worker may be at work
        self._latest: dict[str, commands.Question] = {}  # by kind, while under way

    def ask(self, question: commands.Question) -> None:
        """Asks; an older question of the same kind is dropped, its answer too.

        Nothing is asked any more once it has been shut down: a page whose timer fires while the
        window closes would start a worker that nobody waits for.
        """
        if self._over:
            return
        if older := self._latest.get(question.kind):
            self.drop(older)
        self._latest[question.kind] = question
        if not self._held:
            self._running(_lane(question.kind)).send(question)

    def expect(self, kind: str) -> None:
        """Starts the worker for a kind of question, which saves its first one half a second."""
        if not (self._over or self._held):
            self._running(_lane(kind))

    def cancel(self, kind: str) -> None:
        """Ends the question of a kind, if one is under way; it is answered by `Cancelled`."""
        question, thread = self._latest.get(kind), self._threads.get(_lane(kind))
        if question is not None and thread is not None:
            thread.cancel(question.id)

    def drop(self, question: commands.Question) -> None:
        """Ends a question if it is under way; nobody hears of it any more, however far it is."""
        if self._latest.get(question.kind) == question:
            del self._latest[question.kind]
            if (thread := self._threads.get(_lane(question.kind))) is not None:
                thread.send(commands.Cancel(target=question.id))

    def forget(self) -> None:
        """Drops every question under way: another project is open."""
        for kind, question in list(self._latest.items()):
            if kind not in _OWN:
                self.drop(question)

    def renew(self) -> None:
        """Replaces the workers by such that see the environment as it is now.

        Whoever waits for an answer goes on waiting: what is under way is asked again.
        """
        for lane in self._threads.keys() - self._leaving:
            self._leaving.add(lane)
            thread = self._threads[lane]
            thread.event_received.disconnect(self._take)  # that it was killed answers nothing
            thread.kill()

    def hold(self) -> None:
        """Ends the workers; none starts before `go_on`: the engine that they run in is about to go."""
        self._held = True
        self.renew()

    def go_on(self) -> None:
        """Asks what is under way and what was asked meanwhile; harmless when nothing was held."""
        if self._held:
            self._held = False
            for lane in {_lane(kind) for kind in self._latest} - self._threads.keys():
                self._ask_again(lane)

    def shut_down(self) -> None:
        """Ends the workers at once; questions hold nothing worth waiting for."""
        self._over = True
        for thread in self._threads.values():
            thread.kill()

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
            self.finished.emit(kind, _placed(problem, kind))

    def _gone(self, lane: str) -> None:
        """A worker ended; what it was asked too late, and the next question, start another."""
        self._threads.pop(lane).deleteLater()
        self._leaving.discard(lane)
        if not (self._over or self._held):
            self._ask_again(lane)

    def _ask_again(self, lane: str) -> None:
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
