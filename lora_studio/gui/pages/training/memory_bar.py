"""A bar that shows the estimated memory by component, with a legend."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QRectF, QSize, Qt
from PySide6.QtGui import QBrush, QColor, QHelpEvent, QPainter, QPainterPath, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QToolTip, QVBoxLayout, QWidget

from lora_studio.core import formatting
from lora_studio.core.protocol.training import COMPONENTS, Component, MemoryEstimate
from lora_studio.gui import theme
from lora_studio.gui.language import tr
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import FlowLayout, label, row
from lora_studio.gui.widgets.tooltips import plain_tip

_HEIGHT, _GAP, _SWATCH = 18, 1.0, 10


def get_component_color(component: Component) -> QColor:
    """Return the color of a component in the current theme; the last one, overhead, is gray."""
    palette = theme.get_palette()
    index = list(COMPONENTS).index(component)
    return QColor(palette.series[index] if index < len(palette.series) else palette.muted)


class MemoryBar(QWidget):
    """Shows an estimate to scale, with its legend below; the rest of the bar is free memory.

    If the estimate exceeds the memory of the device, the bar spans the estimate and a line marks
    where the memory ends.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start without an estimate."""
        super().__init__(parent)
        self.bar = _Bar()
        self.entries = {name: _Entry(name) for name in COMPONENTS}
        self.free = label(role="caption")
        legend = QWidget()
        flow = FlowLayout(legend, spacing=Spacing.M)
        for entry in self.entries.values():
            flow.addWidget(entry)
        flow.addWidget(self.free)
        policy = legend.sizePolicy()
        policy.setHeightForWidth(True)
        legend.setSizePolicy(policy)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.S)
        layout.addWidget(self.bar)
        layout.addWidget(legend)
        theme.get_theme().changed.connect(self.update)
        self.show_estimate(None)

    def show_estimate(self, needed: MemoryEstimate | None) -> None:
        """Show an estimate, or nothing for None."""
        self.bar.show_estimate(needed)
        for name, entry in self.entries.items():
            entry.show_size(needed.parts[name] if needed else None)
        self.free.setText(_format_free(needed))
        self.free.setVisible(bool(self.free.text()))
        self.bar.setAccessibleName(describe(needed))


def describe(needed: MemoryEstimate | None) -> str:
    """Return the estimate as text for screen readers."""
    if needed is None:
        return tr("Memory: not available yet")
    parts = [
        f"{tr(COMPONENTS[name])} {formatting.format_memory(size)}"
        for name, size in needed.parts.items()
    ]
    return tr("Memory: {parts}; total {total}. {free}").format(
        parts=", ".join(parts),
        total=formatting.format_memory(needed.total),
        free=_format_free(needed),
    )


def _format_free(needed: MemoryEstimate | None) -> str:
    if needed is None or needed.available is None:
        return ""
    free = needed.available - needed.total
    return (
        tr("{left} free").format(left=formatting.format_memory(free))
        if free >= 0
        else tr("{missing} over the limit").format(missing=formatting.format_memory(-free))
    )


class _Bar(QWidget):
    """Components side by side, to scale."""

    def __init__(self) -> None:
        super().__init__()
        self._estimate: MemoryEstimate | None = None
        self.setFixedHeight(_HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_estimate(self, needed: MemoryEstimate | None) -> None:
        self._estimate = needed
        self.update()

    def sizeHint(self) -> QSize:
        """Return a width that fits all components."""
        return QSize(240, _HEIGHT)

    def list_segments(self) -> list[tuple[Component, QRectF]]:
        """Return the rectangle of each component, in pixels."""
        if (needed := self._estimate) is None:
            return []
        span = max(needed.total, needed.available or 0, 1)
        x, rectangles = 0.0, []
        for name, size in needed.parts.items():
            width = self.width() * size / span
            rectangles.append((name, QRectF(x, 0.0, width, float(self.height()))))
            x += width
        return rectangles

    def get_limit_position(self) -> float | None:
        """Return the x position where the device's memory ends, None if it isn't exceeded."""
        needed = self._estimate
        if needed is None or needed.available is None or needed.total <= needed.available:
            return None
        return self.width() * needed.available / needed.total

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint the components with thin gaps, which separate them without relying on color."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        frame = QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5)
        outline = QPainterPath()
        outline.addRoundedRect(frame, Spacing.XS, Spacing.XS)
        painter.fillPath(outline, theme.color("hover"))
        painter.setClipPath(outline)
        for name, rectangle in self.list_segments():
            if rectangle.width() >= _GAP:
                painter.fillRect(rectangle.adjusted(0, 0, -_GAP, 0), get_component_color(name))
        if (limit := self.get_limit_position()) is not None:
            excess = QRectF(limit, 0, self.width() - limit, self.height())
            error_color = theme.color("error")
            painter.fillRect(excess, QBrush(error_color, Qt.BrushStyle.BDiagPattern))
            painter.setPen(QPen(error_color, 2))
            painter.drawLine(excess.topLeft(), excess.bottomLeft())
        painter.setClipping(False)
        painter.setPen(QPen(theme.color("edge"), 1))
        painter.drawPath(outline)

    def event(self, event: QEvent) -> bool:
        """Show a tooltip for the component under the mouse."""
        if isinstance(event, QHelpEvent) and self._estimate is not None:
            for name, rectangle in self.list_segments():
                if rectangle.contains(event.pos()):
                    size = formatting.format_memory(self._estimate.parts[name])
                    QToolTip.showText(
                        event.globalPos(), plain_tip(f"{tr(COMPONENTS[name])}: {size}"), self
                    )
                    return True
        return super().event(event)


class _Entry(QWidget):
    """An entry of the legend: color, name and size of a component."""

    def __init__(self, component: Component) -> None:
        super().__init__()
        self._name = tr(COMPONENTS[component])
        self.text = label(role="caption")
        self.setLayout(row(_Swatch(component), self.text, spacing=Spacing.XS))

    def show_size(self, size: int | None) -> None:
        self.text.setText(
            f"{self._name} {formatting.format_memory(size)}" if size is not None else self._name
        )


class _Swatch(QWidget):
    """A square in the color of a component."""

    def __init__(self, component: Component) -> None:
        super().__init__()
        self._component = component
        self.setFixedSize(_SWATCH, _SWATCH)
        theme.get_theme().changed.connect(self.update)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint the square in the current theme's color."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(get_component_color(self._component))
        painter.drawRoundedRect(self.rect(), 2, 2)
