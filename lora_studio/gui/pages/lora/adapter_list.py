"""Editor of a list of adapters with a weight each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtWidgets import QHBoxLayout, QWidget

from lora_studio.core.lora.adapters import parse_weighted
from lora_studio.core.problems import ProblemError
from lora_studio.gui.controls.controls import Control
from lora_studio.gui.controls.weight_editor import WeightEditor
from lora_studio.gui.language import tr
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import button, column, tool_button
from lora_studio.gui.widgets.file_dialogs import choose_folder
from lora_studio.gui.widgets.glyph import ElidedLabel


class AdapterList(Control):
    """Editor of the adapters that are merged after the run's own, as strings `folder=weight`."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create an empty list with a button that adds an adapter."""
        super().__init__(parent)
        self._value: tuple[str, ...] = ()
        self.add = button(tr("Add adapter…"), self.pick, icon="folder")
        self.setFocusProxy(self.add)
        self._rows = column(spacing=Spacing.S)
        buttons = QHBoxLayout()
        buttons.addWidget(self.add)
        buttons.addStretch(1)
        layout = column(self._rows, buttons, spacing=Spacing.S)
        layout.setContentsMargins(0, 0, 0, 0)
        self.setLayout(layout)

    def show_value(self, value: Any) -> None:
        """Show a list of strings; one that isn't `folder=weight` is shown unchanged."""
        texts = value if isinstance(value, (list, tuple)) else [value] if value else []
        self._value = tuple(str(text) for text in texts)
        while (item := self._rows.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.deleteLater()
        for index, text in enumerate(self._value):
            self._rows.addWidget(self._make_row(index, text))

    def pick(self) -> None:
        """Ask for the folder of an adapter."""
        choose_folder(self.window(), tr("Choose an adapter folder"), self.add_folder)

    def add_folder(self, folder: str) -> None:
        """Add an adapter with weight 1."""
        self._set((*self._value, f"{folder}=1"))

    def _make_row(self, index: int, text: str) -> QWidget:
        try:
            adapter = parse_weighted(text)
            folder, weight = adapter.folder, adapter.weight
        except ProblemError:
            folder, weight = text, 1.0
        name = Path(folder).name or folder
        title = ElidedLabel()
        title.full = folder
        title.setText(name)
        weight_editor = WeightEditor(weight, name)
        weight_editor.valueChanged.connect(
            lambda value: self._change_entry(index, f"{folder}={value:g}")
        )
        remove = tool_button(
            "close", tr("Remove {name}").format(name=name), lambda: self._change_entry(index, None)
        )
        widget_row = QWidget()
        layout = QHBoxLayout(widget_row)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(title, 1)
        layout.addWidget(weight_editor)
        layout.addWidget(remove)
        return widget_row

    def _change_entry(self, index: int, text: str | None) -> None:
        texts = list(self._value)
        texts[index : index + 1] = [] if text is None else [text]
        self._set(tuple(texts))

    def _set(self, value: tuple[str, ...]) -> None:
        if len(value) != len(self._value):
            self.show_value(value)
        self._value = value
        self.edited.emit(list(value))
        self.left.emit()
