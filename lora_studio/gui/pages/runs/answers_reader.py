"""Reader for the best and worst answers of a run of reward training, in a background thread."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import QObject, Signal

from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.index import RunSummary
from lora_studio.gui.threads import BackgroundReader


class RatedAnswersReader(QObject):
    """Reads the answers of the last step of one run at a time.

    Signals:
        read(event): the answers of the run, None if it has none.
    """

    read = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        """Start without a run."""
        super().__init__(parent)
        self._as_of: tuple[str, float] | None = None
        self._thread: BackgroundReader | None = None

    def set_run(self, run: RunFolder | None, summary: RunSummary | None) -> None:
        """Read a run unless that is done for its current state; None forgets the last one."""
        if run is None or summary is None or "training.rewards" not in summary.settings:
            if self._as_of is not None:
                self.leave()
                self.read.emit(None)
            return
        if self._as_of == (as_of := (str(run.path), summary.changed)):
            return
        self.leave()
        self._as_of = as_of
        self._thread = BackgroundReader(partial(_read_last, run), self)
        self._thread.done.connect(partial(self._on_read, as_of))
        self._thread.start()

    def _on_read(self, as_of: tuple[str, float], answers: object) -> None:
        if self._as_of == as_of:
            self.read.emit(answers)

    def leave(self) -> None:
        """Stop reading. Can be called repeatedly."""
        self._as_of = None
        if self._thread is not None:
            self._thread.drop()
            self._thread.deleteLater()
            self._thread = None


def _read_last(run: RunFolder, thread: BackgroundReader) -> events.AnswersRated | None:
    last = None
    for event in thread.cooperative_iter(run.iter_events_of("answers_rated")):
        if isinstance(event, events.AnswersRated):
            last = event
    return last
