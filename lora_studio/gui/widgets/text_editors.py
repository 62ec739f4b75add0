"""Editors of several lines: notes, and code to read."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtGui import QFocusEvent
from PySide6.QtWidgets import QPlainTextEdit

from lora_studio.gui.language import tr


class NoteEditor(QPlainTextEdit):
    """Edits notes about a run.

    Signals:
        editing_finished: the editor has lost the focus.
    """

    editing_finished = Signal()

    def __init__(self) -> None:
        """Create an empty editor that Tab leaves."""
        super().__init__()
        self.setPlaceholderText(tr("What you tried and what you observed"))
        self.setTabChangesFocus(True)

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """Report the end of editing."""
        super().focusOutEvent(event)
        self.editing_finished.emit()


class CodeView(QPlainTextEdit):
    """Shows code in a fixed-width font, without wrapping lines."""

    def __init__(self, name: str) -> None:
        """Create an empty view; `name` is the accessible name."""
        super().__init__(readOnly=True)
        self.setProperty("mono", True)
        self.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.setAccessibleName(name)
