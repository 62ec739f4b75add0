"""Answers of the base model beside those of the tuned one."""

from __future__ import annotations

from PySide6.QtWidgets import QFrame, QGridLayout, QScrollArea, QVBoxLayout, QWidget

from lora_studio.core import events
from lora_studio.core.commands import TextSource
from lora_studio.gui.theme import Space
from lora_studio.gui.widgets.basics import label

_NAMES: dict[TextSource, str] = {
    "base": "Base",
    "tuned": "Tuned",
    "merged": "Merged",
    "gguf": "GGUF",
    "ollama": "Ollama",
}


class SampleView(QScrollArea):
    """One line per conversation, one column per model; columns appear as answers come."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Empty until the first answer."""
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setAccessibleName("Samples")
        self._answers: dict[tuple[int, TextSource], str] = {}
        inner = QWidget()
        inner.setObjectName("scrolled")
        outer = QVBoxLayout(inner)
        outer.setContentsMargins(0, 0, 0, 0)
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(Space.XL)
        self._grid.setVerticalSpacing(Space.M)
        outer.addLayout(self._grid)
        outer.addStretch(1)
        self.setWidget(inner)

    def add(self, event: events.Generated) -> None:
        """Shows an answer; a later one to the same conversation replaces it."""
        self._answers[(event.index, event.source)] = event.text
        self._fill()

    def clear(self) -> None:
        """Forgets all answers."""
        self._answers = {}
        self._fill()

    def answers(self) -> dict[tuple[int, TextSource], str]:
        """What is shown, by conversation and model."""
        return dict(self._answers)

    def _fill(self) -> None:
        while (item := self._grid.takeAt(0)) is not None:
            if (old := item.widget()) is not None:
                old.hide()
                old.deleteLater()
        sources = [source for source in _NAMES if any(key[1] == source for key in self._answers)]
        for column, source in enumerate(sources, start=1):
            self._grid.addWidget(label(_NAMES[source], "caption"), 0, column)
            self._grid.setColumnStretch(column, 1)
        for row, index in enumerate(sorted({key[0] for key in self._answers}), start=1):
            self._grid.addWidget(label(str(index + 1), "caption"), row, 0)
            for column, source in enumerate(sources, start=1):
                text = self._answers.get((index, source), "")
                self._grid.addWidget(label(text, wrap=True), row, column)
