"""Live curves of a training run: loss or mean reward, one further quantity, and earlier runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PySide6.QtCore import QTimer, Signal
from PySide6.QtGui import QHideEvent, QShowEvent
from PySide6.QtWidgets import QVBoxLayout, QWidget

from lora_studio.core.messages import counted, listed, text
from lora_studio.gui import theme
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.plots import metrics
from lora_studio.gui.plots.curve_chart import CurveChart
from lora_studio.gui.plots.drawing import MARK_GLYPHS, Drawing
from lora_studio.gui.plots.history import Values
from lora_studio.gui.plots.plot_bar import PlotBar
from lora_studio.gui.plots.run_curves import RunCurves
from lora_studio.gui.plots.step_plot import Entry, ReadoutValue, StepPlot, read_traces
from lora_studio.gui.plots.trace import MARK_NAMES, mark_color
from lora_studio.gui.text_size import set_scaled_sizes
from lora_studio.gui.theme import Spacing

#: Milliseconds between two repaints of a chart that receives data continuously.
REDRAW_EVERY = 250


class LossPlot(StepPlot):
    """Plots the metrics of a training run; repaints on a timer if there are new points.

    Signals:
        save_picture_clicked, save_values_clicked: save the curves as an image or a CSV file.
        compare_opened: the menu of other runs opens; `bar.set_runs` fills it.
        compare_chosen(paths): the other runs to show.
        redrawn: the loss chart was repainted; the strip follows a moment later.
    """

    save_picture_clicked = Signal()
    save_values_clicked = Signal()
    redrawn = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create an empty plot."""
        caption = metrics.get_metric("loss").label
        super().__init__(caption, tr("The curve starts at the first step."), parent)
        self.run = RunCurves(tr("this run"))
        self.others: list[RunCurves] = []
        self.redraws = 0
        self._new = False
        self._timer = QTimer(self, interval=REDRAW_EVERY, singleShot=True)
        self._timer.timeout.connect(self._redraw)
        # Separate timers, because both charts at once would block the event loop twice as long.
        self._strip_timer = QTimer(self, interval=REDRAW_EVERY // 2, singleShot=True)
        self.strip = CurveChart("")
        self.drawing = Drawing(self.chart, self.strip, self.run)
        self._strip_timer.timeout.connect(self.drawing.refresh_strip)
        self.bar = PlotBar(self.show_all)
        self._build_layout()
        self._wire()
        self._show_strip(self.bar.get_shown_metric())
        self._describe()

    # --- data ---------------------------------------------------------------------------------

    def add_event(self, event: object) -> None:
        """Add the data of an event."""
        if self.run.add_event(event):
            self._on_changed()

    def set_notes(self, steps: Sequence[int]) -> None:
        """Mark the steps that the user's notes mention."""
        if self.run.set_notes(steps):
            self._on_changed()

    def clear(self) -> None:
        """Remove all data and other runs."""
        self.run.clear()
        self.set_others([])
        self.read_at(None)
        self.chart.show_all()
        self._on_changed()

    def set_others(self, runs: Sequence[RunCurves]) -> None:
        """Show other runs for comparison; their order decides the colors."""
        self.others = list(runs)
        self.drawing.set_others(self.others)
        self._redraw()

    # --- reading values -----------------------------------------------------------------------

    def list_charts(self) -> list[CurveChart]:
        """Return both charts."""
        return [self.chart, self.strip]

    def find_step(self, step: float) -> float | None:
        """Return the nearest step of the run that is read."""
        history = self._get_run().steps
        index = history.find_nearest(step)
        return None if index is None else float(history.steps[index])

    def get_readable_steps(self) -> Values:
        """Return the steps of the run that is read."""
        return self._get_run().steps.steps

    def _get_run(self) -> RunCurves:
        """Return the run whose steps are read: this one if it has steps, or else another."""
        return next((run for run in (self.run, *self.others) if len(run.steps)), self.run)

    def list_values(self, at: float) -> list[ReadoutValue]:
        """Return the values of all curves at a step, and what happened there."""
        low, high = self.chart.get_x_range()
        reach = max(0.5, 0.006 * (high - low))
        palette = theme.get_palette()
        marks = [
            ReadoutValue(tr(MARK_NAMES[kind]), "", mark_color(kind, palette), MARK_GLYPHS[kind])
            for kind in self.run.list_marks_near(at, reach)
        ]
        return [*read_traces(self.drawing.list_shown_traces(), at, reach), *marks]

    # --- painting -----------------------------------------------------------------------------

    def showEvent(self, event: QShowEvent) -> None:
        """Draw the data that arrived while the plot was hidden."""
        super().showEvent(event)
        if self._new:
            self._redraw()

    def hideEvent(self, event: QHideEvent) -> None:
        """Stop repainting."""
        super().hideEvent(event)
        self._timer.stop()
        self._strip_timer.stop()

    def redraw_now(self) -> None:
        """Repaint without waiting for the timer."""
        self._timer.stop()
        if self._new:
            self._redraw()
        if self._strip_timer.isActive():
            self._strip_timer.stop()
            self.drawing.refresh_strip()

    def _on_changed(self) -> None:
        self._new = True
        if self.isVisible() and not self._timer.isActive():
            self._timer.start()

    def _redraw(self) -> None:
        self._new = False
        self.redraws += 1
        self.bar.offer(self.run.steps.names, self.run.main)
        self.drawing.refresh()
        self._strip_timer.start()
        self.empty.setVisible(self.chart.get_step_range() is None)
        self.legend.set_entries(self.list_entries())
        self._describe()
        self.redrawn.emit()

    def list_entries(self) -> list[Entry]:
        """Return the legend: curves, then marks."""
        marks: list[Entry] = [
            (tr(MARK_NAMES[kind]), MARK_GLYPHS[kind], _make_mark_color(kind))
            for kind in self.run.mark_kinds()
        ]
        return [*self.drawing.list_entries(), *marks]

    def _show_strip(self, name: str) -> None:
        self.strip.setVisible(bool(name))
        self.chart.show_steps_axis(not name)
        self.drawing.set_metric(name)
        self._describe()

    def _describe(self) -> None:
        """Describe the curve for screen readers."""
        steps, main = self.run.steps, self.run.main
        self.setAccessibleName(tr("Reward curve") if self.run.has_rewards else tr("Loss curve"))
        if not len(steps):
            self.setAccessibleDescription(tr("No steps yet."))
            return
        last = np.array([len(steps) - 1])
        curve = steps.get_curve(main)
        smooth = float(curve.compute_mean(last, self.drawing.get_smoothing_width(curve))[0])
        sentences = [
            counted(
                len(steps),
                "{n} step; the smoothed mean reward is {value:loss}.",
                "{n} steps; the smoothed mean reward is {value:loss}.",
                value=smooth,
            )
            if self.run.has_rewards
            else counted(
                len(steps),
                "{n} step; the smoothed loss is {loss:loss}.",
                "{n} steps; the smoothed loss is {loss:loss}.",
                loss=smooth,
            )
        ]
        if len(self.run.evaluations):
            value = float(self.run.evaluations.values(main)[-1])
            sentences.append(
                text("The eval reward is {value:loss}.", value=value)
                if self.run.has_rewards
                else text("The eval loss is {loss:loss}.", loss=value)
            )
        if self.others:
            names = listed([run.name for run in self.others])
            sentences.append(text("Compared with {runs}.", runs=names))
        self.setAccessibleDescription(" ".join(map(localize, sentences)))

    # --- building -----------------------------------------------------------------------------

    def _build_layout(self) -> None:
        set_scaled_sizes(self.strip, at_least=92)
        self.strip.setMaximumHeight(150)
        self.strip.follow(self.chart)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.S)
        layout.addWidget(self.bar)
        layout.addWidget(self.legend)
        layout.addWidget(self.chart, 3)
        layout.addWidget(self.strip, 1)

    def _wire(self) -> None:
        self.bar.measure_chosen.connect(self._show_strip)
        self.bar.smoothing.valueChanged.connect(lambda _: self._on_smoothing_chosen())
        self.bar.log_toggled.connect(self.chart.set_log)
        self.bar.save_picture.triggered.connect(self.save_picture_clicked)
        self.bar.save_values.triggered.connect(self.save_values_clicked)
        self.strip.pointed.connect(self.read_at)

    def _on_smoothing_chosen(self) -> None:
        self.drawing.set_smoothing(self.bar.smoothing.share)
        self._describe()


def _make_mark_color(kind: str) -> Callable[[theme.ColorPalette], str]:
    return lambda palette: mark_color(kind, palette)  # type: ignore[arg-type]  # a kind of mark, as a plot knows it
