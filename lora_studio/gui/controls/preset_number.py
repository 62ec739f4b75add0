"""A number with buttons for common values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtWidgets import QHBoxLayout, QWidget

from lora_studio.core.spec import FieldFacts
from lora_studio.gui.controls.choices import SegmentsControl
from lora_studio.gui.controls.controls import Control, LineControl
from lora_studio.gui.theme import Spacing


class PresetNumberControl(Control):
    """A line edit with a button for each preset; both always show the same value."""

    def __init__(
        self, about: FieldFacts, presets: Mapping[str, float], parent: QWidget | None = None
    ) -> None:
        """Create the buttons; `presets` maps their labels to values."""
        super().__init__(parent)
        self._presets = dict(presets)
        self._value: Any = None
        self.buttons = SegmentsControl({words: words for words in presets})
        self.line = LineControl(about)
        self.setFocusProxy(self.line.line)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.M)
        layout.addWidget(self.buttons)
        layout.addWidget(self.line, 1)
        self.buttons.edited.connect(lambda words: self.apply_choice(self._presets[words]))
        self.line.edited.connect(self.apply_choice)
        self.line.left.connect(self.left)

    def set_presets(self, values: Mapping[str, float]) -> None:
        """Change the values of the buttons, such as multiples of another field."""
        self._presets.update(values)
        self.show_value(self._value)

    def show_value(self, value: Any) -> None:
        """Show a value on the line, and check its button if there is one."""
        self._value = value
        self.line.show_value(value)
        match = next((title for title, preset in self._presets.items() if preset == value), "")
        self.buttons.show_value(match)

    def commit(self) -> None:
        """Apply what was typed."""
        self.line.commit()
