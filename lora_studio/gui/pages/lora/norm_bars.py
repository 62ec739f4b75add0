"""A bar chart of how strongly an adapter changes each layer."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from PySide6.QtCore import QEvent, QRectF, QSize, Qt
from PySide6.QtGui import QHelpEvent, QKeyEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from lora_studio.core.formatting import format_float
from lora_studio.core.lora.adapters import LayerFacts
from lora_studio.gui.language import tr
from lora_studio.gui.text_size import Size
from lora_studio.gui.theme import body_font, color, get_theme
from lora_studio.gui.widgets.basics import FocusFrame
from lora_studio.gui.widgets.tooltips import plain_tip

_LAYER = re.compile(r"\.(\d+)\.")
_HEIGHT = 120


class NormBars(FocusFrame):
    """A bar per layer, from first to last; arrow keys and the mouse show a bar's values."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create the chart without layers."""
        super().__init__(parent)
        self._groups: list[tuple[str, list[tuple[str, float]]]] = []
        self._at = -1
        self.setAccessibleName(tr("Update strength by layer"))
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        get_theme().changed.connect(self.update)

    def show_layers(self, layers: Sequence[LayerFacts]) -> None:
        """Show the layers whose norm is known."""
        groups: dict[str, list[tuple[str, float]]] = {}
        for layer in layers:
            if layer.norm is not None and math.isfinite(layer.norm):
                match = _LAYER.search(layer.module)
                group = match[1] if match else layer.module
                name = layer.module[match.end() :] if match else layer.module
                groups.setdefault(group, []).append((name, layer.norm))
        self._groups = list(groups.items())
        self._at = -1
        self.setAccessibleDescription(self.summarize())
        self.setVisible(bool(groups))
        self.update()

    def update_norms(self) -> list[float]:
        """Return the Frobenius norm of each layer's update: √Σ of the squares over its modules."""
        return [math.hypot(*(norm for _, norm in modules)) for _, modules in self._groups]

    def summarize(self) -> str:
        """Return one sentence that describes the chart."""
        strengths = self.update_norms()
        if not strengths:
            return ""
        most = max(range(len(strengths)), key=strengths.__getitem__)
        return tr("Largest update: layer {layer}, ‖ΔW‖ {norm}.").format(
            layer=self._groups[most][0], norm=format_float(strengths[most], ".3g")
        )

    def describe_bar(self, bar: int) -> str:
        """Return the text of a bar: its layer and the modules in it."""
        if not 0 <= bar < len(self._groups):
            return ""
        group, modules = self._groups[bar]
        each = "\n".join(f"{name}  {format_float(norm, '.3g')}" for name, norm in modules)
        return tr("Layer {layer}: ‖ΔW‖ {norm}").format(
            layer=group, norm=format_float(self.update_norms()[bar], ".3g")
        ) + (f"\n{each}" if len(modules) > 1 else "")

    def sizeHint(self) -> QSize:
        """Return a small size."""
        return QSize(280, Size.scale_height(_HEIGHT))

    def minimumSizeHint(self) -> QSize:
        """Return a narrow size."""
        return QSize(120, Size.scale_height(_HEIGHT))

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint the bars, and the numbers of the first and the last layer below them."""
        super().paintEvent(event)  # the frame
        strengths = self.update_norms()
        highest = max(strengths, default=0.0)
        if highest <= 0:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        font = body_font(Size.CAPTION)
        painter.setFont(font)
        below = painter.fontMetrics().height() + 4
        base = self.height() - below
        for bar, strength in enumerate(strengths):
            box = self._get_bar_rect(bar)
            height = max(1.0, (base - 4) * strength / highest)
            box.setTop(base - height)
            box.setBottom(base)
            chosen = self.hasFocus() and bar == self._at
            painter.fillRect(box, color("evaluation" if chosen else "accent"))
        painter.setPen(color("line"))
        painter.drawLine(0, base, self.width(), base)
        painter.setPen(color("muted"))
        label_area = QRectF(0, base + 2, self.width(), below)
        painter.drawText(label_area, Qt.AlignmentFlag.AlignLeft, self._groups[0][0])
        last = self._groups[-1][0] if len(self._groups) > 1 else ""
        painter.drawText(label_area, Qt.AlignmentFlag.AlignRight, last)
        painter.drawText(label_area, Qt.AlignmentFlag.AlignHCenter, tr("layer"))
        painter.end()

    def event(self, event: QEvent) -> bool:
        """Show the values of the bar under the mouse."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            QToolTip.showText(
                event.globalPos(), plain_tip(self.describe_bar(self._find_bar(event.pos().x())))
            )
            return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Move from bar to bar with Left and Right."""
        step = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}.get(Qt.Key(event.key()))
        if step is None or not self._groups:
            super().keyPressEvent(event)
            return
        self._at = min(max(self._at + step, 0), len(self._groups) - 1)
        self.setAccessibleDescription(self.describe_bar(self._at))
        position = self.mapToGlobal(self._get_bar_rect(self._at).center().toPoint())
        QToolTip.showText(position, plain_tip(self.describe_bar(self._at)))
        self.update()

    def _get_bar_rect(self, bar: int) -> QRectF:
        width = self.width() / max(len(self._groups), 1)
        gap = min(3.0, width * 0.25)
        return QRectF(bar * width + gap / 2, 0, min(width - gap, 40.0), self.height())

    def _find_bar(self, x: int) -> int:
        return int(x * len(self._groups) / max(self.width(), 1))
