"""Text of an answer, rendered as Markdown or shown as plain text."""

from __future__ import annotations

import re
from typing import Any

from PySide6.QtCore import QUrl
from PySide6.QtGui import (
    QTextBlock,
    QTextCharFormat,
    QTextCursor,
    QTextDocument,
    QTextFormat,
    QTextTable,
)
from PySide6.QtWidgets import QWidget

from lora_studio.gui.theme import Size, Spacing, color, theme
from lora_studio.gui.widgets.growing_text import GrowingText

#: What makes an answer Markdown: a fence, heading, list, quote or table, or something set off in a line.
_MARKED = re.compile(
    r"^ {0,3}(```|~~~|#{1,6} |[-*+] |\d{1,3}[.)] |> |\|.+\|\s*$)"
    r"|\*\*\S|`[^`\n]+`|\[[^\]\n]+\]\([^)\n]+\)",
    re.MULTILINE,
)
_FENCE = re.compile(r" {0,3}(```+|~~~+)")
#: Tags stay words: an answer brings no pictures, styles or pages of its own.
_FEATURES = (
    QTextDocument.MarkdownFeature.MarkdownDialectGitHub
    | QTextDocument.MarkdownFeature.MarkdownNoHTML
)


class AnswerText(GrowingText):
    """Show plain text while the answer is generated, to keep the selection, and Markdown
    afterwards.
    """

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        """Create an empty text; `name` is the accessible name."""
        super().__init__(name, parent)
        self._said, self._laid_out = "", False
        self._raw = False
        self.document().setDocumentMargin(0)  # in line with what stands above and below
        theme().changed.connect(self._set_off)

    def loadResource(self, kind: int, url: QUrl | str) -> Any:
        """Return None: resources that an answer links to are never loaded."""
        return None

    def text(self) -> str:
        """Return the raw text of the answer."""
        return self._said

    def show_text(self, text: str, role: str = "text") -> None:
        """Show plain text."""
        if self._laid_out:
            self.setPlainText("")
            self._laid_out = False
        self._said = text
        super().show_text(text, role)

    def show_answer(self, text: str) -> None:
        """Show a complete answer."""
        wanted = has_markup(text) and not self._raw
        if not wanted:
            self.show_text(text)
        elif not self._laid_out or text != self._said:
            self._said, self._laid_out = text, True
            self.document().setMarkdown(with_line_breaks(text), _FEATURES)
            self._tint()
            self._set_off()

    def set_raw(self, raw: bool) -> None:
        """Set whether Markdown is shown as plain text."""
        if raw != self._raw:
            self._raw = raw
            self.show_answer(self._said)

    def _set_off(self) -> None:
        """Format paragraphs, headings, code blocks and tables of rendered Markdown."""
        if not self._laid_out:
            return
        block = self.document().begin()
        while block.isValid():
            following = block.next()
            _size_code(block)
            _space(block, following)
            block = following
        for frame in self.document().rootFrame().childFrames():
            if isinstance(frame, QTextTable):
                _rule(frame)


def _size_code(block: QTextBlock) -> None:
    """Set the font size of code, which otherwise ignores the text size of the program."""
    words = QTextCharFormat()
    words.setProperty(QTextFormat.Property.FontPixelSize, Size.BODY)
    places = [
        (part.fragment().position(), part.fragment().length())
        for part in block  # type: ignore[attr-defined]  # its stub lacks the iterator
        if part.fragment().charFormat().fontFixedPitch() or _is_code(block)
    ]
    for begin, length in places:
        cursor = QTextCursor(block)
        cursor.setPosition(begin)
        cursor.setPosition(begin + length, QTextCursor.MoveMode.KeepAnchor)
        cursor.mergeCharFormat(words)


def _space(block: QTextBlock, following: QTextBlock) -> None:
    cursor, look = QTextCursor(block), block.blockFormat()
    if look.headingLevel():
        cursor.select(QTextCursor.SelectionType.BlockUnderCursor)
        words = QTextCharFormat()
        words.setProperty(QTextFormat.Property.FontSizeAdjustment, 0)
        words.setProperty(QTextFormat.Property.FontPixelSize, Size.SECTION)
        cursor.mergeCharFormat(words)
    if _is_code(block):
        look.setNonBreakableLines(False)  # there is no bar to scroll sideways
        look.setBackground(color("hover"))
    together = _is_code(block) and _is_code(following)
    in_list = block.textList() is not None and following.textList() is not None
    last = not following.isValid() or QTextCursor(block).currentTable() is not None
    look.setTopMargin(0)
    look.setBottomMargin(0 if together or last else Spacing.XS if in_list else Spacing.S)
    cursor.setBlockFormat(look)


def _rule(table: QTextTable) -> None:
    look = table.format()
    look.setBorderCollapse(True)
    look.setBorder(1)
    look.setBorderBrush(color("line"))
    look.setCellPadding(Spacing.XS)
    look.setCellSpacing(0)
    look.setBottomMargin(Spacing.S)
    table.setFormat(look)


def has_markup(text: str) -> bool:
    """Return whether the text contains Markdown markup."""
    return _MARKED.search(text) is not None


def with_line_breaks(text: str) -> str:
    """Return Markdown with hard line breaks, as models use them; code blocks are unchanged."""
    lines, fence = [], ""
    for line in text.split("\n"):
        found = _FENCE.match(line)
        if found and not fence:
            fence = found[1]
        elif found and found[1].startswith(fence):
            fence = ""
        elif not fence and line.strip() and not line.lstrip().startswith("|"):
            line += "  "
        lines.append(line)
    return "\n".join(lines)


def _is_code(block: QTextBlock) -> bool:
    look = block.blockFormat()
    return look.hasProperty(QTextFormat.Property.BlockCodeFence) or look.hasProperty(
        QTextFormat.Property.BlockCodeLanguage
    )
