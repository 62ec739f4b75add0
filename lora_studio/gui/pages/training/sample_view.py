"""Answers of the base model beside those of the tuned one, as they were after any evaluation."""

from __future__ import annotations

import re

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QComboBox, QFrame, QGridLayout, QScrollArea, QVBoxLayout, QWidget

from lora_studio.core import formatting
from lora_studio.core.protocol import events
from lora_studio.core.protocol.commands import TextSource
from lora_studio.gui.language import mark, tr
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import label, row

_NAMES: dict[TextSource, str] = {
    "base": mark("Base"),
    "tuned": mark("Tuned"),
    "merged": mark("Merged"),
    "gguf": mark("GGUF"),
    "ollama": mark("Ollama"),
}
#: A piece of a word that is broken behind.
_LONG = re.compile(r"\S{24}")
_Answers = dict[tuple[int, TextSource], str]


class SampleView(QScrollArea):
    """One line per prompt, one column per model; columns appear as answers come.

    Answers of a training are kept for every evaluation; the newest are shown until the user wants
    those of another step.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        """Empty until the first answer."""
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setAccessibleName(tr("Samples"))
        self._answers: _Answers = {}
        self._by_step: dict[int, _Answers] = {}
        self._prompts: dict[int, str] = {}
        self.steps = QComboBox()
        self.steps.setAccessibleName(tr("Evaluation to show the answers of"))
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
        """Shows an answer; a later one to the same prompt at the same step replaces it."""
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
        """Forgets all answers."""
        self._answers, self._by_step, self._prompts = {}, {}, {}
        self.steps.clear()
        self.steps.hide()
        self._fill()

    def answers(self) -> _Answers:
        """What is shown, by prompt and model."""
        return self._answers | self._by_step.get(self.steps.currentData(), {})

    def _add_step(self, step: int) -> None:
        """An evaluation that a resumed training repeats takes the place of the one before it."""
        if step in self._by_step:
            return
        was_newest = self.steps.currentIndex() == self.steps.count() - 1
        self._by_step[step] = {}
        self.steps.addItem(tr("After step {step}").format(step=formatting.number(step)), step)
        self.steps.setVisible(True)
        if was_newest:
            self.steps.setCurrentIndex(self.steps.count() - 1)

    def _fill(self, *_: object) -> None:
        while (item := self._grid.takeAt(0)) is not None:
            if (old := item.widget()) is not None:
                old.hide()
                old.deleteLater()
        answers = self.answers()
        sources = [source for source in _NAMES if any(key[1] == source for key in answers)]
        for column, source in enumerate(sources, start=1):
            self._grid.addWidget(label(tr(_NAMES[source]), "caption"), 0, column)
            self._grid.setColumnStretch(column, 1)
        for line, index in enumerate(sorted({key[0] for key in answers}), start=1):
            prompt = self._prompts.get(index)
            asked = label(prompt or str(index + 1), "caption", wrap=prompt is not None)
            self._grid.addWidget(asked, line, 0, Qt.AlignmentFlag.AlignTop)
            for column, source in enumerate(sources, start=1):
                text = answers.get((index, source), "")
                said = label(_breakable(text), wrap=True)
                said.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeading)
                self._grid.addWidget(said, line, column)
        self._grid.setColumnStretch(0, 1 if self._prompts else 0)


def _breakable(text: str) -> str:
    """Words too long for a line of their own may be broken: a label cannot do that by itself."""
    return _LONG.sub("\\g<0>\N{ZERO WIDTH SPACE}", text)
