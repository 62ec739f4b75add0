"""List of the models on an Ollama server, with buttons to copy and remove them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QGridLayout, QWidget

from lora_studio.core import formatting
from lora_studio.core.protocol import events
from lora_studio.gui.language import tr
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import label, tool_button


class OllamaModels(QWidget):
    """Shows one row per model.

    Signals:
        copy_clicked(name), remove_clicked(name): copy or remove a model.
    """

    copy_clicked = Signal(str)
    remove_clicked = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start without models."""
        super().__init__(parent)
        self.names: list[str] = []
        self._shown: tuple[events.OllamaModel, ...] = ()
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(Spacing.M)
        self._grid.setVerticalSpacing(Spacing.XS)
        self._grid.setColumnStretch(0, 1)

    def show_models(self, models: Sequence[events.OllamaModel]) -> None:
        """Rebuild the rows if the models have changed."""
        if tuple(models) == self._shown:
            return
        self._shown = tuple(models)
        self.names = [model.name for model in models]
        while self._grid.count():
            item = self._grid.takeAt(0)
            if item is not None and (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        for line, model in enumerate(models):
            self._add(line, model)

    def _add(self, line: int, model: events.OllamaModel) -> None:
        name = model.name
        facts = f"{formatting.format_size(model.bytes)}  {model.quantization}".strip()
        parts = (
            label(name),
            label(facts, "muted"),
            tool_button(
                "copy", tr("Copy {name}").format(name=name), partial(self.copy_clicked.emit, name)
            ),
            tool_button(
                "trash",
                tr("Remove {name}").format(name=name),
                partial(self.remove_clicked.emit, name),
            ),
        )
        for column, part in enumerate(parts):
            self._grid.addWidget(part, line, column)
