"""A query derived from the project and sent shortly after the project's last change."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from PySide6.QtCore import QObject, QTimer, Signal

from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.protocol import events
from lora_studio.core.protocol.commands import Question

#: Milliseconds without a change before a question is asked, so that typing is not interrupted.
PAUSE = 350

#: Fields that identify a model and determine all its facts.
NAMING = ("source", "revision", "trust_remote_code")


def strip_model(model: ModelSpec) -> ModelSpec:
    """Return the model without its precision and device, because no answer depends on them."""
    return ModelSpec(**{name: getattr(model, name) for name in NAMING})


class DebouncedQuery(QObject):
    """Asks one kind of question whenever the project changes it.

    Signals:
        ask(command): the question, when it differs from the last one.
        outdated(command): the subject of a pending query has changed, so its answer would be
            about something else and must be dropped.
        busy_changed(bool): whether an answer is pending.
    """

    ask = Signal(object)
    outdated = Signal(object)
    busy_changed = Signal(bool)

    def __init__(
        self,
        make: Callable[[], Question | None],
        parent: QObject,
        list_files: Callable[[], Iterable[Path]] = tuple,
    ) -> None:
        """Derive the question with `make`, which returns None if there is nothing to ask.

        `list_files` returns the files and folders that the answer depends on.
        """
        super().__init__(parent)
        self._make, self._list_files = make, list_files
        self._stamps: list[tuple[int, int] | None] = []
        self.asked: Question | None = None
        self.busy = False
        self._timer = QTimer(self, singleShot=True, interval=PAUSE)
        self._timer.timeout.connect(self.ask_now)

    def schedule(self) -> None:
        """Ask after a pause, which restarts with every call.

        An answer that arrives during the pause counts only if it answers the current question.
        """
        if self.busy and not self._is_asked(self._make()):
            self.forget()
        self._timer.start()

    def ask_now(self) -> None:
        """Ask now, unless the same question was asked last."""
        self._timer.stop()
        question = self._make()
        if question is None:
            self.forget()
        elif not self._is_asked(question):
            self.asked = question
            self._stamps = self._read_stamps()
            self._set_busy(True)
            self.ask.emit(question)

    @property
    def is_coming(self) -> bool:
        """Whether an answer is pending or the question is about to be asked."""
        return self.busy or self._timer.isActive()

    def has_changed_files(self) -> bool:
        """Return whether files have changed, appeared, or vanished since the last question."""
        return self._read_stamps() != self._stamps

    def forget(self) -> None:
        """Drop the current question, so that the next one is asked in any case."""
        command, self.asked = self.asked, None
        if self.busy:
            self.outdated.emit(command)
        self._set_busy(False)

    def on_event(self, event: object) -> None:
        """Handle the end of the current question."""
        if self.asked is None or getattr(event, "id", None) != self.asked.id:
            return
        match event:
            case events.Done():
                self._set_busy(False)
            case events.Failed() | events.Cancelled():  # allows asking again
                self.asked = None
                self._set_busy(False)

    def _read_stamps(self) -> list[tuple[int, int] | None]:
        return [_read_stamp(path) for path in self._list_files()]

    def _is_asked(self, question: Question | None) -> bool:
        if self.asked is None or question is None:
            return False
        return question == self.asked.model_copy(update={"id": question.id})

    def _set_busy(self, busy: bool) -> None:
        if busy != self.busy:
            self.busy = busy
            self.busy_changed.emit(busy)


def _read_stamp(path: Path) -> tuple[int, int] | None:
    """Return the time of the last change and the size of a file, None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
