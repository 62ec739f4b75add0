"""The text size chosen by the user, and sizes that scale with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from PySide6.QtWidgets import QWidget

from lora_studio.gui.preferences import TextSize

#: Font sizes in device-independent pixels at 100 %.
_TYPE = {"CAPTION": 12, "BODY": 13, "SECTION": 15, "TITLE": 20}
#: Pixels that a one-line control gains in height when the text size doubles; its padding doesn't scale.
_LINE = 18
SIZES: tuple[TextSize, ...] = get_args(TextSize)


class TextSizes:
    """Font sizes in device-independent pixels at the current scale."""

    def __init__(self) -> None:
        """Start at 100 %."""
        self.percent: TextSize = 100

    @property
    def CAPTION(self) -> int:
        """Captions and notes."""
        return self.scaled(_TYPE["CAPTION"])

    @property
    def BODY(self) -> int:
        """Body text."""
        return self.scaled(_TYPE["BODY"])

    @property
    def SECTION(self) -> int:
        """Titles of cards."""
        return self.scaled(_TYPE["SECTION"])

    @property
    def TITLE(self) -> int:
        """Titles of pages."""
        return self.scaled(_TYPE["TITLE"])

    def list_tokens(self) -> dict[str, str]:
        """Return values for the style sheet by name."""
        return {f"size_{key.lower()}": f"{self.scaled(value)}px" for key, value in _TYPE.items()}

    def scaled(self, pixels: int) -> int:
        """Return a scaled width, such as that of a column of text."""
        return round(pixels * self.percent / 100)

    def scale_height(self, pixels: int) -> int:
        """Return a scaled height that holds one line of text."""
        return pixels + round(_LINE * (self.percent / 100 - 1))


#: The instance of the application; the theme changes its scale.
Size = TextSizes()


def set_scaled_sizes(
    widget: QWidget, *, width: int = 0, height: int = 0, at_least: int = 0
) -> None:
    """Set sizes that scale with the text; give them in pixels at 100 %.

    `width` and the `height` of one line are fixed; `at_least` is a minimum height for text.
    """
    widget.setProperty("sized", (width, height, at_least))
    _fix(widget)


def fit_again(widgets: Iterable[QWidget]) -> None:
    """Update the widgets with scaled sizes to the current text size."""
    for widget in widgets:
        if widget.property("sized"):
            _fix(widget)


def _fix(widget: QWidget) -> None:
    width, height, at_least = widget.property("sized")
    if width:
        widget.setFixedWidth(Size.scaled(width))
    if height:
        widget.setFixedHeight(Size.scale_height(height))
    if at_least:
        widget.setMinimumHeight(Size.scaled(at_least))
