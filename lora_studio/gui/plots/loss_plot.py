"""Live curves of a training run: loss or mean reward, one further quantity, and earlier runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QAction, QHideEvent, QKeySequence, QShowEvent
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QMenu, QPushButton, QVBoxLayout, QWidget

from lora_studio.core.messages import counted, listed, text
from lora_studio.gui import theme
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.plots import metrics
from lora_studio.gui.plots.curve_chart import CurveChart
from lora_studio.gui.plots.drawing import MARK_GLYPHS, MOST_OTHERS, Drawing
from lora_studio.gui.plots.run_curves import RunCurves, Values
from lora_studio.gui.plots.step_plot import (
    Entry,
    ReadoutValue,
    SmoothingSlider,
    StepPlot,
    read_traces,
)
from lora_studio.gui.plots.trace import MARK_NAMES, mark_color
from lora_studio.gui.text_size import set_scaled_sizes
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import button

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
        if self.run.series.on_event(event):
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


class PlotBar(QWidget):
    """Controls for quantity, smoothing, comparison and export; the owner draws the curves.

    Signals:
        measure_chosen(name): the quantity in the strip below the main curve, "" for none.
        log_toggled(on): how curves are drawn.
        compare_opened: the menu of other runs is about to open.
        compare_chosen(keys): the checked runs, in the order of checking.
    """

    measure_chosen = Signal(str)
    log_toggled = Signal(bool)
    compare_opened = Signal()
    compare_chosen = Signal(list)

    def __init__(self, show_all: QPushButton, parent: QWidget | None = None) -> None:
        """Offer the learning rate until other quantities have been recorded."""
        super().__init__(parent)
        self.strip = QComboBox(sizeAdjustPolicy=QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.strip.setMinimumWidth(110)  # narrower than its longest name in a narrow window
        self.strip.setAccessibleName(tr("Lower chart"))
        self.strip.setToolTip(tr("Quantity in the lower chart"))
        self.smoothing = SmoothingSlider()
        self.compare = _make_menu_button(tr("Compare"))
        self.view = _make_menu_button(tr("Curves"))
        self._ticked: list[str] = []
        self._is_chosen = False
        self._shown = "learning_rate"
        self._fill_view()
        self._build_layout(show_all)
        self.offer([])
        self.strip.activated.connect(self._on_chosen)
        self._make_menu(self.compare).aboutToShow.connect(self.compare_opened)

    # --- display ------------------------------------------------------------------------------

    def get_shown_metric(self) -> str:
        """Return the quantity of the strip."""
        return str(self.strip.currentData() or "")

    def offer(self, names: Iterable[str], main: str = "loss") -> None:
        """Offer quantities for the strip below the main one; the selected one is kept.

        Until the user selects one, it is the learning rate; below the mean reward, each of several rewards,
        or the share of truncated completions.
        """
        recorded = [name for name in names if name != main]
        rewards = metrics.list_rewards(recorded)
        several = [metrics.EACH_REWARD] if len(rewards) > 1 else []
        offered = metrics.sort_names({"learning_rate", *recorded, *several})
        offered.append("")
        if offered == [self.strip.itemData(n) for n in range(self.strip.count())]:
            return
        usual = (
            "learning_rate" if main == "loss" else metrics.EACH_REWARD if several else "cut_share"
        )
        chosen = self.get_shown_metric() if self._is_chosen else usual
        self.strip.clear()
        only = tr("Loss only") if main == "loss" else tr("Mean reward only")
        for name in offered:
            self.strip.addItem(tr(metrics.get_metric(name).title) if name else only, name)
        self.strip.setCurrentIndex(max(0, self.strip.findData(chosen)))
        if self.get_shown_metric() != self._shown:
            self._shown = self.get_shown_metric()
            self.measure_chosen.emit(self._shown)

    def _on_chosen(self, _: int) -> None:
        self._is_chosen, self._shown = True, self.get_shown_metric()
        self.measure_chosen.emit(self._shown)

    # --- other runs ---------------------------------------------------------------------------

    def set_runs(self, runs: list[tuple[str, str]]) -> None:
        """Offer runs for comparison: a key and a title each."""
        menu = self._make_menu(self.compare)
        menu.clear()
        self._ticked = [key for key in self._ticked if key in dict(runs)]
        if not runs:
            menu.addAction(tr("Earlier runs of the project appear here.")).setEnabled(False)
        for key, name in runs:
            action = menu.addAction(name)
            action.setCheckable(True)
            action.setChecked(key in self._ticked)
            action.setData(key)
            action.setEnabled(key in self._ticked or len(self._ticked) < MOST_OTHERS)
            action.triggered.connect(lambda on, key=key: self._tick(key, on))
        if self._ticked:
            menu.addSeparator()
            menu.addAction(tr("None")).triggered.connect(self.untick)

    def list_checked(self) -> list[str]:
        """Return the keys of the checked runs."""
        return list(self._ticked)

    def untick(self) -> None:
        """Uncheck all runs."""
        if self._ticked:
            self._ticked = []
            self.compare_chosen.emit([])

    def drop(self, key: str) -> None:
        """Uncheck a run without curves."""
        if key in self._ticked:
            self._tick(key, False)

    def _tick(self, key: str, on: bool) -> None:
        self._ticked = [ticked for ticked in self._ticked if ticked != key] + [key] * on
        self.compare_chosen.emit(self.list_checked())

    # --- building -----------------------------------------------------------------------------

    def _fill_view(self) -> None:
        menu = self._make_menu(self.view)
        # WORKAROUND: PySide can lose the Python wrappers of actions that Qt creates, as in
        # `QMenu.addAction(text)` ("already deleted", after long use), but not of those created here.
        self.log = QAction(tr("Logarithmic"), self)
        self.log.setCheckable(True)
        self.log.toggled.connect(self.log_toggled)
        self.save_picture = _make_shortcut(QAction(tr("Save picture…"), self), "Ctrl+E")
        self.save_values = _make_shortcut(QAction(tr("Save values…"), self), "Ctrl+Shift+E")
        menu.addAction(self.log)
        menu.addSeparator()
        menu.addActions([self.save_picture, self.save_values])
        self.addActions([self.save_picture, self.save_values])

    def _build_layout(self, show_all: QPushButton) -> None:
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.M)
        layout.addWidget(self.strip)
        layout.addWidget(show_all)
        layout.addStretch(1)
        layout.addWidget(self.smoothing.caption)
        layout.addWidget(self.smoothing)
        layout.addWidget(self.compare)
        layout.addWidget(self.view)

    @staticmethod
    def _make_menu(opener: QPushButton) -> QMenu:
        menu = opener.menu()
        assert isinstance(menu, QMenu)
        return menu


def _make_menu_button(text: str) -> QPushButton:
    menu_button = button(text)
    menu_button.setMenu(QMenu(menu_button))
    return menu_button


def _make_shortcut(action: QAction, keys: str) -> QAction:
    action.setShortcut(QKeySequence(keys))
    action.setShortcutContext(Qt.ShortcutContext.WindowShortcut)
    return action
