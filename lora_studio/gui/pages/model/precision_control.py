"""Editor of the base model's precision: three cards, and the data type behind the 16-bit card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtWidgets import QVBoxLayout, QWidget

from lora_studio.core import formatting
from lora_studio.core.memory.estimate import estimate
from lora_studio.core.memory.model_fit import with_least_memory
from lora_studio.core.memory.plan import MemoryPlan
from lora_studio.gui.controls.cards import CardOption, CardsControl
from lora_studio.gui.controls.choices import ComboControl
from lora_studio.gui.controls.controls import Control, name_control
from lora_studio.gui.language import mark, tr
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import label, row

_FULL = "16bit"
#: Values of the setting that the 16-bit card represents, with their labels.
_FORMATS = {
    "auto": mark("Best for this device"),
    "bf16": "bfloat16",
    "fp16": "float16",
    "fp32": "float32",
}
_CARDS = (
    CardOption(_FULL, mark("16-bit"), mark("Full precision, fastest")),
    CardOption("8bit", mark("8-bit"), mark("Up to 50 % less memory, very little quality loss")),
    CardOption("4bit", mark("4-bit"), mark("Up to 75 % less memory, small quality loss (QLoRA)")),
)


class PrecisionControl(Control):
    """Edits `ModelSpec.precision`."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create the cards; the data type is shown only while the 16-bit card is selected."""
        super().__init__(parent)
        self._value: Any = "auto"
        self.cards = CardsControl(_CARDS)
        self.formats = ComboControl(_FORMATS)
        name_control(self.formats, tr("Data type"))
        self._format_row = QWidget()
        self._format_row.setLayout(row(label(tr("Data type"), "muted"), self.formats, None))
        self.setFocusProxy(self.cards)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.M)
        layout.addWidget(self.cards)
        layout.addWidget(self._format_row)
        self.cards.edited.connect(self._on_card_chosen)
        self.formats.edited.connect(self.apply_choice)

    def show_value(self, value: Any) -> None:
        """Show a precision."""
        self._value = value
        full = isinstance(value, str) and value in _FORMATS
        self.cards.show_value(_FULL if full else value)
        self.formats.show_value(value if full else "")
        self._format_row.setVisible(full)

    def show_memory(self, notes: Mapping[str, str]) -> None:
        """Show the memory that each precision needs, "auto" among them; a missing entry shows nothing."""
        precise = self._value if self._value in ("bf16", "fp16", "fp32") else "auto"
        self.cards.set_note(_FULL, notes.get(precise) or notes.get("bf16", ""))
        for value in ("8bit", "4bit"):
            self.cards.set_note(value, notes.get(value, ""))

    def set_quantized_available(self, available: bool, why_not: str) -> None:
        """Enable or disable 8-bit and 4-bit for this model."""
        for value in ("8bit", "4bit"):
            self.cards.set_available(value, available, why_not)

    def _on_card_chosen(self, value: str) -> None:
        self.apply_choice("auto" if value == _FULL else value)


def describe_fit(weights: str, plan: MemoryPlan) -> str:
    """Return the memory of the weights, and whether training fits: with the current settings, or with the least."""
    needed = estimate(plan)
    if needed.fits:
        return tr("{weights} ✓ fits").format(weights=weights)
    if estimate(with_least_memory(plan)).fits:
        return tr("{weights} · fits with reduced memory use").format(weights=weights)
    return tr("{weights} ⚠ training needs {memory}").format(
        weights=weights, memory=formatting.format_memory(needed.total)
    )
