"""Curves of several runs in one chart, with a choice of quantity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QCheckBox, QComboBox, QFrame, QVBoxLayout, QWidget

from lora_studio.core.messages import listed, text
from lora_studio.core.protocol import events
from lora_studio.gui import theme
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.plots import metrics
from lora_studio.gui.plots.metrics import PlottedMetric
from lora_studio.gui.plots.run_curves import Curve, RunCurves, Values
from lora_studio.gui.plots.step_plot import (
    Entry,
    ReadoutValue,
    SmoothingSlider,
    StepPlot,
    read_traces,
)
from lora_studio.gui.plots.trace import Trace, TraceStyle
from lora_studio.gui.text_size import set_scaled_sizes
from lora_studio.gui.theme import ColorPalette, Spacing
from lora_studio.gui.widgets.basics import flow_row, row

#: Maximum number of runs in one chart: the number of colors to distinguish them.
MOST = len(theme.LIGHT.series)
LETTERS = "ABCDEF"
#: Prefix of the names of evaluation quantities.
_EVAL = "eval:"
#: Minimum height of the chart in pixels; the table above it takes the rest.
_LOWEST = 110
#: Shown without runs.
_SELECT = mark("To see their curves, select runs in the table.")


def make_letter_color(index: int) -> Callable[[ColorPalette], str]:
    """Return the color of a run by its index."""
    return lambda palette: palette.series[index]


class RunOverlay(StepPlot):
    """Shows each run with a letter and a color.

    Signals:
        metric_changed(name): another quantity is shown.
    """

    metric_changed = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create an empty chart."""
        super().__init__("", tr(_SELECT), parent)
        self.runs: list[RunCurves] = []
        self._is_chosen = False
        self.choice = QComboBox(sizeAdjustPolicy=QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.choice.setAccessibleName(tr("Plotted quantity"))
        self.choice.setToolTip(tr("Metric to plot for the selected runs"))
        self.smoothing = SmoothingSlider()
        self.log = QCheckBox(tr("Logarithmic"))
        set_scaled_sizes(self.chart, at_least=_LOWEST)
        self._build_layout()
        self._offer()
        self.choice.activated.connect(self._on_chosen)
        self.smoothing.valueChanged.connect(lambda _: self._draw())
        self.log.toggled.connect(self.chart.set_log)
        self.setAccessibleName(tr("Curves of the selected runs"))
        self._draw()

    @property
    def shown_metric(self) -> str:
        """The shown quantity; `eval:` precedes the name of an evaluation."""
        return str(self.choice.currentData() or "loss")

    def set_runs(self, runs: Sequence[RunCurves]) -> None:
        """Set the runs; their order decides letters and colors."""
        self.runs = list(runs[:MOST])
        self._offer()
        self._draw()
        self.read_at(self._reading)

    # --- reading values -----------------------------------------------------------------------

    def find_step(self, step: float) -> float | None:
        """Return the nearest step of any run."""
        steps = [_get_nearest(trace.curve, step) for trace in self._list_read()]
        return min(steps, key=lambda at: abs(at - step), default=None)

    def list_values(self, at: float) -> list[ReadoutValue]:
        """Return the values of every run at a step."""
        return read_traces(sorted(self._list_read(), key=lambda trace: trace.title), at)

    def _list_read(self) -> list[Trace]:
        return [trace for trace in self.chart.traces if trace.title and len(trace.curve.steps)]

    def get_readable_steps(self) -> Values:
        """Return the steps of all runs."""
        step_arrays = [trace.curve.steps for trace in self.chart.traces if len(trace.curve.steps)]
        return np.unique(np.concatenate(step_arrays)) if step_arrays else np.empty(0)

    # --- size ---------------------------------------------------------------------------------

    def minimumSizeHint(self) -> QSize:
        """Return the size with all rows of the legend, whose number depends on the width."""
        layout = self.layout()
        assert layout is not None
        height = layout.totalMinimumHeightForWidth(self.width())
        return QSize(super().minimumSizeHint().width(), height)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Ask for the height that the legend needs at another width."""
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self.updateGeometry()

    # --- drawing ------------------------------------------------------------------------------

    def _offer(self) -> None:
        rewarded = [run.has_rewards for run in self.runs]
        usual = {"loss"} if not rewarded or not all(rewarded) else set()
        steps = {name for run in self.runs for name in run.steps.names} | {"loss"}
        evaluated = {name for run in self.runs for name in run.evaluations.names} | usual
        ordered = metrics.sort_names(steps)
        if not usual:  # their loss stays near zero
            ordered = [name for name in ordered if name != "loss"] + ["loss"]
            ordered.sort(key=lambda name: name != events.REWARD)
        offered = [ordered[0], *(_EVAL + n for n in metrics.sort_names(evaluated)), *ordered[1:]]
        if offered == [self.choice.itemData(n) for n in range(self.choice.count())]:
            return
        chosen = self.shown_metric if self._is_chosen else offered[0]
        self.choice.clear()
        for name in offered:
            self.choice.addItem(_format_title(name), name)
        self.choice.setCurrentIndex(max(0, self.choice.findData(chosen)))

    def _on_chosen(self) -> None:
        self._is_chosen = True
        self._draw()
        self.chart.show_all()
        self.metric_changed.emit(self.shown_metric)

    def _draw(self) -> None:
        name = self.shown_metric
        metric = metrics.get_metric(name.removeprefix(_EVAL))
        self.chart.set_caption(_format_title(name) if name.startswith(_EVAL) else tr(metric.label))
        self.chart.set_scale(metric.scale)
        traces = [
            trace
            for index, run in reversed(list(enumerate(self.runs)))
            for trace in self._make_traces(index, run, metric)
        ]
        self.chart.set_traces(traces)
        entries: list[Entry] = [
            (f"{LETTERS[index]}  {run.name}", "━", make_letter_color(index))
            for index, run in enumerate(self.runs)
        ]
        self.legend.set_entries(entries)
        has_any = any(len(trace.curve.steps) for trace in traces)
        self.empty.setVisible(not has_any)
        self.empty.setText(
            tr("The selected runs didn't record this.") if self.runs else tr(_SELECT)
        )
        self._describe(name)

    def _describe(self, name: str) -> None:
        """Update what a screen reader says of the plot."""
        self.setAccessibleDescription(
            localize(
                text(
                    "{metric} of {runs}",
                    metric=_format_title(name),
                    runs=listed([run.name for run in self.runs]),
                )
            )
            if self.runs
            else self.empty.text()
        )

    def _make_traces(self, index: int, run: RunCurves, metric: PlottedMetric) -> list[Trace]:
        color, tag = make_letter_color(index), LETTERS[index]
        make = partial(Trace, palette=self.chart.get_palette, metric=metric, title=tag, tag=tag)
        if self.shown_metric.startswith(_EVAL):
            curve = run.evaluations.get_curve(metric.name)
            return [make(curve, TraceStyle(color, 1.6, dots=3.0), mark="●", sparse=True)]
        curve = run.steps.get_curve(metric.name)
        if not (metric.jagged and self.smoothing.share):
            return [make(curve, TraceStyle(color, 1.2 if metric.jagged else 1.6), mark="━")]
        return [make(curve, TraceStyle(color, 2.0), smoothing=self.smoothing.get_width, mark="━")]

    def _build_layout(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.S)
        smooth = QWidget()
        smooth.setLayout(row(self.smoothing.caption, self.smoothing))
        view_options = flow_row(smooth, self.log)
        bar = row(self.choice, self.show_all, view_options)
        bar.setAlignment(view_options, Qt.AlignmentFlag.AlignVCenter)
        layout.addLayout(bar)
        layout.addWidget(self.legend)
        surface = QFrame()
        surface.setProperty("surface", "card")
        inside = QVBoxLayout(surface)
        inside.setContentsMargins(Spacing.S, Spacing.XS, Spacing.S, Spacing.XS)
        inside.addWidget(self.chart)
        layout.addWidget(surface, 1)


def _format_title(name: str) -> str:
    metric = metrics.get_metric(name.removeprefix(_EVAL))
    if not name.startswith(_EVAL):
        return tr(metric.title)
    return tr("Eval {metric}").format(metric=tr(metric.inline))


def _get_nearest(curve: Curve, step: float) -> float:
    index = curve.history.find_nearest(step)
    assert index is not None
    return float(curve.steps[index])
