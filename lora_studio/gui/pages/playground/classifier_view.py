"""Try a classifier: texts in, labels with their probabilities out."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QComboBox, QPlainTextEdit, QVBoxLayout, QWidget

from lora_studio.core import formatting
from lora_studio.core.protocol import events
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.pages.playground.classifier_controller import (
    ClassifierController,
    ClassifierRun,
)
from lora_studio.gui.text_size import set_scaled_sizes
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.bar_table import BarRow, BarTable
from lora_studio.gui.widgets.basics import Card, button, label, row

_BOX_HEIGHT, _TEXT_WIDTH = 110, 520


class ClassifierView(QWidget):
    """A text box and, below it, the predicted labels; several lines are several texts.

    Signals:
        run_chosen: another classifier was chosen.
    """

    run_chosen = Signal()

    def __init__(self, controller: ClassifierController, parent: QWidget | None = None) -> None:
        """Start without a classifier."""
        super().__init__(parent)
        self.controller = controller
        self._predicted: events.TextsClassified | None = None
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
        self.box.textChanged.connect(lambda: self._show_busy(controller.link.busy))
        self.texts.itemSelectionChanged.connect(self._show_selected)
        self.runs.activated.connect(self._on_run_chosen)

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

    def choose_run(self, folder: str) -> None:
        """Choose the classifier of a run."""
        for index in range(self.runs.count()):
            if self.runs.itemData(index).folder == folder:
                self.runs.setCurrentIndex(index)
                self._show_result((), None)

    def classify(self) -> None:
        """Classify each line that isn't empty."""
        lines = [line for line in self.box.toPlainText().splitlines() if line.strip()]
        run = self.runs.currentData()
        if isinstance(run, ClassifierRun):
            self.controller.classify(run.folder, lines)

    def _on_run_chosen(self) -> None:
        self._show_result((), None)
        self.run_chosen.emit()

    def _show_busy(self, busy: bool) -> None:
        self.stop.setVisible(busy)
        self.send.setVisible(not busy)
        self.send.setEnabled(bool(self.box.toPlainText().strip()) and self.runs.count() > 0)
        self.runs.setEnabled(not busy)

    def _show_result(self, texts: Sequence[str], predicted: events.TextsClassified | None) -> None:
        self._predicted = predicted
        self.answered.setVisible(predicted is not None)
        if predicted is None:
            return
        self.note.setText(
            tr_n(
                "{n} text is longer than the max. sequence length; only its beginning was classified.",
                "{n} texts are longer than the max. sequence length; only their beginning was classified.",
                max(1, predicted.cut),
            )
        )
        self.note.setVisible(predicted.cut > 0)
        self.texts.setVisible(len(texts) > 1)
        self.texts.show_rows(
            [
                _make_text_row(text, predicted.labels, values)
                for text, values in zip(texts, predicted.probabilities, strict=True)
            ]
        )
        self.texts.setCurrentCell(0, 0)
        self._show_selected()

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
