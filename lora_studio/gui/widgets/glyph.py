"""Icons with text, so that no state relies on color alone, and elided labels."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import (
    QLabel,
    QPushButton,
    QSizePolicy,
    QStyle,
    QStyleOptionButton,
    QStylePainter,
    QWidget,
)

from lora_studio.gui.text_size import set_scaled_sizes
from lora_studio.gui.theme import Role, Spacing, get_palette, get_theme, pixmap
from lora_studio.gui.widgets.basics import LabelRole, label, row, set_role
from lora_studio.gui.widgets.tooltips import plain_tip

_GLYPHS: dict[Role, str] = {
    "ok": "check", "warn": "warning", "error": "error", "muted": "info", "accent": "info",
}  # fmt: skip


class Glyph(QLabel):
    """A small icon whose color follows the theme."""

    def __init__(self, name: str = "info", role: Role = "muted") -> None:
        """Show an icon of the icon set."""
        super().__init__()
        self._name, self._role = name, role
        set_scaled_sizes(self, width=16, height=16)
        get_theme().changed.connect(self._paint)
        self._paint()

    def set_glyph(self, name: str, role: Role) -> None:
        """Set another icon or color."""
        if (name, role) != (self._name, self._role):
            self._name, self._role = name, role
            self._paint()

    def _paint(self) -> None:
        self.setPixmap(pixmap(self._name, getattr(get_palette(), self._role), 16))


class StatusLabel(QWidget):
    """A text with an icon for its severity."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create it without text."""
        super().__init__(parent)
        self._glyph = Glyph()
        self.label = label(wrap=True)
        layout = row(self._glyph, self.label, spacing=Spacing.S)
        layout.setAlignment(self._glyph, Qt.AlignmentFlag.AlignTop)
        layout.setStretch(1, 1)
        self.setLayout(layout)

    def set_status(self, text: str, role: Role = "muted", glyph: str = "") -> None:
        """Show a text; the role decides icon and color."""
        self._glyph.set_glyph(glyph or _GLYPHS.get(role, "info"), role)
        self.label.setText(text)
        tint: LabelRole = role if role in ("error", "warn", "muted") else "body"
        set_role(self.label, tint)

    def text(self) -> str:
        """Return the shown text."""
        return self.label.text()


class ElidedLink(QPushButton):
    """A link that is elided when there is no space."""

    def __init__(self, text: str, tip: str) -> None:
        """Create the link; the tooltip has the full text."""
        super().__init__(text, autoDefault=False)
        self.setProperty("kind", "link")
        self.setToolTip(plain_tip(tip))
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)

    def minimumSizeHint(self) -> QSize:
        """Return the width of a few letters."""
        few = self.fontMetrics().averageCharWidth() * 8
        return QSize(min(few, self.sizeHint().width()), super().minimumSizeHint().height())

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint what fits."""
        painter, option = QStylePainter(self), QStyleOptionButton()
        self.initStyleOption(option)
        option.text = self.get_elided_text()
        painter.drawControl(QStyle.ControlElement.CE_PushButton, option)

    def get_elided_text(self) -> str:
        """Return the text as shown, elided if necessary."""
        lacking = self.sizeHint().width() - self.width()
        if lacking <= 0:  # fractions of a pixel are ignored
            return self.text()
        metrics = self.fontMetrics()
        room = metrics.horizontalAdvance(self.text()) - lacking
        return metrics.elidedText(self.text(), Qt.TextElideMode.ElideRight, room)


class ElidedLabel(QLabel):
    """A one-line label that is elided; the tooltip has the full text."""

    def __init__(self, text: str = "", role: LabelRole = "body") -> None:
        """Create a label that shrinks as needed."""
        super().__init__(text, textFormat=Qt.TextFormat.PlainText)
        self.full = ""  # a tooltip to show even if the text isn't elided
        self.setProperty("role", role)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)

    def minimumSizeHint(self) -> QSize:
        """Return the width of a few letters."""
        return QSize(self.fontMetrics().averageCharWidth() * 6, super().minimumSizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Set the tooltip if the text is elided."""
        super().resizeEvent(event)
        self._update_tooltip()

    def setText(self, text: str) -> None:
        """Set the text."""
        super().setText(text)
        self._update_tooltip()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint the text, elided in the middle because names differ at their ends."""
        painter = QPainter(self)
        elided = self.fontMetrics().elidedText(
            self.text(), Qt.TextElideMode.ElideMiddle, self.width()
        )
        painter.setPen(self.palette().color(self.foregroundRole()))
        painter.drawText(self.rect(), int(self.alignment()), elided)
        painter.end()

    def _update_tooltip(self) -> None:
        cut = self.fontMetrics().horizontalAdvance(self.text()) > self.width()
        self.setToolTip(plain_tip(self.full or (self.text() if cut else "")))
