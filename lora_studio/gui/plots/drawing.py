"""The curves of the two charts of a training run, and their styles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from PySide6.QtCore import QPoint, QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFontMetricsF, QImage, QPainter, QPolygonF, QRegion, QTransform
from PySide6.QtWidgets import QVBoxLayout, QWidget

from lora_studio.gui import theme
from lora_studio.gui.language import tr
from lora_studio.gui.plots import metrics
from lora_studio.gui.plots.curve_chart import CurveChart
from lora_studio.gui.plots.metrics import PlottedMetric
from lora_studio.gui.plots.run_curves import Curve, MarkKind, RunCurves, Values
from lora_studio.gui.plots.step_plot import Entry
from lora_studio.gui.plots.trace import Trace, TraceStyle, mix_colors
from lora_studio.gui.theme import ColorPalette, Size, Spacing

#: Maximum number of other runs in the chart: the number of colors to distinguish them.
MOST_OTHERS = 4

MARK_GLYPHS: dict[MarkKind, str] = {
    "checkpoint": "◆", "recovered": "▲", "paused": "‖", "resumed": "▶", "note": "⚑",
}  # fmt: skip


def _make_role_color(name: str) -> Callable[[ColorPalette], str]:
    return lambda palette: str(getattr(palette, name))


def _make_series_color(index: int) -> Callable[[ColorPalette], str]:
    """Return the color of another run; the first two colors are those of loss and eval loss."""
    return lambda palette: palette.series[2 + index]


class Drawing:
    """Draws the main curve, loss or mean reward, and the strip below it, which shows another quantity."""

    def __init__(self, chart: CurveChart, strip: CurveChart, run: RunCurves) -> None:
        """Create the drawing with one run in the foreground."""
        self.chart, self.strip, self.run = chart, strip, run
        self.others: list[RunCurves] = []
        self.share = 0.04
        self.metric: PlottedMetric | None = None
        self._drawn: tuple[str, list[str]] = ("", [])
        self._build()

    def set_others(self, runs: Sequence[RunCurves]) -> None:
        """Draw runs in the background, each with a color and a letter."""
        self.others = list(runs[:MOST_OTHERS])
        self._build()

    def set_smoothing(self, share: float) -> None:
        """Average smoothed lines over this share of all steps; 0 turns smoothing off."""
        self.share = share
        self._build()

    def set_metric(self, name: str) -> None:
        """Set the quantity of the strip; "" hides it."""
        self.metric = metrics.get_metric(name) if name else None
        if self.metric is not None:
            self.strip.set_caption(tr(self.metric.label))
            self.strip.set_scale(self.metric.scale)
        self._build()

    def refresh(self) -> None:
        """Update the upper chart; `refresh_strip` updates the lower one."""
        if self._drawn != self._list_drawn():
            self._build()
        self.chart.marks.set_marks(self.run.marks)
        self.chart.refresh()

    def refresh_strip(self) -> None:
        """Update the lower chart."""
        self.strip.refresh()

    def get_smoothing_width(self, curve: Curve) -> int:
        """Return the number of points that a smoothed line averages over."""
        return curve.get_window(self.share)

    def list_shown_traces(self) -> list[Trace]:
        """Return the traces to read values from, foreground first."""
        return [
            trace
            for chart in (self.chart, self.strip)
            for trace in sorted(
                chart.traces,
                key=lambda trace: (trace.tag, trace.sparse, isinstance(trace, SpreadTrace)),
            )
            if trace.title
        ]

    def list_entries(self) -> list[Entry]:
        """Return the entries of the legend."""
        main, color = metrics.get_metric(self.run.main), _make_role_color("loss")
        entries: list[Entry] = [(tr(main.inline), "━", color)]
        if self.run.has_rewards:
            entries.append((tr("spread"), "▒", color))
        if len(self.run.evaluations):
            entries.append((self._name_evaluation(), "●", _make_role_color("evaluation")))
        if self._shows_each_reward:
            entries += [
                (tr(metrics.get_metric(name).title), "━", _make_series_color(index))
                for index, name in enumerate(self._list_rewards())
            ]
        for index, run in enumerate(self.others):
            entries.append((f"{_get_letter(index)}  {run.name}", "━", _make_series_color(index)))
        return entries

    # --- traces -------------------------------------------------------------------------------

    @property
    def _shows_each_reward(self) -> bool:
        return self.metric is not None and self.metric.name == metrics.EACH_REWARD

    def _list_rewards(self) -> list[str]:
        """Return the rewards that the strip can tell apart by their colors."""
        return metrics.list_rewards(self.run.steps.names)[:MOST_OTHERS]

    def _list_drawn(self) -> tuple[str, list[str]]:
        """Return what the traces depend on: the label of the main quantity, and the rewards in the strip."""
        label = metrics.get_axis_label(self.run.main, self.run.steps.names)
        return label, self._list_rewards() if self._shows_each_reward else []

    def _name_evaluation(self) -> str:
        return tr("eval reward") if self.run.has_rewards else tr("eval loss")

    def _build(self) -> None:
        self._drawn = self._list_drawn()
        main = metrics.get_metric(self.run.main)
        self.chart.set_y_label(metrics.get_axis_label(main.name, self.run.steps.names))
        behind = [
            trace
            for index, run in reversed(list(enumerate(self.others)))
            for trace in self._make_overlay_traces(index, run)
        ]
        main_line = self._make_line(self.run, main, _make_role_color("loss"), 2.0)
        evaluated = Trace(
            self.run.evaluations.get_curve(main.name),
            TraceStyle(_make_role_color("evaluation"), 1.5, 0.75, dots=3.5),
            self.chart.get_palette, title=self._name_evaluation(), metric=main, mark="●", sparse=True,
        )  # fmt: skip
        self.chart.set_traces(
            [
                *self._make_spread(main.name, _make_role_color("loss"), tr("spread")),
                *main_line[:-1],
                *behind,
                evaluated,
                main_line[-1],
            ]
        )
        self.strip.set_traces(self._make_strip_traces())

    def _make_overlay_traces(self, index: int, run: RunCurves) -> list[Trace]:
        main, color = metrics.get_metric(self.run.main), _make_series_color(index)
        name = _format_name(self._name_evaluation(), _get_letter(index))
        evaluated = Trace(
            run.evaluations.get_curve(main.name), TraceStyle(color, 1.0, 0.6, dots=2.5), self.chart.get_palette,
            title=name, metric=main, mark="●", sparse=True, tag=_get_letter(index),
        )  # fmt: skip
        return [evaluated, *self._make_line(run, main, color, 1.6, index)]

    def _make_strip_traces(self) -> list[Trace]:
        if (metric := self.metric) is None:
            return []
        if self._shows_each_reward:
            return [
                self._make_reward(name, _make_series_color(index))
                for index, name in enumerate(self._list_rewards())
            ]
        behind = [
            trace
            for index, run in reversed(list(enumerate(self.others)))
            for trace in self._make_line(run, metric, _make_series_color(index), 1.2, index)
        ]
        color = _make_role_color("learning_rate")
        return [
            *self._make_spread(metric.name, color),
            *behind,
            *self._make_line(self.run, metric, color, 1.6),
        ]

    def _make_reward(self, name: str, color: Callable[[ColorPalette], str]) -> Trace:
        """Return the line of one of several rewards; their bands would hide each other."""
        metric = metrics.get_metric(name)
        return Trace(
            self.run.steps.get_curve(name), TraceStyle(color, 1.6), self.chart.get_palette,
            self.get_smoothing_width, title=tr(metric.title), metric=metric, mark="━",
        )  # fmt: skip

    def _make_spread(
        self, name: str, color: Callable[[ColorPalette], str], title: str = ""
    ) -> list[Trace]:
        """Return the band of a mean reward; [] for another quantity."""
        if not (spread := metrics.get_spread_name(name)):
            return []
        mean, deviation = self.run.steps.get_curve(name), self.run.steps.get_curve(spread)
        metric = metrics.get_metric(spread)
        return [
            SpreadTrace(
                mean, deviation, color, self.chart.get_palette, self.get_smoothing_width,
                metric=metric, title=title,
            )
        ]  # fmt: skip

    def _make_line(
        self,
        run: RunCurves,
        metric: PlottedMetric,
        color: Callable[[ColorPalette], str],
        width: float,
        index: int | None = None,
    ) -> list[Trace]:
        """Return a line, above its pale raw values if it is jagged and in the foreground."""
        curve = run.steps.get_curve(metric.name)
        tag = "" if index is None else _get_letter(index)
        name = _format_name(tr(metric.inline), tag)
        make_trace = partial(
            Trace, curve, palette=self.chart.get_palette, metric=metric, mark="━", tag=tag
        )
        if not (metric.jagged and self.share):
            return [make_trace(TraceStyle(color, 1.0 if metric.jagged else width), title=name)]
        title = name if tag else tr("smoothed")
        smooth = make_trace(
            TraceStyle(color, width), smoothing=self.get_smoothing_width, title=title
        )
        return [smooth] if tag else [make_trace(TraceStyle(color, 1.0, 0.3), title=name), smooth]


def _format_name(name: str, tag: str) -> str:
    return f"{name}, {tag}" if tag else name


def _get_letter(index: int) -> str:
    return "ABCD"[index]


#: Pixels between two points of the band.
_EVERY = 3
#: Opacity of the band.
_STRENGTH = 0.16


class SpreadTrace(Trace):
    """Fills the range from `mean - spread` to `mean + spread`; its value in the readout is the spread."""

    def __init__(
        self,
        mean: Curve,
        spread: Curve,
        color: Callable[[ColorPalette], str],
        palette: Callable[[], ColorPalette],
        smoothing: Callable[[Curve], int] | None,
        *,
        metric: PlottedMetric,
        title: str = "",
    ) -> None:
        """Draw both curves, smoothed over the same points."""
        look = TraceStyle(color, 1.0, _STRENGTH)
        super().__init__(spread, look, palette, smoothing, metric=metric, title=title, mark="▒")
        self._mean = mean

    def get_band(self) -> tuple[Values, Values, Values]:
        """Return steps, lower, and upper edge in the current view, without steps that lack either curve."""
        box = self.getViewBox()
        (low, high), width = box.viewRange()[0], max(1, self.width())
        columns = max(2, int(box.width()) // _EVERY)
        x, mean = self._mean.smooth(low, high, columns, width)
        _, spread = self.curve.smooth(low, high, columns, width)
        lower, upper = mean - spread, mean + spread
        if self.log:
            lower, upper = (np.log10(np.where(edge > 0, edge, np.nan)) for edge in (lower, upper))
        known = np.isfinite(lower) & np.isfinite(upper)
        return x[known], lower[known], upper[known]

    def get_shown_points(self) -> tuple[Values, Values]:
        """Return the points of both edges."""
        x, lower, upper = self.get_band()
        return np.concatenate([x, x[::-1]]), np.concatenate([upper, lower[::-1]])

    def paint_pixels(self, painter: QPainter, transform: QTransform) -> None:
        px, py = self.get_pixels(transform)
        if len(px) < 4:  # one step is a dot of the mean
            return
        palette = self.palette()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(mix_colors(self.look.color(palette), palette.card, _STRENGTH))
        painter.drawPolygon(QPolygonF([QPointF(*at) for at in zip(px, py, strict=True)]))


#: Scale of the picture relative to the screen, so that text is readable on paper and slides.
SCALE = 2.0


def render_picture(
    shown: Drawing, size: QSize, palette: ColorPalette, title: str, entries: list[Entry]
) -> QImage:
    """Return a picture of two charts with title and legend; `size` is in pixels."""
    image = QImage(size, QImage.Format.Format_RGB32)
    image.setDevicePixelRatio(SCALE)
    image.fill(QColor(palette.card))
    width, height = round(size.width() / SCALE), round(size.height() / SCALE)
    painter = QPainter(image)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    top = _write_head(painter, width, palette, title, entries)
    area = QSize(width - 2 * Spacing.L, height - top - Spacing.L)
    charts = _copy_charts(shown, area, palette)
    charts.render(painter, QPoint(Spacing.L, top), QRegion(), QWidget.RenderFlag.DrawChildren)
    painter.end()
    charts.deleteLater()
    return image


def _copy_charts(shown: Drawing, size: QSize, palette: ColorPalette) -> QWidget:
    """Return copies of the charts in other colors and another size."""
    holder = QWidget()
    layout = QVBoxLayout(holder)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(Spacing.S)
    chart, strip = (
        CurveChart(metrics.get_metric(shown.run.main).label, palette=palette),
        CurveChart("", palette=palette),
    )
    layout.addWidget(chart, 3)
    layout.addWidget(strip, 1)
    strip.follow(chart)
    copy = Drawing(chart, strip, shown.run)
    copy.share = shown.share
    copy.set_others(shown.others)
    copy.set_metric(shown.metric.name if shown.metric else "")
    strip.setVisible(shown.metric is not None)
    chart.show_steps_axis(shown.metric is None)
    chart.set_log(shown.chart.is_log)
    copy.refresh()
    copy.refresh_strip()
    holder.setAttribute(Qt.WidgetAttribute.WA_DontShowOnScreen)
    holder.resize(size)
    holder.show()  # computes the layout without showing the widget
    chart.set_x_range(*shown.chart.get_x_range())
    return holder


def _write_head(
    painter: QPainter, width: int, palette: ColorPalette, title: str, entries: list[Entry]
) -> int:
    """Paint title and legend; return where the charts start."""
    painter.setFont(theme.body_font(Size.SECTION, bold=True))
    painter.setPen(QColor(palette.text))
    line = QRectF(Spacing.L, Spacing.L, width - 2 * Spacing.L, 20)
    painter.drawText(line, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, title)
    font = theme.body_font(Size.CAPTION)
    painter.setFont(font)
    metrics = QFontMetricsF(font)
    x, y = float(Spacing.L), line.bottom() + Spacing.L
    for name, mark, color in entries:
        wide = metrics.horizontalAdvance(f"{mark}  {name}")
        if x > Spacing.L and x + wide > width - Spacing.L:
            x, y = float(Spacing.L), y + 18
        painter.setPen(QColor(color(palette)))
        painter.drawText(QPointF(x, y), mark)
        painter.setPen(QColor(palette.muted))
        painter.drawText(QPointF(x + metrics.horizontalAdvance(f"{mark}  "), y), name)
        x += wide + Spacing.L
    return round(y) + Spacing.M
