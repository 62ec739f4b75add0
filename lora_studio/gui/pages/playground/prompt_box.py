"""Text box for the prompt: Enter sends, Shift+Enter inserts a new line."""

from __future__ import annotations

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QKeyEvent, QShowEvent
from PySide6.QtWidgets import QPlainTextEdit, QWidget

from lora_studio.gui.language import tr

#: Maximum number of visible lines.
_MAX_LINES = 6


class PromptBox(QPlainTextEdit):
    """A text box that grows with the text, up to a few lines.

    Signals:
        sent: Enter was pressed in a box that isn't empty.
        recalled: Up was pressed in an empty box: edit the last prompt.
        canceled: Esc was pressed.
    """

    sent = Signal()
    recalled = Signal()
    canceled = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty."""
        super().__init__(parent)
        self.setAccessibleName(tr("Prompt"))
        self.setPlaceholderText(tr("Enter a prompt (Enter to send, Shift+Enter for a new line)"))
        self.setTabChangesFocus(True)
        self.textChanged.connect(self._fit)
        self._fit()

    def text(self) -> str:
        """Return the text."""
        return self.toPlainText()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Handle Enter, Up and Esc."""
        shifted = event.modifiers() & Qt.KeyboardModifier.ShiftModifier
        match event.key():
            case Qt.Key.Key_Return | Qt.Key.Key_Enter if not shifted:
                if self.text().strip():
                    self.sent.emit()
            case Qt.Key.Key_Up if not self.text():
                self.recalled.emit()
            case Qt.Key.Key_Escape:
                self.canceled.emit()
            case _:
                super().keyPressEvent(event)

    def showEvent(self, event: QShowEvent) -> None:
        """Fit the height once the margins of the style sheet are known."""
        super().showEvent(event)
        self._fit()

    def changeEvent(self, event: QEvent) -> None:
        """Fit the height to the text size."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._fit()

    def _fit(self) -> None:
        lines = min(max(self.document().blockCount(), 2), _MAX_LINES)
        margins = self.contentsMargins().top() + self.contentsMargins().bottom() + 14
        height = lines * self.fontMetrics().lineSpacing() + margins
        if height != self.height():
            self.setFixedHeight(height)
