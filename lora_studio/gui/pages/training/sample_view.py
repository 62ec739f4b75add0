"""Sample answers of the base model and the fine-tuned model, for each evaluation."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QComboBox, QFrame, QGridLayout, QScrollArea, QVBoxLayout, QWidget

from lora_studio.core import formatting
from lora_studio.core.protocol import events
from lora_studio.core.protocol.commands import TextSource
from lora_studio.gui.language import mark, tr
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import insert_breaks, label, row

_NAMES: dict[TextSource, str] = {
    "base": mark("Base model"),
    "tuned": mark("Fine-tuned"),
    "merged": mark("Merged"),
    "gguf": mark("GGUF"),
    "ollama": mark("Ollama"),
}
_Answers = dict[tuple[int, TextSource], str]


class SampleView(QScrollArea):
    """Shows a grid of answers: one row per prompt, one column per model.

    Answers are stored for every evaluation; the newest are shown until the user selects another.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start without answers."""
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setAccessibleName(tr("Samples"))
        self._answers: _Answers = {}
        self._by_step: dict[int, _Answers] = {}
        self._prompts: dict[int, str] = {}
        self.steps = QComboBox()
        self.steps.setAccessibleName(tr("Evaluation step"))
        self.steps.activated.connect(self._fill)
        inner = QWidget()
        inner.setObjectName("scrolled")
        outer = QVBoxLayout(inner)
        outer.setContentsMargins(0, 0, 0, 0)
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(Spacing.XL)
        self._grid.setVerticalSpacing(Spacing.M)
        outer.addLayout(row(self.steps, None))
        outer.addLayout(self._grid)
        outer.addStretch(1)
        self.setWidget(inner)
        self.steps.hide()

    def add(self, event: events.Generated | events.Sampled) -> None:
        """Show an answer; it replaces an earlier one to the same prompt at the same step."""
        if isinstance(event, events.Sampled):
            self._prompts[event.index] = event.prompt
            if event.source == "tuned":
                self._add_step(event.step)
                self._by_step[event.step][(event.index, "tuned")] = event.text
                self._fill()
                return
        self._answers[(event.index, event.source)] = event.text
        self._fill()

    def clear(self) -> None:
        """Remove all answers."""
        self._answers, self._by_step, self._prompts = {}, {}, {}
        self.steps.clear()
        self.steps.hide()
        self._fill()

    def get_answers(self) -> _Answers:
        """Return the answers that are shown, by prompt index and model."""
        return self._answers | self._by_step.get(self.steps.currentData(), {})

    def _add_step(self, step: int) -> None:
        """Add an evaluation; if a resumed training repeats it, its entry is reused."""
        if step in self._by_step:
            return
        was_newest = self.steps.currentIndex() == self.steps.count() - 1
        self._by_step[step] = {}
        self.steps.addItem(
            tr("After step {step}").format(step=formatting.format_number(step)), step
        )
        self.steps.setVisible(True)
        if was_newest:
            self.steps.setCurrentIndex(self.steps.count() - 1)

    def _fill(self, *_: object) -> None:
        while (item := self._grid.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        answers = self.get_answers()
        sources = [source for source in _NAMES if any(key[1] == source for key in answers)]
        for column, source in enumerate(sources, start=1):
            self._grid.addWidget(label(tr(_NAMES[source]), "caption"), 0, column)
            self._grid.setColumnStretch(column, 1)
        for line, index in enumerate(sorted({key[0] for key in answers}), start=1):
            prompt = self._prompts.get(index)
            prompt_label = label(prompt or str(index + 1), "caption", wrap=prompt is not None)
            self._grid.addWidget(prompt_label, line, 0, Qt.AlignmentFlag.AlignTop)
            for column, source in enumerate(sources, start=1):
                text = answers.get((index, source), "")
                answer_label = label(insert_breaks(text), wrap=True)
                answer_label.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeading)
                self._grid.addWidget(answer_label, line, column)
        self._grid.setColumnStretch(0, 1 if self._prompts else 0)
