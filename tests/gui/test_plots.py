"""The plots: what they show, when they paint, and what a hand or a key does to them."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QMouseEvent, QWheelEvent
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from lora_studio.gui import theme
from lora_studio.gui.plots.chart import REDRAW_EVERY
from lora_studio.gui.plots.length_histogram import LengthHistogram, Lengths
from lora_studio.gui.plots.loss_plot import Curve, LossPlot, smoothed
from tests.helpers import model_facts

LEFT = Qt.MouseButton.LeftButton
NO_MODIFIER = Qt.KeyboardModifier.NoModifier


@pytest.fixture
def plot(qtbot: QtBot, qapp: QApplication) -> LossPlot:
    theme.apply(qapp, "light")
    made = LossPlot()
    qtbot.addWidget(made)
    made.resize(700, 400)
    made.show()
    qtbot.waitExposed(made)
    return made


@pytest.fixture
def histogram(qtbot: QtBot, qapp: QApplication) -> LengthHistogram:
    theme.apply(qapp, "light")
    made = LengthHistogram()
    qtbot.addWidget(made)
    made.resize(700, 300)
    made.show()
    qtbot.waitExposed(made)
    return made


def fill(plot: LossPlot, steps: int) -> None:
    for step in range(1, steps + 1):
        plot.add_step(step, 2.0 - step / steps, 1e-4)


# --- curves -----------------------------------------------------------------------------------


def test_a_curve_keeps_every_point_it_was_given() -> None:
    curve = Curve(2)
    for step in range(1000):
        curve.add(step, step * 0.5, -step)
    assert curve.steps.tolist() == list(range(1000))
    assert curve.values(0).tolist() == [step * 0.5 for step in range(1000)]
    assert curve.values(1).tolist() == [-step for step in range(1000)]


def test_a_resumed_training_replaces_the_steps_it_repeats() -> None:
    curve = Curve(1)
    for step in range(1, 11):
        curve.add(step, 1.0)
    for step in (6, 7):
        curve.add(step, 2.0)
    assert curve.steps.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert curve.values().tolist() == [1, 1, 1, 1, 1, 2, 2]


@pytest.mark.parametrize(("step", "index"), [(-5, 0), (14, 0), (16, 1), (20, 1), (99, 2)])
def test_the_nearest_point_is_found_on_either_side(step: float, index: int) -> None:
    curve = Curve(1)
    assert curve.nearest(1) is None
    for known in (10, 20, 30):
        curve.add(known, 0.0)
    assert curve.nearest(step) == index


def test_smoothing_is_the_mean_around_each_value_and_skips_what_is_not_finite() -> None:
    values = np.array([1.0, 2.0, 3.0, math.nan, 5.0])
    assert smoothed(values, 3).tolist() == [1.5, 2.0, 2.5, 4.0, 5.0]
    assert np.isnan(smoothed(np.array([math.nan]), 3)).all()
    assert smoothed(np.empty(0), 3).size == 0


def test_smoothing_leaves_a_straight_line_straight_inside() -> None:
    values = np.arange(50, dtype=np.float64)
    assert np.allclose(smoothed(values, 9)[4:-4], values[4:-4])


# --- the loss plot ----------------------------------------------------------------------------


def test_many_events_cost_one_painting(qtbot: QtBot, plot: LossPlot) -> None:
    fill(plot, 500)
    assert plot.redraws == 0
    qtbot.waitUntil(lambda: plot.redraws == 1, timeout=3000)
    qtbot.wait(3 * REDRAW_EVERY)
    assert plot.redraws == 1, "nothing is painted while nothing is new"
    steps, loss = plot._raw.data()
    assert steps.tolist() == list(range(1, 501))
    assert loss[-1] == pytest.approx(1.0)


def test_a_hidden_plot_paints_when_it_is_shown_again(qtbot: QtBot, plot: LossPlot) -> None:
    plot.hide()
    fill(plot, 10)
    qtbot.wait(2 * REDRAW_EVERY)
    assert plot.redraws == 0
    plot.show()
    assert plot.redraws == 1
    assert len(plot._raw.data()[0]) == 10


def test_a_million_points_paint_in_a_moment(plot: LossPlot) -> None:
    rng = np.random.default_rng(0)
    for step, loss in enumerate(rng.normal(2.0, 0.2, 1_000_000)):
        plot.training.add(step, loss, 1e-4)
    plot.add_step(1_000_000, 2.0, 1e-4)
    plot.redraw_now()
    begun = time.process_time()
    plot.add_step(1_000_001, 2.0, 1e-4)
    plot.redraw_now()
    plot.grab()
    assert time.process_time() - begun < 1.5


def test_pointing_reads_out_the_nearest_step_with_its_units(plot: LossPlot) -> None:
    fill(plot, 100)
    plot.add_evaluation(50, 1.61)
    plot.redraw_now()
    plot.chart.pointed.emit(50.2)
    said = plot.readout.text()
    assert "step 50" in said
    assert "loss 1.50" in said
    assert "eval 1.61" in said
    assert "rate 1e-4" in said
    plot.chart.pointed.emit(None)
    assert plot.readout.text() == ""


def test_the_arrow_keys_read_out_point_by_point(qtbot: QtBot, plot: LossPlot) -> None:
    fill(plot, 30)
    plot.redraw_now()
    qtbot.keyClick(plot, Qt.Key.Key_End)
    assert plot.readout.text().startswith("step 30 ")
    qtbot.keyClick(plot, Qt.Key.Key_Left)
    assert plot.readout.text().startswith("step 29 ")
    qtbot.keyClick(plot, Qt.Key.Key_Home)
    qtbot.keyClick(plot, Qt.Key.Key_Left)
    assert plot.readout.text().startswith("step 1 ")
    qtbot.keyClick(plot, Qt.Key.Key_Escape)
    assert plot.readout.text() == ""


def test_the_switches_hide_the_learning_rate_and_change_the_scale(plot: LossPlot) -> None:
    fill(plot, 30)
    plot.redraw_now()
    plot.show_rate.click()
    assert not plot._rate.item.isVisible()
    plot.log_scale.click()
    assert plot._raw.item.opts["logMode"] == [False, True]
    plot.log_scale.click()
    assert plot._raw.item.opts["logMode"] == [False, False]


def test_a_loss_that_is_no_number_leaves_a_gap_and_no_warning(plot: LossPlot) -> None:
    for step, loss in enumerate([2.0, math.nan, 1.8, math.inf, 0.0, 1.5], start=1):
        plot.add_step(step, loss, 0.0)
    plot.log_scale.setChecked(True)
    plot.redraw_now()
    plot.grab()
    assert plot._line.data()[0].tolist() == [1, 2, 3, 4, 5, 6]


def test_curves_follow_the_theme_at_once(qapp: QApplication, plot: LossPlot) -> None:
    for mode, palette in (("dark", theme.DARK), ("light", theme.LIGHT)):
        theme.apply(qapp, "dark" if mode == "dark" else "light")
        assert plot._line.item.opts["pen"].color().name().upper() == palette.loss
        assert plot.chart.view.backgroundBrush().color().name().upper() == palette.card


def test_the_wheel_scrolls_the_page_until_the_plot_has_the_focus(plot: LossPlot) -> None:
    fill(plot, 100)
    plot.redraw_now()
    middle = QPointF(plot.chart.view.rect().center())
    wheel = QWheelEvent(
        middle, plot.chart.view.mapToGlobal(middle), QPoint(), QPoint(0, 120),
        Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    before = plot.chart.x_range()
    plot.chart.view.clearFocus()
    QApplication.sendEvent(plot.chart.view.viewport(), wheel)
    assert plot.chart.x_range() == before


def test_the_curve_describes_itself_to_a_screen_reader(plot: LossPlot) -> None:
    assert plot.accessibleDescription() == "No steps yet."
    fill(plot, 100)
    plot.add_evaluation(100, 1.25)
    plot.redraw_now()
    assert plot.accessibleDescription().startswith("100 steps, smoothed loss 1.0")
    assert plot.accessibleDescription().endswith("eval loss 1.25.")


# --- row lengths ------------------------------------------------------------------------------


def test_shares_behind_a_limit_are_exact_at_edges_and_straight_between_them() -> None:
    measured = Lengths(model_facts.lengths([100, 200, 300, 400], trained=50))
    assert measured.over(0) == (1.0, 1.0)
    assert measured.over(200) == (0.5, 0.5)
    assert measured.over(250)[0] == 0.5
    assert measured.over(349.5)[1] == pytest.approx((0.25 + 0.005) / 2)
    assert measured.over(400) == (0.0, 0.0)
    assert measured.over(9000) == (0.0, 0.0)


def test_bins_hold_every_row_once() -> None:
    measured = Lengths(model_facts.lengths(range(10, 979)))
    assert measured.binned(np.arange(0.0, 1001.0, 20.0)).sum() == pytest.approx(969)


def test_a_few_giants_do_not_squeeze_the_rest_of_the_rows(histogram: LengthHistogram) -> None:
    histogram.set_limit(100)
    histogram.set_lengths(model_facts.lengths([*range(50, 250), 90_000], trained=10))
    assert histogram.chart.x_range()[1] < 700
    assert histogram.sentence.text().endswith("the longest row has 90,000 tokens.")


def test_the_sentence_says_what_the_limit_costs(histogram: LengthHistogram) -> None:
    lengths = [*range(10, 979), *[3000] * 31]
    histogram.set_lengths(model_facts.lengths(lengths))
    histogram.set_limit(2048)
    assert histogram.sentence.text().startswith("2,048 cuts 3.1 % of rows, ")
    assert histogram.sentence.text().endswith("the longest row has 3,000 tokens.")
    histogram.set_limit(2048, "skip")
    assert "leaves out 3.1 % of rows;" in histogram.sentence.text()
    histogram.set_limit(4096)
    assert histogram.sentence.text() == "4,096 cuts nothing: the longest row has 3,000 tokens."


def test_dragging_the_line_sets_the_limit_when_it_is_dropped(
    qtbot: QtBot, histogram: LengthHistogram
) -> None:
    histogram.set_lengths(model_facts.lengths([100, 500, 900], trained=10))
    histogram.set_limit(600)
    chosen: list[int] = []
    histogram.limit_chosen.connect(chosen.append)
    view = histogram.chart.view
    box = view.getPlotItem().getViewBox()

    def at(tokens: float) -> QPoint:
        return view.mapFromScene(box.mapViewToScene(QPointF(tokens, 0.5)))

    def mouse(kind: QEvent.Type, tokens: float, held: Qt.MouseButton) -> None:
        place = QPointF(at(tokens))
        button = Qt.MouseButton.NoButton if kind == QEvent.Type.MouseMove else LEFT
        event = QMouseEvent(
            kind, place, view.viewport().mapToGlobal(place), button, held, NO_MODIFIER
        )
        QApplication.sendEvent(view.viewport(), event)
        qtbot.wait(30)

    QApplication.processEvents()
    mouse(QEvent.Type.MouseMove, 600, Qt.MouseButton.NoButton)
    mouse(QEvent.Type.MouseButtonPress, 600, LEFT)
    for tokens in (550, 480, 402):
        mouse(QEvent.Type.MouseMove, tokens, LEFT)
        assert not chosen
    assert histogram.limit() == pytest.approx(402, abs=8), "the sentence follows the hand"
    mouse(QEvent.Type.MouseButtonRelease, 402, Qt.MouseButton.NoButton)
    assert len(chosen) == 1
    assert chosen[0] == pytest.approx(402, abs=8)
    assert chosen[0] % 8 == 0
    assert "66.7 % of rows" in histogram.sentence.text()


def test_keys_move_the_line_and_never_below_the_smallest_limit(
    qtbot: QtBot, histogram: LengthHistogram
) -> None:
    histogram.set_lengths(model_facts.lengths([100, 500, 900], trained=10))
    histogram.set_limit(600)
    qtbot.keyClick(histogram, Qt.Key.Key_Right)
    assert histogram.limit() == 608
    qtbot.keyClick(histogram, Qt.Key.Key_Left, Qt.KeyboardModifier.ShiftModifier)
    assert histogram.limit() == 607
    qtbot.keyClick(histogram, Qt.Key.Key_PageDown)
    qtbot.keyClick(histogram, Qt.Key.Key_PageDown)
    assert histogram.limit() == 16


def test_one_click_fits_the_limit_to_the_longest_row(
    qtbot: QtBot, histogram: LengthHistogram
) -> None:
    histogram.set_lengths(model_facts.lengths([100, 213], trained=10))
    histogram.set_limit(2048)
    with qtbot.waitSignal(histogram.limit_chosen) as chosen:
        histogram.fit.click()
    assert chosen.args == [216]
    assert histogram.fit.isHidden()
    assert histogram.sentence.text() == "216 cuts nothing: the longest row has 213 tokens."


def test_without_lengths_the_histogram_says_what_is_missing(histogram: LengthHistogram) -> None:
    assert "appear here" in histogram.sentence.text()
    assert histogram.fit.isHidden()
