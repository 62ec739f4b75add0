"""A card over a chart with the values at one step."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtWidgets import QFrame, QLabel, QVBoxLayout

from lora_studio.gui import theme
from lora_studio.gui.plots import curve_labels
from lora_studio.gui.plots.curve_chart import CurveChart, measure_axis_width
from lora_studio.gui.theme import Spacing


@dataclass(frozen=True)
class ReadoutValue:
    """A line of the readout: name, value as text, and a mark in the color of its curve."""

    name: str
    text: str
    color: str = ""
    mark: str = ""


class Readout(QFrame):
    """A card that floats in an upper corner of a chart."""

    def __init__(self, chart: CurveChart) -> None:
        """Create the card, hidden, below the caption of the chart."""
        super().__init__(chart)
        self.setProperty("surface", "card")
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._text = QLabel(textFormat=Qt.TextFormat.RichText)
        self._text.setProperty("role", "caption")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(Spacing.M, Spacing.S, Spacing.M, Spacing.S)
        layout.addWidget(self._text)
        self._words, self._is_left = "", True
        self._chart = chart
        chart.installEventFilter(self)
        self.hide()

    def text(self) -> str:
        """Return the shown values as one sentence, "" while hidden."""
        return self._words

    def show_values(self, head: str, values: list[ReadoutValue], *, at: float) -> None:
        """Show a heading and values on the right, or on the left if
        the step that is read out would be covered."""
        self._words = "  ·  ".join([head, *(f"{v.name} {v.text}".strip() for v in values)])
        ink = theme.get_palette().text
        lines = "".join(
            f'<tr><td style="color:{v.color}">{v.mark or "&nbsp;"}</td>'
            f'<td style="padding-left:6px">{escape(v.name)}</td>'
            f'<td align="right" style="padding-left:14px; color:{ink}">{escape(v.text)}</td></tr>'
            for v in values
        )
        self._text.setText(f'<div style="color:{ink}">{escape(head)}</div><table>{lines}</table>')
        self.adjustSize()
        low, high = self._chart.get_x_range()
        width = self._chart.width()
        pixel = measure_axis_width() + (at - low) / max(high - low, 1e-9) * (
            width - measure_axis_width()
        )
        self._is_left = pixel > self._get_left_edge() - Spacing.M
        self._move_to_corner()
        self.show()
        self.raise_()

    def clear(self) -> None:
        """Hide the readout."""
        self._words = ""
        self.hide()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Stay in the corner when the chart is resized."""
        if event.type() == QEvent.Type.Resize and self.isVisible():
            self._move_to_corner()
        return super().eventFilter(watched, event)

    def _move_to_corner(self) -> None:
        lowest = max(0, self._chart.height() - self.height())
        top = min(Spacing.S + self._chart.measure_caption_height(), lowest)
        self.move(
            measure_axis_width() + Spacing.M if self._is_left else self._get_left_edge(),
            top if self._is_left else Spacing.S,
        )

    def _get_left_edge(self) -> int:
        """Return the left edge for a card on the right, next to the letters of runs."""
        letters = curve_labels.measure_margin() if self._chart.has_letters else 0
        return self._chart.width() - self.width() - Spacing.M - letters
