"""Render the curves of a training run as a picture of any size."""

from __future__ import annotations

from PySide6.QtCore import QPoint, QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFontMetricsF, QImage, QPainter, QRegion
from PySide6.QtWidgets import QVBoxLayout, QWidget

from lora_studio.gui import theme
from lora_studio.gui.plots import metrics
from lora_studio.gui.plots.curve_chart import CurveChart
from lora_studio.gui.plots.drawing import Drawing
from lora_studio.gui.plots.step_plot import Entry
from lora_studio.gui.theme import ColorPalette, Size, Spacing

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
