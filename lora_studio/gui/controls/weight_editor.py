"""Editor of the weight of one adapter."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QValidator
from PySide6.QtWidgets import QDoubleSpinBox

from lora_studio.gui.language import tr
from lora_studio.gui.text_size import set_scaled_sizes
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import WheelNeedsFocus

#: The largest weight that can be entered, and the smallest below 0.
LARGEST_WEIGHT = 10.0


class DecimalEditor(QDoubleSpinBox):
    """A spin box that takes both a point and a comma as the decimal mark, in every language."""

    def validate(self, text: str, position: int) -> tuple[QValidator.State, str, int]:
        """Return whether a text is a number, and the text with the language's decimal mark."""
        return super().validate(self._use_decimal_mark(text), position)

    def valueFromText(self, text: str) -> float:
        """Return the number that a text represents."""
        return super().valueFromText(self._use_decimal_mark(text))

    def _use_decimal_mark(self, text: str) -> str:
        return text.replace(",", ".").replace(".", self.locale().decimalPoint())


class WeightEditor(WheelNeedsFocus, DecimalEditor):
    """A spin box that ignores the wheel without focus, so that scrolling a page changes nothing."""

    def __init__(self, value: float, name: str) -> None:
        """Create the editor of a weight; `name` is the adapter, for accessibility."""
        super().__init__(
            decimals=2, minimum=-LARGEST_WEIGHT, maximum=LARGEST_WEIGHT, singleStep=0.1
        )
        # WORKAROUND: with NoButtons, a style sheet shrinks the inner line edit to a width of one pixel.
        # The window's style sheet sets the width of the buttons to zero instead.
        set_scaled_sizes(self, width=64)
        self.lineEdit().setTextMargins(Spacing.S, 0, Spacing.XS, 0)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setKeyboardTracking(False)  # one change per number, not per digit
        self.setAccessibleName(tr("Weight of {name}").format(name=name))
        self.setValue(value)
