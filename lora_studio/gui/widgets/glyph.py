"""A sign with words beside it, so that a state never rests on colour alone; and words cut short."""

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

from lora_studio.gui.text_size import sized
from lora_studio.gui.theme import Role, Spacing, current, pixmap, theme
from lora_studio.gui.widgets.basics import LabelRole, label, row, set_role

_GLYPHS: dict[Role, str] = {
    "ok": "check", "warn": "warning", "error": "error", "muted": "info", "accent": "info",
}  # fmt: skip


class Glyph(QLabel):
    """A small icon that is tinted again whenever the theme changes."""

    def __init__(self, name: str = "info", role: Role = "muted") -> None:
        """`name` is one of the icon set."""
        super().__init__()
        self._name, self._role = name, role
        sized(self, width=16, height=16)
        theme().changed.connect(self._paint)
        self._paint()

    def set_glyph(self, name: str, role: Role) -> None:
        """Another icon or colour."""
        if (name, role) != (self._name, self._role):
            self._name, self._role = name, role
            self._paint()

    def _paint(self) -> None:
        self.setPixmap(pixmap(self._name, getattr(current(), self._role), 16))


class StatusLabel(QWidget):
    """A sentence with the sign of its gravity before it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Nothing is said yet."""
        super().__init__(parent)
        self._glyph = Glyph()
        self._words = label(wrap=True)
        layout = row(self._glyph, self._words, spacing=Spacing.S)
        layout.setAlignment(self._glyph, Qt.AlignmentFlag.AlignTop)
        layout.setStretch(1, 1)
        self.setLayout(layout)

    def say(self, text: str, role: Role = "muted", glyph: str = "") -> None:
        """Words, and the role that gives sign and colour; body text stays in the text colour."""
        self._glyph.set_glyph(glyph or _GLYPHS.get(role, "info"), role)
        self._words.setText(text)
        tint: LabelRole = role if role in ("error", "warn", "muted") else "body"
        set_role(self._words, tint)

    def text(self) -> str:
        """What is said."""
        return self._words.text()


class ElidedLink(QPushButton):
    """A link that ends in … where there is no room for all its words."""

    def __init__(self, text: str, tip: str) -> None:
        """The tooltip says everything."""
        super().__init__(text, autoDefault=False)
        self.setProperty("kind", "link")
        self.setToolTip(tip)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)

    def minimumSizeHint(self) -> QSize:
        """A few letters."""
        few = self.fontMetrics().averageCharWidth() * 8
        return QSize(min(few, self.sizeHint().width()), super().minimumSizeHint().height())

    def paintEvent(self, event: QPaintEvent) -> None:
        """Only what fits."""
        painter, option = QStylePainter(self), QStyleOptionButton()
        self.initStyleOption(option)
        option.text = self.shown_text()
        painter.drawControl(QStyle.ControlElement.CE_PushButton, option)

    def shown_text(self) -> str:
        """The words, or their beginning where there is no room for all."""
        lacking = self.sizeHint().width() - self.width()
        if lacking <= 0:  # fractions of a pixel are no reason to cut
            return self.text()
        metrics = self.fontMetrics()
        room = metrics.horizontalAdvance(self.text()) - lacking
        return metrics.elidedText(self.text(), Qt.TextElideMode.ElideRight, room)


class ElidedLabel(QLabel):
    """One line that ends in … where the room ends; the tooltip has all of it."""

    def __init__(self, text: str = "", role: LabelRole = "body") -> None:
        """Takes what room there is and can do with little."""
        super().__init__(text, textFormat=Qt.TextFormat.PlainText)
        self.full = ""  # what the tooltip says also where nothing is cut
        self.setProperty("role", role)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)

    def minimumSizeHint(self) -> QSize:
        """A few letters."""
        return QSize(self.fontMetrics().averageCharWidth() * 6, super().minimumSizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Offers the whole text where it is cut."""
        super().resizeEvent(event)
        self._tell()

    def setText(self, text: str) -> None:
        """Other words."""
        super().setText(text)
        self._tell()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Only what fits; the middle goes, since names differ at their ends."""
        painter = QPainter(self)
        shown = self.fontMetrics().elidedText(
            self.text(), Qt.TextElideMode.ElideMiddle, self.width()
        )
        painter.setPen(self.palette().color(self.foregroundRole()))
        # Isolated: from right to left the first slash of a path would go to its end.
        painter.drawText(self.rect(), int(self.alignment()), f"\u2068{shown}\u2069")
        painter.end()

    def _tell(self) -> None:
        cut = self.fontMetrics().horizontalAdvance(self.text()) > self.width()
        self.setToolTip(self.full or (self.text() if cut else ""))
