"""Read-only text that grows with its content."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QResizeEvent, QTextCursor, QTextOption, QWheelEvent
from PySide6.QtWidgets import QFrame, QSizePolicy, QTextEdit, QWidget

from lora_studio.gui.theme import color, get_theme


class GrowingText(QTextEdit):
    """Plain text without scroll bars, selectable by mouse and keyboard."""

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        """Create it; `name` is the accessible name."""
        super().__init__(parent)
        self._role = "text"
        self.setAccessibleName(name)
        self.setReadOnly(True)
        self.setAcceptRichText(False)
        self.setTabChangesFocus(True)
        self.setProperty("plain", True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWordWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        self.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse
            | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.document().setDocumentMargin(2)
        self.document().documentLayout().documentSizeChanged.connect(lambda _: self._fit())
        get_theme().changed.connect(self._tint)

    def show_text(self, text: str, role: str = "text") -> None:
        """Replace the text after the common beginning, so that a selection there is kept."""
        current = self.toPlainText()
        if role != self._role:
            self._role = role
            self._tint()
        if text == current:
            return
        cursor = QTextCursor(self.document())
        if text.startswith(current):
            cursor.movePosition(QTextCursor.MoveOperation.End)
            text = text[len(current) :]
        else:
            cursor.select(QTextCursor.SelectionType.Document)
        look = cursor.charFormat()
        look.setForeground(color(self._role))
        cursor.insertText(text, look)

    def text(self) -> str:
        """Return the text."""
        return self.toPlainText()

    def sizeHint(self) -> QSize:
        """Return the height of the text at this width."""
        return QSize(super().sizeHint().width(), self._measure_height())

    def minimumSizeHint(self) -> QSize:
        """Return the size of a narrow column of the text."""
        return QSize(80, self._measure_height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Update the height for the new width."""
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self._fit()

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Let the parent scroll."""
        event.ignore()

    def _measure_height(self) -> int:
        return int(self.document().size().height()) + 2 * self.frameWidth() + 1

    def _fit(self) -> None:
        if self.height() != self._measure_height():
            self.setFixedHeight(self._measure_height())

    def _tint(self) -> None:
        cursor = QTextCursor(self.document())
        cursor.select(QTextCursor.SelectionType.Document)
        look = cursor.charFormat()
        look.setForeground(color(self._role))
        cursor.mergeCharFormat(look)
