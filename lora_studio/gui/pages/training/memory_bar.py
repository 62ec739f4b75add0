"""What a training takes of a device's memory: one bar of all parts, each with name and number."""

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

_HEIGHT, _GAP, _SWATCH = 18, 1.0, 10


def shade(component: Component) -> QColor:
    """The colour of a part in the palette in force; the last one is grey, as it is nobody's."""
    palette = theme.current()
    place = list(COMPONENTS).index(component)
    return QColor(palette.series[place] if place < len(palette.series) else palette.muted)


class MemoryBar(QWidget):
    """The bar, and under it the legend; what is free is the rest of the bar.

    Where more is needed than there is, the bar is as long as the need, and a line says where the
    memory ends.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        """Empty until there is an estimate."""
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
        theme.theme().changed.connect(self.update)
        self.show_estimate(None)

    def show_estimate(self, found: MemoryEstimate | None) -> None:
        """Takes an estimate; None while there is none."""
        self.bar.show_estimate(found)
        for name, entry in self.entries.items():
            entry.show_size(found.parts[name] if found else None)
        self.free.setText(_free(found))
        self.free.setVisible(bool(self.free.text()))
        self.bar.setAccessibleName(in_words(found))


def in_words(found: MemoryEstimate | None) -> str:
    """The bar for those who hear it."""
    if found is None:
        return tr("Memory: not known yet")
    parts = [
        f"{tr(COMPONENTS[name])} {formatting.memory(size)}" for name, size in found.parts.items()
    ]
    return tr("Memory: {parts}; together {total}. {free}").format(
        parts=", ".join(parts), total=formatting.memory(found.total), free=_free(found)
    )


def _free(found: MemoryEstimate | None) -> str:
    if found is None or found.available is None:
        return ""
    left = found.available - found.total
    return (
        tr("Free {left}").format(left=formatting.memory(left))
        if left >= 0
        else tr("Lacking {missing}").format(missing=formatting.memory(-left))
    )


class _Bar(QWidget):
    """Parts side by side, to scale."""

    def __init__(self) -> None:
        super().__init__()
        self._found: MemoryEstimate | None = None
        self.setFixedHeight(_HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_estimate(self, found: MemoryEstimate | None) -> None:
        self._found = found
        self.update()

    def sizeHint(self) -> QSize:
        """Wide enough for seven parts."""
        return QSize(240, _HEIGHT)

    def segments(self) -> list[tuple[Component, QRectF]]:
        """Where each part is."""
        if (found := self._found) is None:
            return []
        whole = max(found.total, found.available or 0, 1)
        x, made = 0.0, []
        for name, size in found.parts.items():
            width = self.width() * size / whole
            made.append((name, QRectF(x, 0.0, width, float(self.height()))))
            x += width
        return made

    def limit(self) -> float | None:
        """Where the memory of the device ends, if that is inside the bar."""
        found = self._found
        if found is None or found.available is None or found.total <= found.available:
            return None
        return self.width() * found.available / found.total

    def paintEvent(self, event: QPaintEvent) -> None:
        """Thin gaps keep neighbours apart, also for whom the colours are one."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        frame = QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5)
        outline = QPainterPath()
        outline.addRoundedRect(frame, Spacing.XS, Spacing.XS)
        painter.fillPath(outline, theme.color("hover"))
        painter.setClipPath(outline)
        for name, place in self.segments():
            if place.width() >= _GAP:
                painter.fillRect(place.adjusted(0, 0, -_GAP, 0), shade(name))
        if (limit := self.limit()) is not None:
            beyond = QRectF(limit, 0, self.width() - limit, self.height())
            veil = theme.color("error")
            painter.fillRect(beyond, QBrush(veil, Qt.BrushStyle.BDiagPattern))
            painter.setPen(QPen(veil, 2))
            painter.drawLine(beyond.topLeft(), beyond.bottomLeft())
        painter.setClipping(False)
        painter.setPen(QPen(theme.color("edge"), 1))
        painter.drawPath(outline)

    def event(self, event: QEvent) -> bool:
        """A tooltip for the part under the mouse."""
        if isinstance(event, QHelpEvent) and self._found is not None:
            for name, place in self.segments():
                if place.contains(event.pos()):
                    size = formatting.memory(self._found.parts[name])
                    QToolTip.showText(event.globalPos(), f"{tr(COMPONENTS[name])}: {size}", self)
                    return True
        return super().event(event)


class _Entry(QWidget):
    """One line of the legend: a patch of the colour, the name, the number."""

    def __init__(self, component: Component) -> None:
        super().__init__()
        self._name = tr(COMPONENTS[component])
        self.text = label(role="caption")
        self.setLayout(row(_Swatch(component), self.text, spacing=Spacing.XS))

    def show_size(self, size: int | None) -> None:
        self.text.setText(
            f"{self._name} {formatting.memory(size)}" if size is not None else self._name
        )


class _Swatch(QWidget):
    """A patch of the colour of a part."""

    def __init__(self, component: Component) -> None:
        super().__init__()
        self._component = component
        self.setFixedSize(_SWATCH, _SWATCH)
        theme.theme().changed.connect(self.update)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Follows the theme."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(shade(self._component))
        painter.drawRoundedRect(self.rect(), 2, 2)
