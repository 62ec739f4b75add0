"""A classifier in the playground: finds classifiers, predicts labels of texts, and shows them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import (
    QComboBox,
    QPlainTextEdit,
    QVBoxLayout,
    QWidget,
)

from lora_studio.core import formatting
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import names
from lora_studio.core.runs.folder import list_runs
from lora_studio.core.runs.manifest import get_task
from lora_studio.gui.jobs.worker_on_demand import OnDemandWorker
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.message_translation import localize_stage
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.text_size import set_scaled_sizes
from lora_studio.gui.theme import Spacing
from lora_studio.gui.threads import BackgroundReader, TaskRunner
from lora_studio.gui.widgets.basics import (
    Card,
    button,
    label,
    row,
)
from lora_studio.gui.widgets.tables import BarRow, BarTable

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

    def stop_background_work(self) -> None:
        """Stop the worker and the search."""
        self.link.stop_background_work()
        self._tasks.stop_background_work()

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
        task = get_task(run.read_manifest())
        if task is not None and task.has_classes:
            found.append(ClassifierRun(str(run.path), names.read_run_name(run), is_newest))
        is_newest = False
    return tuple(found)


_BOX_HEIGHT, _TEXT_WIDTH = 110, 520
#: The most texts that are classified at once; each is a row of the table.
_MAX_TEXTS = 1000


class ClassifierView(QWidget):
    """A text box and, below it, the predicted labels; several lines are several texts."""

    def __init__(self, controller: ClassifierController, parent: QWidget | None = None) -> None:
        """Start without a classifier."""
        super().__init__(parent)
        self.controller = controller
        self._predicted: events.TextsClassified | None = None
        self._has_more = False  # lines than are classified
        self.runs = QComboBox()
        self.runs.setAccessibleName(tr("Classifier"))
        self.runs.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.box = QPlainTextEdit(tabChangesFocus=True)
        self.box.setAccessibleName(tr("Texts to classify"))
        self.box.setPlaceholderText(tr("Enter a text. Several lines are classified one by one."))
        set_scaled_sizes(self.box, height=_BOX_HEIGHT)
        self.status = label("", "caption")
        self.stop = button(tr("Stop"), self.controller.link.cancel, icon="stop")
        self.send = button(tr("Classify"), self.classify, kind="primary")
        self.send.setToolTip(tr("Classify (Ctrl+Enter)"))
        self.note = label("", "caption", wrap=True)
        self.texts = BarTable(tr("Texts"), _TEXT_WIDTH)
        self.labels = BarTable(tr("Labels"))
        self.texts.set_titles(tr("Text"), "", [tr("Label"), tr("Probability")])
        self.labels.set_titles(tr("Label"), "", [tr("Probability")])
        self._build_layout()
        self._wire()
        self._show_result((), None)
        self._show_busy(False)

    def _build_layout(self) -> None:
        asked, answered = Card(), Card()
        top, bottom = QWidget(), QWidget()
        top.setLayout(row(label(tr("Classifier"), "label"), self.runs, None))
        bottom.setLayout(row(self.status, None, self.stop, self.send))
        asked.add(top, self.box, bottom)
        self.answered = answered
        answered.add(self.note)
        answered.body.addWidget(self.texts, 3)
        answered.body.addWidget(self.labels, 2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.M)
        layout.addWidget(asked)
        layout.addWidget(answered, 1)
        self.setFocusProxy(self.box)

    def _wire(self) -> None:
        controller = self.controller
        controller.found.connect(self.show_runs)
        controller.classified.connect(self._show_result)
        controller.status_changed.connect(self.status.setText)
        controller.busy_changed.connect(self._show_busy)
        self.box.textChanged.connect(self._on_edited)
        self.texts.itemSelectionChanged.connect(self._show_selected)
        self.runs.activated.connect(lambda _: self._show_result((), None))

    def show_runs(self) -> None:
        """List the classifiers, and keep the chosen one."""
        chosen = self.runs.currentData()
        self.runs.clear()
        for run in self.controller.runs:
            self.runs.addItem(run.name, run)
        folders = [run.folder for run in self.controller.runs]
        if isinstance(chosen, ClassifierRun) and chosen.folder in folders:
            self.runs.setCurrentIndex(folders.index(chosen.folder))
        else:
            self._show_result((), None)
        self._show_busy(self.controller.link.busy)

    def classify(self) -> None:
        """Classify each line that isn't empty, up to a number."""
        lines = (line for line in self.box.toPlainText().split("\n") if line.strip())
        texts = list(itertools.islice(lines, _MAX_TEXTS + 1))
        run = self.runs.currentData()
        if isinstance(run, ClassifierRun) and not self.controller.link.busy:
            self._has_more = len(texts) > _MAX_TEXTS
            self.controller.classify(run.folder, texts[:_MAX_TEXTS])

    def _on_edited(self) -> None:
        """Hide the labels, which are those of the texts before."""
        self._show_result((), None)
        self._show_busy(self.controller.link.busy)

    def _show_busy(self, busy: bool) -> None:
        self.box.setReadOnly(busy)  # so that the labels are those of the texts in it
        self.stop.setVisible(busy)
        self.send.setVisible(not busy)
        self.send.setEnabled(not self.box.document().isEmpty() and self.runs.count() > 0)
        self.runs.setEnabled(not busy)

    def _show_result(self, texts: Sequence[str], predicted: events.TextsClassified | None) -> None:
        self._predicted = predicted
        self.answered.setVisible(predicted is not None)
        if predicted is None:
            return
        notes = self._describe_limits(predicted.cut)
        self.note.setText("\n".join(notes))
        self.note.setVisible(bool(notes))
        self.texts.setVisible(len(texts) > 1)
        self.texts.show_rows(
            [
                _make_text_row(text, predicted.labels, values)
                for text, values in zip(texts, predicted.probabilities, strict=True)
            ]
        )
        self.texts.setCurrentCell(0, 0)
        self._show_selected()

    def _describe_limits(self, cut: int) -> list[str]:
        """Return notes about texts and parts of them that weren't classified."""
        notes = []
        if self._has_more:
            notes.append(
                tr(
                    "Only the first {count} texts were classified. To classify a whole file, run {command}."
                ).format(
                    count=formatting.format_number(_MAX_TEXTS),
                    command="lora-studio classify --file",
                )
            )
        if cut:
            notes.append(
                tr_n(
                    "{n} text is longer than the max. sequence length; only its beginning was classified.",
                    "{n} texts are longer than the max. sequence length; only their beginning was classified.",
                    cut,
                )
            )
        return notes

    def _show_selected(self) -> None:
        """Show the probability of each label for the selected text."""
        if self._predicted is None:
            return
        at = max(0, self.texts.currentRow())
        values = self._predicted.probabilities[at : at + 1]
        ranked = sorted(
            zip(values[0], self._predicted.labels, strict=True) if values and values[0] else (),
            reverse=True,
        )
        self.labels.show_rows(
            [BarRow(name, value, (formatting.format_percent(value),)) for value, name in ranked]
        )


def _make_text_row(text: str, labels: Sequence[str], values: Sequence[float]) -> BarRow:
    if not values:
        return BarRow(text, 0.0, ("–", "–"))
    best = max(values)
    return BarRow(text, best, (labels[values.index(best)], formatting.format_percent(best)))
