"""The navigation rail: one entry per page, which shows the state of each step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from PySide6.QtCore import QEvent, QRect, QSize, Qt, Signal
from PySide6.QtGui import QFontMetrics, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import (
    QAbstractButton,
    QButtonGroup,
    QFrame,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from lora_studio.gui.language import tr
from lora_studio.gui.theme import Size, Spacing, body_font, color, get_palette, get_theme, pixmap

State = Literal["", "todo", "ready", "problem", "running", "paused"]

_GLYPHS = {
    "todo": "state-todo", "ready": "check", "problem": "warning", "running": "state-running",
    "paused": "pause",
}  # fmt: skip
_TINTS = {
    "todo": "muted", "ready": "ok", "problem": "error", "running": "accent", "paused": "accent",
}  # fmt: skip
#: Minimum width in pixels; longer titles widen the rail.
WIDTH = 184
#: Sizes of the icon and the glyph at a text size of 100 %, and margin around the glyph, in pixels.
_ICON, _GLYPH, _GLYPH_MARGIN = 20, 18, 10

_ALIGNED = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft


@dataclass(frozen=True)
class RailState:
    """The state of a step; `caption` appears below its title."""

    state: State = ""
    caption: str = ""


class RailButton(QAbstractButton):
    """An entry of the rail: icon, title, and state as a glyph and as text."""

    def __init__(self, icon: str, title: str, parent: QWidget | None = None) -> None:
        """Create an entry; entries without a state are shorter."""
        super().__init__(parent)
        self._icon, self._state = icon, RailState()
        self.setText(title)
        self.setCheckable(True)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.set_state(RailState())

    @property
    def state(self) -> RailState:
        """The shown state."""
        return self._state

    def set_state(self, state: RailState) -> None:
        """Show a state."""
        if state == self._state and self.accessibleName():
            return
        self._state = state
        name = f"{self.text()}, {state.caption}" if state.caption else self.text()
        self.setAccessibleName(name)
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:
        """Return the width of the rail and the height of one or two lines."""
        title, caption = _measure_heights()
        lines = title + caption + Spacing.S if self._state.state else title + Spacing.XL
        return QSize(self._measure_width(), max(lines, 46 if self._state.state else 38))

    def _measure_width(self) -> int:
        """Return the width that the title needs in bold."""
        title = QFontMetrics(body_font(bold=True)).horizontalAdvance(self.text())
        around = (
            2 * Spacing.M + Size.scaled(_ICON) + Size.scaled(_GLYPH) + _GLYPH_MARGIN + Spacing.S
        )
        return max(WIDTH - 2 * Spacing.S, around + title)

    def event(self, event: QEvent) -> bool:
        """Repaint when the mouse enters or leaves."""
        if event.type() in (QEvent.Type.HoverEnter, QEvent.Type.HoverLeave):
            self.update()
        return super().event(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint background, icon, title, caption and glyph."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self._paint_background(painter)
        palette, selected, enabled = get_palette(), self.isChecked(), self.isEnabled()
        tint = palette.disabled if not enabled else palette.accent if selected else palette.muted
        middle = self.height() // 2
        side, mark = Size.scaled(_ICON), Size.scaled(_GLYPH)
        painter.drawPixmap(Spacing.M, middle - side // 2, pixmap(self._icon, tint, _ICON))
        painter.setPen(color("text" if enabled else "disabled"))
        painter.setFont(body_font(bold=selected))
        left = Spacing.M + side + Spacing.M
        width = self.width() - left - mark - _GLYPH_MARGIN
        if not self._state.caption:
            painter.drawText(QRect(left, 0, width + 20, self.height()), _ALIGNED, self.text())
            return
        title, caption = _measure_heights()
        top = middle - (title + caption) // 2
        painter.drawText(QRect(left, top, width, title), _ALIGNED, self.text())
        tint = getattr(palette, _TINTS[self._state.state]) if enabled else palette.disabled
        self._paint_caption(painter, QRect(left, top + title, width, caption))
        glyph = (
            "state-here" if selected and self._state.state == "todo" else _GLYPHS[self._state.state]
        )
        tint = palette.accent if glyph == "state-here" else tint
        x = self.width() - mark - _GLYPH_MARGIN
        painter.drawPixmap(x, middle - mark // 2, pixmap(glyph, tint, _GLYPH))

    def _paint_caption(self, painter: QPainter, area: QRect) -> None:
        is_calm = self._state.state in ("todo", "ready")
        tint = "muted" if is_calm else _TINTS[self._state.state]
        painter.setPen(color(tint if self.isEnabled() else "disabled"))
        painter.setFont(body_font(Size.CAPTION))
        text = painter.fontMetrics().elidedText(
            self._state.caption, Qt.TextElideMode.ElideRight, area.width()
        )
        painter.drawText(area, _ALIGNED, text)

    def _paint_background(self, painter: QPainter) -> None:
        area = self.rect().adjusted(1, 1, -1, -1)
        if self.isChecked() or (self.underMouse() and self.isEnabled()):
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(color("selected" if self.isChecked() else "hover"))
            painter.drawRoundedRect(area, Spacing.RADIUS_CONTROL, Spacing.RADIUS_CONTROL)
        if self.hasFocus():
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(color("accent"), 1.5))
            painter.drawRoundedRect(area, Spacing.RADIUS_CONTROL, Spacing.RADIUS_CONTROL)


def _measure_heights() -> tuple[int, int]:
    """Return the heights in pixels of a title and of the caption below it."""
    fonts = body_font(bold=True), body_font(Size.CAPTION)
    title, caption = (QFontMetrics(font).height() for font in fonts)
    return max(title, 18), max(caption, 16)


class Rail(QFrame):
    """The entries of all pages; one is selected.

    Signals:
        selected(name): the user selected the page with this name.
    """

    selected = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create an empty rail; `add` appends entries from top to bottom."""
        super().__init__(parent)
        self.setProperty("surface", "rail")
        self._buttons: dict[str, RailButton] = {}
        self._group = QButtonGroup(self)
        self._group.setExclusive(True)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(Spacing.S, Spacing.M, Spacing.S, Spacing.M)
        self._layout.setSpacing(2)
        self._fit()
        get_theme().changed.connect(self._fit)

    def add(self, name: str, icon: str, title: str) -> None:
        """Append an entry."""
        button = RailButton(icon, tr(title))
        self._buttons[name] = button
        self._group.addButton(button)
        self._layout.addWidget(button)
        button.clicked.connect(lambda: self.selected.emit(name))
        self._fit()

    def _fit(self) -> None:
        """Widen the rail to the longest title."""
        widths = (button.sizeHint().width() + 2 * Spacing.S for button in self._buttons.values())
        self.setFixedWidth(max(widths, default=WIDTH))

    def add_gap(self, height: int = Spacing.M) -> None:
        """Append a gap between groups."""
        self._layout.addSpacing(height)

    def add_space(self) -> None:
        """Push everything after this to the bottom."""
        self._layout.addStretch(1)

    def button(self, name: str) -> RailButton:
        """Return the entry of a page."""
        return self._buttons[name]

    def select(self, name: str) -> None:
        """Select an entry without emitting `selected`."""
        self._buttons[name].setChecked(True)
