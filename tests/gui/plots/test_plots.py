"""The loss plot and the length histogram: content, redraws, and mouse and keyboard input."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, QRectF, Qt
from PySide6.QtGui import QImage, QMouseEvent, QWheelEvent
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from lora_studio.core.protocol import events
from lora_studio.gui import theme
from lora_studio.gui.plots.curve_chart import AxisScale
from lora_studio.gui.plots.length_histogram import LengthData, LengthHistogram
from lora_studio.gui.plots.loss_plot import REDRAW_EVERY, LossPlot
from lora_studio.gui.plots.run_curves import RunCurves
from lora_studio.gui.plots.run_overlay import RunOverlay
from lora_studio.gui.plots.trace import Trace, arrange_boxes, measure_margin
from tests.helpers.models import model_facts

LEFT = Qt.MouseButton.LeftButton
NO_MODIFIER = Qt.KeyboardModifier.NoModifier


@pytest.fixture
def plot(qtbot: QtBot, qapp: QApplication) -> LossPlot:
    theme.apply(qapp, "light")
    loss_plot = LossPlot()
    qtbot.addWidget(loss_plot)
    loss_plot.resize(700, 400)
    loss_plot.show()
    qtbot.waitExposed(loss_plot)
    return loss_plot


@pytest.fixture
def histogram(qtbot: QtBot, qapp: QApplication) -> LengthHistogram:
    theme.apply(qapp, "light")
    length_histogram = LengthHistogram()
    qtbot.addWidget(length_histogram)
    length_histogram.resize(700, 300)
    length_histogram.show()
    qtbot.waitExposed(length_histogram)
    return length_histogram


def step_done(step: int, loss: float, total: int = 100, **more: Any) -> events.StepDone:
    facts = {"epoch": 3 * step / total, "learning_rate": 1e-4, "grad_norm": 0.5, "tokens": 100,
             "tokens_per_s": 2310.0, "memory_bytes": 9 * 2**30} | more  # fmt: skip
    return events.StepDone(step=step, steps=total, loss=loss, **facts)


def fill(plot: LossPlot, steps: int, **more: Any) -> None:
    for step in range(1, steps + 1):
        plot.add_event(step_done(step, 2.0 - step / steps, steps, **more))
    plot.redraw_now()


def other(name: str, loss: float, steps: int = 60) -> RunCurves:
    run = RunCurves(name)
    for step in range(1, steps + 1):
        run.series.on_event(step_done(step, loss))
    run.series.on_event(events.Evaluated(step=steps, loss=loss + 0.1))
    return run


def trace(plot: LossPlot, title: str) -> Trace:
    (shown_trace,) = [item for item in plot.drawing.list_shown_traces() if item.title == title]
    return shown_trace


def pixels(plot: LossPlot, color: str) -> int:
    """Return how many pixels of the loss chart have exactly this color."""
    shot = plot.chart.grab().toImage().convertToFormat(QImage.Format.Format_RGB32)
    colors = np.frombuffer(shot.constBits(), np.uint32) & 0xFFFFFF
    return int((colors == int(color[1:], 16)).sum())


def choose(plot: LossPlot, name: str) -> None:
    """Select the metric of the strip, as a click in the list does."""
    combo = plot.bar.strip
    combo.setCurrentIndex(combo.findData(name))
    combo.activated.emit(combo.currentIndex())


# --- the loss plot ----------------------------------------------------------------------------


def test_many_events_are_painted_in_one_redraw(qtbot: QtBot, plot: LossPlot) -> None:
    before = plot.redraws
    for step in range(1, 501):
        plot.add_event(step_done(step, 2.0))
    assert plot.redraws == before
    qtbot.waitUntil(lambda: plot.redraws == before + 1)
    qtbot.wait(3 * REDRAW_EVERY)
    assert plot.redraws == before + 1, "nothing is repainted without new data"
    assert trace(plot, "loss").get_shown_points()[0].tolist() == list(range(1, 501))


def test_x_range_grows_only_when_steps_need_room(
    plot: LossPlot,
) -> None:
    fill(plot, 1000)
    before = plot.chart.get_x_range()
    plot.add_event(step_done(1001, 1.0, 2000))
    plot.redraw_now()
    assert plot.chart.get_x_range() == before
    for step in range(1002, 1100):
        plot.add_event(step_done(step, 1.0, 2000))
    plot.redraw_now()
    low, high = plot.chart.get_x_range()
    assert low < 1
    assert 1099 < high < 1150


def test_strip_is_painted_after_the_loss_chart(qtbot: QtBot, plot: LossPlot) -> None:
    fill(plot, 1000)
    choose(plot, "grad_norm")
    (shown,) = [item for item in plot.strip.traces if item.look.strength < 1]
    plot.add_event(step_done(1001, 1.0, grad_norm=7.0))
    plot.redraw_now()
    assert shown.get_shown_points()[1].max() == 7.0, "`redraw_now` paints both at once"
    plot.add_event(step_done(1002, 1.0, grad_norm=9.0))
    maxima: list[float] = []  # in the lower chart when the upper one has just been painted
    plot.redrawn.connect(lambda: maxima.append(shown.get_shown_points()[1].max()))
    qtbot.waitUntil(lambda: bool(maxima))
    assert maxima[0] == 7.0
    qtbot.waitUntil(lambda: shown.get_shown_points()[1].max() == 9.0)


def test_hidden_plot_redraws_when_shown_again(qtbot: QtBot, plot: LossPlot) -> None:
    plot.hide()
    before = plot.redraws
    for step in range(1, 11):
        plot.add_event(step_done(step, 2.0))
    qtbot.wait(2 * REDRAW_EVERY)
    assert plot.redraws == before
    plot.show()
    assert plot.redraws == before + 1


def test_charts_show_all_steps_until_zoomed(qtbot: QtBot, plot: LossPlot) -> None:
    fill(plot, 100)
    assert plot.chart.get_x_range()[0] < 1
    assert plot.chart.get_x_range()[1] > 100
    assert plot.strip.get_x_range() == plot.chart.get_x_range()
    qtbot.keyClicks(plot, "+")
    assert not plot.show_all.isHidden()
    zoomed = plot.chart.get_x_range()
    assert 48 < zoomed[1] - zoomed[0] < 52
    assert plot.strip.get_x_range() == zoomed
    plot.add_event(step_done(150, 1.0))
    plot.redraw_now()
    assert plot.chart.get_x_range() == zoomed, "new steps don't move the zoomed range"
    plot.show_all.click()
    assert plot.chart.get_x_range()[1] > 150
    assert plot.show_all.isHidden()


def test_y_range_fits_the_visible_points(plot: LossPlot) -> None:
    fill(plot, 100)
    plot.add_event(step_done(101, 9.0))
    plot.redraw_now()
    box = plot.chart.view.getPlotItem().getViewBox()
    assert box.viewRange()[1][1] > 9
    plot.chart.set_x_range(10, 90)
    assert box.viewRange()[1][1] < 2.1


@pytest.mark.parametrize("height", [40, 60, 100, 400])
def test_axis_numbers_do_not_overlap(qapp: QApplication, height: int) -> None:
    for low, high in ((0.55, 1.25), (0.0, 2.6e-4), (-3.0, 1200.0)):
        values = [
            value
            for _, level in AxisScale("left").tickValues(low, high, height)[:1]
            for value in level
        ]
        assert values
        positions = sorted(height * (value - low) / (high - low) for value in values)
        apart = [after - before for before, after in itertools.pairwise(positions)]
        assert all(distance >= theme.Size.CAPTION for distance in apart)


def test_readout_shows_every_visible_curve_with_units(plot: LossPlot) -> None:
    fill(plot, 100)
    plot.add_event(events.Evaluated(step=50, loss=1.61))
    plot.add_event(events.CheckpointSaved(step=50, folder="/c"))
    plot.set_others([other("yesterday", 3.0)])
    choose(plot, "memory_bytes")
    plot.chart.pointed.emit(50.2)
    assert plot.readout.isVisible()
    assert plot.readout.text().split("  ·  ") == [
        "step 50", "loss 1.50", "smoothed 1.50", "eval loss 1.61", "loss, A 3.00",
        "memory 9 GiB", "memory, A 9 GiB", "checkpoint",
    ]  # fmt: skip
    plot.chart.pointed.emit(None)
    assert plot.readout.text() == ""
    assert plot.readout.isHidden()


def test_readout_moves_to_the_other_side_of_the_pointer(plot: LossPlot) -> None:
    fill(plot, 100)
    plot.chart.pointed.emit(90.0)
    assert plot.readout.geometry().right() < plot.chart.width() / 2
    plot.chart.pointed.emit(10.0)
    assert plot.readout.geometry().left() > plot.chart.width() / 2


def test_arrow_keys_move_the_readout_point_by_point(qtbot: QtBot, plot: LossPlot) -> None:
    fill(plot, 30)
    qtbot.keyClick(plot, Qt.Key.Key_End)
    assert plot.readout.text().startswith("step 30 ")
    qtbot.keyClick(plot, Qt.Key.Key_Left)
    assert plot.readout.text().startswith("step 29 ")
    qtbot.keyClick(plot, Qt.Key.Key_Home)
    qtbot.keyClick(plot, Qt.Key.Key_Left)
    assert plot.readout.text().startswith("step 1 ")
    qtbot.keyClick(plot, Qt.Key.Key_Escape)
    assert plot.readout.text() == ""


def test_strip_offers_measured_metrics_and_shows_the_choice(plot: LossPlot) -> None:
    fill(plot, 30, gpu_percent=97.0, metrics={"accuracy": 0.75, "margin": 0.4})
    combo = plot.bar.strip
    assert [combo.itemText(n) for n in range(combo.count())] == [
        "Learning rate", "Gradient norm", "Tokens per second", "Memory", "GPU utilization", "Reward accuracy",
        "Reward margin", "Loss only",
    ]  # fmt: skip
    choose(plot, "accuracy")
    plot.read_at(10)
    assert "reward accuracy 75 %" in plot.readout.text()
    choose(plot, "")
    assert plot.strip.isHidden()


@pytest.mark.parametrize(
    ("metrics", "label"), [({}, "loss (nats per token)"), ({"accuracy": 0.5}, "loss")]
)
def test_only_the_loss_of_tokens_is_labeled_as_one(
    plot: LossPlot, metrics: dict[str, float], label: str
) -> None:
    fill(plot, 3, metrics=metrics)
    plot.redraw_now()
    assert plot.chart._labels["left"] == label


def test_negative_loss_leaves_a_gap_on_a_log_scale(plot: LossPlot) -> None:
    for step, loss in enumerate([100.0, 10.0, -1.0, 1.0], start=1):
        plot.add_event(step_done(step, loss))
    plot.bar.log.setChecked(True)
    plot.redraw_now()
    assert trace(plot, "loss").get_shown_points()[1][[0, 1, 3]].tolist() == [2, 1, 0]
    assert np.isnan(trace(plot, "loss").get_shown_points()[1][2])
    plot.grab()
    plot.bar.log.setChecked(False)
    assert trace(plot, "loss").get_shown_points()[1].tolist() == [100, 10, -1, 1]


def test_smoothing_ranges_from_off_to_almost_flat(plot: LossPlot) -> None:
    rng = np.random.default_rng(0)
    for step, loss in enumerate(rng.normal(2.0, 0.3, 300), start=1):
        plot.add_event(step_done(step, loss))
    plot.redraw_now()
    spread = []
    for value in range(1, plot.bar.smoothing.maximum() + 1):
        plot.bar.smoothing.setValue(value)
        spread.append(float(np.std(trace(plot, "smoothed").get_shown_points()[1])))
    assert spread[0] > spread[-1] * 3
    plot.bar.smoothing.setValue(0)
    assert [item.title for item in plot.drawing.list_shown_traces()] == [
        "loss",
        "eval loss",
        "learning rate",
    ]
    assert plot.bar.smoothing.accessibleDescription() == "Smoothing: off"


def test_marks_show_checkpoints_and_resumes(plot: LossPlot) -> None:
    plot.add_event(events.TrainingStarted(steps=100, steps_per_epoch=30, effective_batch=16))
    fill(plot, 40)
    plot.add_event(events.CheckpointSaved(step=30, folder="/c"))
    plot.add_event(events.CheckpointSaved(step=40, folder="/c"))
    plot.add_event(
        events.TrainingStarted(steps=100, step=30, steps_per_epoch=30, effective_batch=16)
    )
    plot.redraw_now()
    assert plot.run.marks == [(30, "checkpoint"), (30, "resumed")], "step 40 was lost"
    assert plot.legend.list_names() == ["loss", "checkpoint", "resumed"]
    plot.read_at(30)
    assert plot.readout.text().endswith("checkpoint  ·  resumed")


def test_pause_and_oom_recovery_are_marked_at_their_steps(plot: LossPlot) -> None:
    fill(plot, 40)
    recovered = events.Recovered(
        step=30, micro_batch=2, gradient_accumulation=8, gradient_checkpointing=False, why="Full."
    )
    plot.add_event(recovered)
    plot.add_event(step_done(31, 1.0))
    plot.add_event(events.Done(paused=True))
    plot.add_event(
        events.TrainingStarted(steps=100, step=31, steps_per_epoch=30, effective_batch=16)
    )
    plot.redraw_now()
    assert plot.run.steps.steps[-1] == 31, "steps after the lost one are repeated"
    assert plot.run.marks == [(30, "recovered"), (31, "paused"), (31, "resumed")]
    assert plot.legend.list_names() == ["loss", "memory ran out", "paused", "resumed"]
    assert pixels(plot, theme.LIGHT.warn) > 5


def test_empty_plot_shows_a_hint_until_the_first_step(plot: LossPlot) -> None:
    assert plot.empty.isVisible()
    fill(plot, 1)
    assert plot.empty.isHidden()


def test_axes_have_numbers_only_once_there_are_steps(plot: LossPlot) -> None:
    def numbers() -> list[str]:
        axes = (plot.chart.view.getPlotItem().getAxis(name) for name in ("left", "bottom"))
        return [text for axis in axes for text in axis.tickStrings([1.0, 2.0], 1, 1)]

    assert not any(numbers())
    fill(plot, 3)
    assert all(numbers())


def test_nan_loss_leaves_a_gap_and_no_warning(plot: LossPlot) -> None:
    for step, loss in enumerate([2.0, math.nan, 1.8, math.inf, 0.0, 1.5], start=1):
        plot.add_event(step_done(step, loss))
    plot.bar.log.setChecked(True)
    plot.redraw_now()
    plot.grab()
    plot.read_at(2)
    assert plot.readout.text().startswith("step 2  ·  smoothed")


def test_compared_runs_have_their_own_colors_and_letters(
    qapp: QApplication, plot: LossPlot
) -> None:
    theme.apply(qapp, "dark")
    fill(plot, 100)
    plot.set_others([other("yesterday", 2.6), other("last week", 3.2)])
    assert plot.legend.list_names() == ["loss", "A  yesterday", "B  last week"]
    assert pixels(plot, theme.DARK.series[2]) > 20
    assert pixels(plot, theme.DARK.series[3]) > 20
    assert "Compared with yesterday and last week." in plot.accessibleDescription()
    plot.set_others([])
    assert pixels(plot, theme.DARK.series[2]) == 0


def test_theme_leaves_the_numbers_of_the_axes(qapp: QApplication, plot: LossPlot) -> None:
    for step in range(1, 40):
        plot.add_event(step_done(step, 0.66 + step / 1000, 40))
    plot.redraw_now()
    for mode in ("dark", "light"):
        theme.apply(qapp, mode)
        QApplication.processEvents()
        axes = plot.chart.view.getPlotItem().axes
        assert [axes[name]["item"].autoSIPrefixScale for name in ("left", "bottom")] == [1.0, 1.0]


def test_curves_follow_the_theme(qapp: QApplication, plot: LossPlot) -> None:
    fill(plot, 100)
    for mode, palette in (("dark", theme.DARK), ("light", theme.LIGHT)):
        theme.apply(qapp, "dark" if mode == "dark" else "light")
        assert pixels(plot, palette.loss) > 20
        assert plot.chart.view.backgroundBrush().color().name().upper() == palette.card


def test_wheel_does_not_zoom_a_plot_without_focus(plot: LossPlot) -> None:
    fill(plot, 100)
    middle = QPointF(plot.chart.view.rect().center())
    wheel = QWheelEvent(
        middle, plot.chart.view.mapToGlobal(middle), QPoint(), QPoint(0, 120),
        Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    before = plot.chart.get_x_range()
    plot.chart.view.clearFocus()
    QApplication.sendEvent(plot.chart.view.viewport(), wheel)
    assert plot.chart.get_x_range() == before


def test_plot_has_a_description_for_screen_readers(plot: LossPlot) -> None:
    assert plot.accessibleDescription() == "No steps yet."
    fill(plot, 100)
    plot.add_event(events.Evaluated(step=100, loss=1.25))
    plot.redraw_now()
    assert plot.accessibleDescription().startswith("100 steps; the smoothed loss is 1.0")
    assert plot.accessibleDescription().endswith("The eval loss is 1.25.")


# --- row lengths ------------------------------------------------------------------------------


def test_shares_over_a_limit_are_interpolated_between_bins() -> None:
    measured = LengthData(model_facts.lengths([100, 200, 300, 400], trained=50))
    assert measured.count_over(0) == (1.0, 1.0)
    assert measured.count_over(200) == (0.5, 0.5)
    assert measured.count_over(250)[0] == 0.5
    assert measured.count_over(349.5)[1] == pytest.approx((0.25 + 0.005) / 2)
    assert measured.count_over(400) == (0.0, 0.0)
    assert measured.count_over(9000) == (0.0, 0.0)


def test_bins_hold_every_row_once() -> None:
    measured = LengthData(model_facts.lengths(range(10, 979)))
    assert measured.count_per_bin(np.arange(0.0, 1001.0, 20.0)).sum() == pytest.approx(969)


def test_few_very_long_rows_do_not_squeeze_the_histogram(histogram: LengthHistogram) -> None:
    histogram.set_limit(100)
    histogram.set_lengths(model_facts.lengths([*range(50, 250), 90_000], trained=10))
    assert histogram.chart.get_x_range()[1] < 700
    assert histogram.sentence.text().endswith("The longest row has 90,000 tokens.")


def test_sentence_says_how_many_rows_the_limit_cuts(histogram: LengthHistogram) -> None:
    lengths = [*range(10, 979), *[3000] * 31]
    histogram.set_lengths(model_facts.lengths(lengths))
    histogram.set_limit(2048)
    assert histogram.sentence.text().startswith("A limit of 2,048 truncates 3.1 % of the rows ")
    assert histogram.sentence.text().endswith("The longest row has 3,000 tokens.")
    histogram.set_limit(2048, "skip")
    assert "skips 3.1 % of the rows." in histogram.sentence.text()
    histogram.set_limit(2048, "split")
    assert "truncates" not in histogram.sentence.text()
    assert "split (3.1 % of the rows)." in histogram.sentence.text()
    histogram.set_limit(4096)
    assert (
        histogram.sentence.text()
        == "A limit of 4,096 truncates no rows. The longest row has 3,000 tokens."
    )


def test_dragging_the_line_sets_the_limit_once(qtbot: QtBot, histogram: LengthHistogram) -> None:
    histogram.set_lengths(model_facts.lengths([100, 500, 900], trained=10))
    histogram.set_limit(600)
    chosen: list[int] = []
    histogram.limit_chosen.connect(chosen.append)
    view = histogram.chart.view
    box = view.getPlotItem().getViewBox()

    def at(tokens: float) -> QPoint:
        return view.mapFromScene(box.mapViewToScene(QPointF(tokens, 0.5)))

    def mouse(kind: QEvent.Type, tokens: float, held: Qt.MouseButton) -> None:
        position = QPointF(at(tokens))
        button = Qt.MouseButton.NoButton if kind == QEvent.Type.MouseMove else LEFT
        event = QMouseEvent(
            kind, position, view.viewport().mapToGlobal(position), button, held, NO_MODIFIER
        )
        QApplication.sendEvent(view.viewport(), event)
        qtbot.wait(30)

    QApplication.processEvents()
    mouse(QEvent.Type.MouseMove, 600, Qt.MouseButton.NoButton)
    mouse(QEvent.Type.MouseButtonPress, 600, LEFT)
    for tokens in (550, 480, 402):
        mouse(QEvent.Type.MouseMove, tokens, LEFT)
        assert not chosen
    assert histogram.get_limit() == pytest.approx(402, abs=8), "the sentence follows the pointer"
    mouse(QEvent.Type.MouseButtonRelease, 402, Qt.MouseButton.NoButton)
    assert len(chosen) == 1
    assert chosen[0] == pytest.approx(402, abs=8)
    assert chosen[0] % 8 == 0
    assert "66.7 % of the rows" in histogram.sentence.text()


def test_keys_move_the_limit_down_to_its_minimum(qtbot: QtBot, histogram: LengthHistogram) -> None:
    histogram.set_lengths(model_facts.lengths([100, 500, 900], trained=10))
    histogram.set_limit(600)
    qtbot.keyClick(histogram, Qt.Key.Key_Right)
    assert histogram.get_limit() == 608
    qtbot.keyClick(histogram, Qt.Key.Key_Left, Qt.KeyboardModifier.ShiftModifier)
    assert histogram.get_limit() == 607
    qtbot.keyClick(histogram, Qt.Key.Key_PageDown)
    qtbot.keyClick(histogram, Qt.Key.Key_PageDown)
    assert histogram.get_limit() == 16


def test_fit_button_sets_the_limit_to_the_longest_row(
    qtbot: QtBot, histogram: LengthHistogram
) -> None:
    histogram.set_lengths(model_facts.lengths([100, 213], trained=10))
    histogram.set_limit(2048)
    with qtbot.waitSignal(histogram.limit_chosen) as chosen:
        histogram.fit.click()
    assert chosen.args == [216]
    assert histogram.fit.isHidden()
    assert (
        histogram.sentence.text()
        == "A limit of 216 truncates no rows. The longest row has 213 tokens."
    )


def test_histogram_without_lengths_says_what_is_missing(histogram: LengthHistogram) -> None:
    assert "choose a model" in histogram.sentence.text()
    assert histogram.fit.isHidden()


def test_run_letters_overlap_no_line_and_no_letter() -> None:
    columns = np.linspace(0.0, 300.0, 100)
    falling = np.linspace(20.0, 80.0, 100)
    lines = [
        (columns, falling),
        (columns, falling + 0.5),
        (columns[:40], falling[:40] - 3.0),  # ends early, below a line that continues
        (columns, falling + 2.0 * np.sin(columns)),
    ]
    ends = [QPointF(px[-1], py[-1]) for px, py in lines]
    view = QRectF(0.0, 0.0, 300.0 + measure_margin(), 100.0)
    boxes = arrange_boxes(ends, lines, view)
    assert all(view.contains(box) for box in boxes)
    assert all(box.left() > end.x() for box, end in zip(boxes, ends, strict=True))
    for one, other in itertools.combinations(boxes, 2):
        assert not one.intersects(other)
    together = [0, 1, 3]  # in the vertical order of their lines
    assert sorted(together, key=lambda n: boxes[n].top()) == sorted(
        together, key=lambda n: ends[n].y()
    )
    for box, (px, py) in itertools.product(boxes, lines):
        inside = (px >= box.left()) & (px <= box.right())
        assert not np.any((py[inside] > box.top()) & (py[inside] < box.bottom()))


def test_last_point_has_room_for_its_dot(plot: LossPlot) -> None:
    plot.grab()
    box = plot.chart.view.getPlotItem().getViewBox()
    for step in range(1, 241):  # the range stays for some steps, then grows
        plot.add_event(step_done(step, 2.0 - step / 240, 240))
        plot.redraw_now()
        beyond = box.viewRange()[0][1] - step
        assert step == 1 or beyond / box.viewPixelSize()[0] >= 5.0, step


def test_runs_that_end_together_have_separate_letters(qtbot: QtBot) -> None:
    overlay = RunOverlay()
    qtbot.addWidget(overlay)
    overlay.resize(600, 300)
    runs = [RunCurves(name) for name in ("first", "second", "third")]
    for number, run in enumerate(runs):
        for step in range(1, 101):
            loss = 2.0 - step / 90 + number / 50
            run.series.on_event(
                events.StepDone(
                    step=step, steps=100, epoch=1.0, loss=loss, learning_rate=1e-4, grad_norm=1.0,
                    tokens=1, tokens_per_s=1.0, memory_bytes=1,
                )
            )  # fmt: skip
    overlay.set_runs(runs)
    overlay.show()
    overlay.grab()
    chart = overlay.chart
    boxes = chart.labels.list_boxes(chart.labels.sceneTransform())
    assert [trace.tag for trace, _ in boxes] == ["C", "B", "A"]
    for one, other in itertools.combinations([box for _, box in boxes], 2):
        assert not one.intersects(other)
    ends = [trace.get_pixels(chart.labels.sceneTransform())[0][-1] for trace, _ in boxes]
    assert all(box.left() > end for (_, box), end in zip(boxes, ends, strict=True))
