"""Reader for results of one run, in a background thread: answers of reward training, labels of a classifier."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from PySide6.QtCore import QObject, Signal

from lora_studio.core.protocol import events
from lora_studio.core.runs import manifest
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.index import RunSummary
from lora_studio.core.training.classification import ClassificationReport
from lora_studio.gui.threads import BackgroundReader


class RunResultReader(QObject):
    """Reads what one run at a time has.

    Signals:
        read(result): the result of the run, None if it has none.
    """

    read = Signal(object)

    def __init__(
        self,
        read: Callable[[RunFolder, BackgroundReader], object],
        may_have: Callable[[RunSummary], bool],
        parent: QObject | None = None,
    ) -> None:
        """Start without a run; runs that can't have a result aren't read."""
        super().__init__(parent)
        self._read, self._may_have = read, may_have
        self._as_of: tuple[str, float] | None = None
        self._thread: BackgroundReader | None = None

    def set_run(self, run: RunFolder | None, summary: RunSummary | None) -> None:
        """Read a run unless that is done for its current state; None forgets the last one."""
        if run is None or summary is None or not self._may_have(summary):
            if self._as_of is not None:
                self.leave()
                self.read.emit(None)
            return
        if self._as_of == (as_of := (str(run.path), summary.changed)):
            return
        self.leave()
        self._as_of = as_of
        self._thread = BackgroundReader(partial(self._read, run), self)
        self._thread.done.connect(partial(self._on_read, as_of))
        self._thread.start()

    def _on_read(self, as_of: tuple[str, float], result: object) -> None:
        if self._as_of == as_of:
            self.read.emit(result)

    def leave(self) -> None:
        """Stop reading. Can be called repeatedly."""
        self._as_of = None
        if self._thread is not None:
            self._thread.drop()
            self._thread.deleteLater()
            self._thread = None


def make_answers_reader(parent: QObject) -> RunResultReader:
    """Return a reader for the answers of the last step of reward training."""
    return RunResultReader(_read_answers, lambda run: "training.rewards" in run.settings, parent)


def make_labels_reader(parent: QObject) -> RunResultReader:
    """Return a reader for how well a classifier predicts labels."""
    return RunResultReader(
        _read_labels, lambda run: run.has_adapter and not run.writes_text, parent
    )


def _read_answers(run: RunFolder, thread: BackgroundReader) -> events.AnswersRated | None:
    last = None
    for event in thread.cooperative_iter(run.iter_events_of("answers_rated")):
        if isinstance(event, events.AnswersRated):
            last = event
    return last


def _read_labels(run: RunFolder, _: BackgroundReader) -> ClassificationReport | None:
    return manifest.get_label_report(run.read_manifest())
