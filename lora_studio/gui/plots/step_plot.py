"""A curve chart whose values can be read and zoomed by keyboard."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QAccessible, QAccessibleAnnouncementEvent, QKeyEvent
from PySide6.QtWidgets import QFrame, QLabel, QSlider, QVBoxLayout, QWidget

from lora_studio.core import formatting
from lora_studio.gui import theme
from lora_studio.gui.language import tr
from lora_studio.gui.plots.curve_chart import CurveChart, measure_axis_width
from lora_studio.gui.plots.run_curves import Curve, Values
from lora_studio.gui.plots.trace import Trace, measure_margin
from lora_studio.gui.theme import ColorPalette, Spacing
from lora_studio.gui.widgets.basics import FlowLayout, FocusFrame, button, label
from lora_studio.gui.widgets.tooltips import plain_tip


class StepPlot(FocusFrame):
    """A chart with a legend, and a readout of one step, chosen with the mouse or the keyboard."""

    def __init__(self, caption: str, empty: str, parent: QWidget | None = None) -> None:
        """Create an empty chart with a caption; `empty` is shown while there are no curves."""
        super().__init__(parent)
        self.chart = CurveChart(caption)
        self.readout, self.legend = Readout(self.chart), Legend()
        self._reading: float | None = None
        self.empty = label(empty, "muted", wrap=True)
        self.empty.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        over = QVBoxLayout(self.chart.view)
        over.addWidget(self.empty, 0, Qt.AlignmentFlag.AlignCenter)
        self.show_all = button(tr("Show all"), self.chart.show_all, kind="link", role="accent")
        self.show_all.hide()
        self.chart.pointed.connect(self.read_at)
        self.chart.following_changed.connect(
            lambda: self.show_all.setVisible(not self.chart.following)
        )

    def read_at(self, step: float | None) -> None:
        """Show the values nearest to a step; None hides them."""
        at = None if step is None else self.find_step(step)
        self._reading = at
        for chart in self.list_charts():
            chart.set_cursor(at)
        if at is None:
            self.readout.clear()
            return
        head = tr("step {step}").format(step=formatting.format_number(int(at)))
        self.readout.show_values(head, self.list_values(at), at=at)

    def list_charts(self) -> list[CurveChart]:
        """Return the charts that show the step that is read."""
        return [self.chart]

    def find_step(self, step: float) -> float | None:
        """Return the nearest step with values, None without any."""
        raise NotImplementedError

    def list_values(self, at: float) -> list[ReadoutValue]:
        """Return the values at a step."""
        raise NotImplementedError

    def get_readable_steps(self) -> Values:
        """Return the steps that the arrow keys visit, ascending."""
        raise NotImplementedError

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Read values with the arrow keys, Home and End; zoom with +, - and 0."""
        if not self._read_by_key(event) and not self._zoom_by_key(event.text()):
            super().keyPressEvent(event)

    def _read_by_key(self, event: QKeyEvent) -> bool:
        steps, current = self.get_readable_steps(), self._reading
        count = len(steps)
        is_far = event.modifiers() & Qt.KeyboardModifier.ShiftModifier
        stride = max(1, count // 100) if is_far else 1
        match event.key():
            case Qt.Key.Key_Left:
                after = count if current is None else int(np.searchsorted(steps, current))
                index = after - (1 if current is None else stride)
            case Qt.Key.Key_Right:
                before = (
                    -1 if current is None else int(np.searchsorted(steps, current, "right")) - 1
                )
                index = before + (1 if current is None else stride)
            case Qt.Key.Key_Home:
                index = 0
            case Qt.Key.Key_End:
                index = count - 1
            case Qt.Key.Key_Escape if current is not None:
                self.read_at(None)
                return True
            case _:
                return False
        if count:
            self.read_at(float(steps[min(max(index, 0), count - 1)]))
            QAccessible.updateAccessibility(QAccessibleAnnouncementEvent(self, self.readout.text()))
        return True

    def _zoom_by_key(self, text: str) -> bool:
        match text:
            case "+":
                self.chart.zoom(0.5)
            case "-":
                self.chart.zoom(2.0)
            case "0":
                self.chart.show_all()
            case "," | ".":
                self.chart.pan(0.25 if text == "." else -0.25)
            case _:
                return False
        return True


@dataclass(frozen=True)
class ReadoutValue:
    """A line of the readout: name, value as text, and a mark in the color of its curve."""

    name: str
    text: str
    color: str = ""
    mark: str = ""


def read_traces(traces: Sequence[Trace], at: float, reach: float = math.inf) -> list[ReadoutValue]:
    """Return the values of traces at a step, as far as they have one."""
    palette = theme.get_palette()
    return [
        ReadoutValue(trace.title, trace.metric.format(value), trace.look.color(palette), trace.mark)
        for trace in traces
        if (value := trace.get_value_near(at, reach)) is not None
    ]


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
        letters = measure_margin() if self._chart.has_letters else 0
        return self._chart.width() - self.width() - Spacing.M - letters


#: The name of a curve, its mark, and its color in a palette.
Entry = tuple[str, str, Callable[[ColorPalette], str]]


class Legend(QWidget):
    """Legend entries side by side, wrapped into rows."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create an empty legend."""
        super().__init__(parent)
        self._flow = FlowLayout(self, Spacing.L)
        self._keys: list[_Key] = []

    def set_entries(self, entries: Sequence[Entry]) -> None:
        """Replace all entries; does nothing if they are equal."""
        if [key.entry[:2] for key in self._keys] == [entry[:2] for entry in entries]:
            return
        for key in self._keys:
            self._flow.removeWidget(key)
            key.hide()
            key.deleteLater()
        self._keys = [_Key(entry, self) for entry in entries]
        for key in self._keys:
            self._flow.addWidget(key)
            key.show()

    def list_names(self) -> list[str]:
        """Return the shown names."""
        return [key.entry[0] for key in self._keys]


class _Key(QLabel):
    def __init__(self, entry: Entry, parent: QWidget) -> None:
        super().__init__(parent, textFormat=Qt.TextFormat.RichText)
        self.setProperty("role", "caption")
        self.setContentsMargins(2, 0, 0, 0)
        self.entry = entry
        self._refresh_color()
        theme.get_theme().changed.connect(self._refresh_color)

    def _refresh_color(self) -> None:
        name, mark, color = self.entry
        tint = color(theme.get_palette())
        self.setText(f'<span style="color:{tint}">{mark}</span>&nbsp; {escape(name)}')


#: Stops of the slider: shares of all steps to average over.
SMOOTHING = (0.0, 0.005, 0.01, 0.02, 0.04, 0.08, 0.12, 0.16, 0.24)
_USUAL = 4


class SmoothingSlider(QSlider):
    """Chooses over how much of a run smoothed lines average."""

    def __init__(self) -> None:
        """Start with the usual share."""
        super().__init__(Qt.Orientation.Horizontal)
        self.setRange(0, len(SMOOTHING) - 1)
        self.setValue(_USUAL)
        self.setPageStep(2)
        self.setFixedWidth(96)
        self.setAccessibleName(tr("Smoothing"))
        self.caption = label(tr("Smoothing"), "caption")
        self.caption.setBuddy(self)
        self.valueChanged.connect(self._describe)
        self._describe()

    @property
    def share(self) -> float:
        """The share of all steps to average over; 0 turns smoothing off."""
        return SMOOTHING[self.value()]

    def get_width(self, curve: Curve) -> int:
        """Return the number of points to average over; 0 without smoothing."""
        return curve.get_window(self.share)

    def _describe(self) -> None:
        description = (
            tr("Smoothing: mean over {share} of all steps").format(
                share=formatting.format_percent(self.share)
            )
            if self.share
            else tr("Smoothing: off")
        )
        self.setToolTip(plain_tip(description))
        self.setAccessibleDescription(description)
