"""Where a prompt is written: Enter sends it, Shift+Enter begins a new line."""

from __future__ import annotations

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QKeyEvent, QShowEvent
from PySide6.QtWidgets import QPlainTextEdit, QWidget

from lora_studio.gui.language import tr

#: Lines shown before the box scrolls.
_LINES = 6


class PromptBox(QPlainTextEdit):
    """Grows with what is written, up to some lines.

    Signals:
        sent: Enter was pressed with something written.
        recalled: Up was pressed in an empty box: the last prompt is to be edited.
        given_up: Esc was pressed.
    """

    sent = Signal()
    recalled = Signal()
    given_up = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Empty."""
        super().__init__(parent)
        self.setAccessibleName(tr("Prompt"))
        self.setPlaceholderText(tr("Enter a prompt (Enter to send, Shift+Enter for a new line)"))
        self.setTabChangesFocus(True)
        self.textChanged.connect(self._fit)
        self._fit()

    def text(self) -> str:
        """What is written."""
        return self.toPlainText()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter, Up and Esc."""
        shifted = event.modifiers() & Qt.KeyboardModifier.ShiftModifier
        match event.key():
            case Qt.Key.Key_Return | Qt.Key.Key_Enter if not shifted:
                if self.text().strip():
                    self.sent.emit()
            case Qt.Key.Key_Up if not self.text():
                self.recalled.emit()
            case Qt.Key.Key_Escape:
                self.given_up.emit()
            case _:
                super().keyPressEvent(event)

    def showEvent(self, event: QShowEvent) -> None:
        """The style sheet's own margins are known from now on."""
        super().showEvent(event)
        self._fit()

    def changeEvent(self, event: QEvent) -> None:
        """Text of another size needs another height."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._fit()

    def _fit(self) -> None:
        lines = min(max(self.document().blockCount(), 2), _LINES)
        margins = self.contentsMargins().top() + self.contentsMargins().bottom() + 14
        height = lines * self.fontMetrics().lineSpacing() + margins
        if height != self.height():
            self.setFixedHeight(height)
