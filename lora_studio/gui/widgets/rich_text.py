"""Rich text in the colors of the theme, and text fields that grow or have a fixed pitch."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import (
    QFocusEvent,
    QFont,
    QResizeEvent,
    QTextBlockFormat,
    QTextCharFormat,
    QTextCursor,
    QTextOption,
    QWheelEvent,
)
from PySide6.QtWidgets import QFrame, QPlainTextEdit, QSizePolicy, QTextEdit, QWidget

from lora_studio.gui.language import tr
from lora_studio.gui.theme import Size, color, get_monospace_family, get_theme


class RichText(QTextEdit):
    """A read-only text that is repainted when the theme changes; selectable by keyboard, too."""

    def __init__(self, paint: Callable[[], None], name: str) -> None:
        """Create it; `name` is the accessible name, and Tab leaves the text."""
        super().__init__()
        self.setReadOnly(True)
        self.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse
            | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self.setAccessibleName(name)
        self.setTabChangesFocus(True)
        self.setMinimumHeight(90)
        get_theme().changed.connect(paint)

    def start_document(self) -> QTextCursor:
        """Clear the document and return a cursor in it."""
        self.clear()
        return QTextCursor(self.document())


def make_text_format(
    role: str,
    *,
    size: int = 0,
    bold: bool = False,
    italic: bool = False,
    mono: bool = False,
) -> QTextCharFormat:
    """Return a character format in a color of the palette; `size` is in pixels."""
    text_style = QTextCharFormat()
    text_style.setForeground(color(role))
    text_style.setProperty(QTextCharFormat.Property.FontPixelSize, size or Size.BODY)
    text_style.setFontItalic(italic)
    if bold:
        text_style.setFontWeight(QFont.Weight.DemiBold)
    if mono:
        text_style.setFontFamilies([get_monospace_family()])
    return text_style


def make_block_format(above: int = 0, below: int = 0, indent: int = 0) -> QTextBlockFormat:
    """Return a block format with margins in pixels."""
    block_style = QTextBlockFormat()
    block_style.setTopMargin(above)
    block_style.setBottomMargin(below)
    block_style.setLeftMargin(indent)
    return block_style


def add_paragraph(
    cursor: QTextCursor, block: QTextBlockFormat, text: str, look: QTextCharFormat
) -> None:
    """Write a paragraph at the end of a document."""
    if cursor.document().isEmpty() and cursor.position() == 0:
        cursor.setBlockFormat(block)
    else:
        cursor.insertBlock(block)
    cursor.insertText(text, look)


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
