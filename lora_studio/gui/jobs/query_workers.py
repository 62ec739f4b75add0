"""Answers questions in warm workers; a newer question replaces an older one of its kind."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import QObject, QTimer, Signal

from lora_studio.core import limits
from lora_studio.core.problems import Problem
from lora_studio.core.protocol import commands, events
from lora_studio.gui.jobs.worker_thread import WorkerThread

#: How a question fails whose worker died.
_CRASHES = ("worker.crashed", "worker.out_of_memory", "worker.reader_died")


class QueryWorkers(QObject):
    """Sends questions to one worker per lane, and replaces workers that died.

    Signals:
        answered(event): an event about the latest question of its kind.
        finished(kind, problem): the latest question of a kind was answered, or failed with `problem`.
    """

    answered = Signal(object)
    finished = Signal(str, object)

    def __init__(self, parent: QObject | None = None) -> None:
        """Start no worker before its first question."""
        super().__init__(parent)
        self._threads: dict[str, WorkerThread] = {}  # by lane
        self._started: dict[str, set[str]] = {}  # by lane, the questions that its worker has begun
        self._open: dict[str, str] = {}  # lane of each question whose ending hasn't arrived
        self._killed_lanes: set[str] = set()  # lanes whose worker was killed and has not ended yet
        self._is_shut_down = False
        self._paused = False  # whether workers are stopped until `resume`
        self._latest: dict[str, commands.Question] = {}  # pending, by kind

    @property
    def has_workers(self) -> bool:
        """Whether a worker runs or is ending."""
        return bool(self._threads)

    @property
    def pending(self) -> list[commands.Question]:
        """Questions without an answer, oldest first."""
        return list(self._latest.values())

    def ask(self, question: commands.Question) -> None:
        """Ask a question; an unanswered one of the same kind is dropped.

        Does nothing after `shut_down`: a page whose timer fires while the window closes would start
        a worker in vain.
        """
        if self._is_shut_down:
            return
        if older := self._latest.get(question.kind):
            self.drop(older)
        self._latest[question.kind] = question
        self._open[question.id] = question.lane
        if not self._paused:
            self._get_worker(question.lane).send(question)

    def prepare_worker(self, kind: str) -> None:
        """Start the worker for a kind of question, so that the first answer arrives half a second earlier."""
        if not (self._is_shut_down or self._paused):
            self._get_worker(_get_lane(kind))

    def cancel(self, kind: str) -> None:
        """Cancel the question of a kind; it is answered by `Cancelled`."""
        question, thread = self._latest.get(kind), self._threads.get(_get_lane(kind))
        if question is not None and thread is not None:
            thread.cancel(question.id)

    def drop(self, question: commands.Question) -> None:
        """Drop a question; none of its events is emitted any more."""
        if self._latest.get(question.kind) == question:
            del self._latest[question.kind]
            if (thread := self._threads.get(question.lane)) is not None:
                thread.send(commands.Cancel(target=question.id))
                if question.has_nothing_to_save:
                    self._end_later(question)

    def _end_later(self, question: commands.Question) -> None:
        """Replace the worker if it hasn't stopped working on a question in time."""
        # Not QTimer.singleShot, whose timer continues after the window has closed.
        timer = QTimer(self, singleShot=True, interval=round(1000 * limits.READER_CANCEL))
        timer.timeout.connect(partial(self._end_if_running, question))
        timer.timeout.connect(timer.deleteLater)
        timer.start()

    def _end_if_running(self, question: commands.Question) -> None:
        """Replace the worker that still works on a question that was dropped."""
        begun = self._started.get(question.lane, set())
        if question.id in begun and question.id in self._open:
            self._restart_worker(question.lane)

    def forget(self) -> None:
        """Drop all questions, because another project was opened."""
        for question in list(self._latest.values()):
            if question.in_project:
                self.drop(question)

    def restart_workers(self) -> None:
        """Replace the workers by ones that see the current environment.

        Pending queries are sent again, so their callers continue to wait.
        """
        for lane in self._threads.keys() - self._killed_lanes:
            self._restart_worker(lane)

    def _restart_worker(self, lane: str) -> None:
        if lane in self._killed_lanes or lane not in self._threads:
            return
        self._killed_lanes.add(lane)
        thread = self._threads[lane]
        thread.event_received.disconnect(self._on_event)  # its failure is not an answer
        thread.kill()

    def pause(self) -> None:
        """End the workers and start none before `resume`, because the engine is being removed."""
        self._paused = True
        self.restart_workers()

    def resume(self) -> None:
        """Ask the pending questions; does nothing unless paused."""
        if self._paused:
            self._paused = False
            for lane in {
                question.lane for question in self._latest.values()
            } - self._threads.keys():
                self._ask_again(lane)

    def shut_down(self) -> None:
        """End the workers immediately, because questions have nothing to save."""
        self._is_shut_down = True
        for thread in self._threads.values():
            thread.kill()

    def _get_worker(self, lane: str) -> WorkerThread:
        if lane not in self._threads:
            thread = WorkerThread.create()
            thread.event_received.connect(self._on_event)
            thread.ended.connect(partial(self._on_worker_ended, lane))
            self._threads[lane] = thread
            thread.start()
        return self._threads[lane]

    def _on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Started) and (lane := self._open.get(event.id)):
            self._started.setdefault(lane, set()).add(event.id)
        if isinstance(event, events.Ending):
            self._open.pop(event.id, None)
        kind = next(
            (kind for kind, command in self._latest.items() if command.id == event.id), None
        )
        if kind is None:
            return
        if self._is_bystander(self._latest[kind].lane, event):
            return  # `_on_worker_ended` asks it again
        ended = isinstance(event, events.Ending)
        if ended:  # removed first, because a slot may ask the next question of this kind
            del self._latest[kind]
        self.answered.emit(event)
        if ended:
            problem = event.problem if isinstance(event, events.Failed) else None
            self.finished.emit(kind, assign_step(problem, kind))

    def _is_bystander(self, lane: str, event: events.Event) -> bool:
        """Return whether a question failed only because its worker died of an earlier one."""
        begun = self._started.get(lane, set())
        is_crash = isinstance(event, events.Failed) and event.problem.code in _CRASHES
        return is_crash and bool(begun) and event.id not in begun

    def _on_worker_ended(self, lane: str) -> None:
        """Start another worker for the questions that the ended one didn't begin."""
        self._started.pop(lane, None)
        waiting = {question.id for question in self._latest.values()}
        self._open = {id_: of for id_, of in self._open.items() if of != lane or id_ in waiting}
        self._threads.pop(lane).deleteLater()
        self._killed_lanes.discard(lane)
        if not (self._is_shut_down or self._paused):
            self._ask_again(lane)

    def _ask_again(self, lane: str) -> None:
        for question in self._latest.values():
            if question.lane == lane:
                self._open[question.id] = lane
                self._get_worker(lane).send(question)


def _get_lane(kind: str) -> str:
    return commands.COMMANDS[kind].lane


def assign_step(problem: Problem | None, kind: str) -> Problem | None:
    """Return the problem with the step it belongs to, so that clicking it opens that step's page.

    The failure of an optional question is a warning unless training would fail with it, too. If a question
    isn't about the project, the page that asked reports its problems.
    """
    command = commands.COMMANDS[kind]
    if problem is None or not command.in_project:
        return None
    if command.step is None:
        return problem
    where = problem.where.model_copy(update={"step": problem.where.step or command.step})
    is_optional = command.is_optional and problem.code not in command.prevents_jobs
    severity = "warning" if is_optional else problem.severity
    return problem.model_copy(update={"where": where, "severity": severity})
