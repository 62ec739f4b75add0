"""Read-only rich text in the colors of the theme, and functions for its formats."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtGui import QFont, QTextBlockFormat, QTextCharFormat, QTextCursor
from PySide6.QtWidgets import QTextEdit

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
