"""One turn of a column: prompt, answer, and the actions on them."""

from __future__ import annotations

import re
from typing import Any, Literal

from PySide6.QtCore import QUrl, Signal
from PySide6.QtGui import (
    QImage,
    QTextBlock,
    QTextCharFormat,
    QTextCursor,
    QTextDocument,
    QTextFormat,
    QTextTable,
)
from PySide6.QtWidgets import QApplication, QVBoxLayout, QWidget

from lora_studio.core import formatting
from lora_studio.core.playground import AnswerVersion, Turn, TurnAnswers
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.message_translation import localize
from lora_studio.gui.theme import Size, Spacing, color, get_theme
from lora_studio.gui.widgets.basics import label, row, tool_button
from lora_studio.gui.widgets.glyph import ElidedLabel
from lora_studio.gui.widgets.rich_text import GrowingText

Waiting = Literal["", "waiting", "answering"]


class TurnView(QWidget):
    """Shows a prompt with the selected version of its answer.

    Signals:
        edit_clicked: edit the prompt and branch from here.
        regenerate_clicked: generate another answer.
        tokens_clicked: show the exact prompt.
        version_chosen(number): select another version of the answer.
    """

    edit_clicked = Signal()
    regenerate_clicked = Signal()
    tokens_clicked = Signal()
    version_chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty."""
        super().__init__(parent)
        self._answers = TurnAnswers()
        self._is_waiting = self._is_last = self._is_blind = False
        self.prompt = GrowingText(tr("Your prompt"))
        self.prompt.setProperty("plain", "asked")
        self.answer = AnswerText(tr("Answer"))
        self.facts = ElidedLabel("", "caption")
        self.edit = tool_button("edit", tr("Edit and branch from here"), self.edit_clicked.emit)
        self.copy = tool_button("copy", tr("Copy answer"), self._copy)
        self.regenerate = tool_button(
            "refresh", tr("Regenerate (Ctrl+R)"), self.regenerate_clicked.emit
        )
        self.tokens = tool_button("tokens", tr("Show prompt tokens"), self.tokens_clicked.emit)  # fmt: skip
        self.raw = tool_button("code", tr("Show raw text"))
        self.raw.setCheckable(True)
        self.raw.toggled.connect(self.answer.set_raw)
        self.previous = tool_button("back", tr("Previous answer"), lambda: self._switch(-1))
        self.next = tool_button("chevron-right", tr("Next answer"), lambda: self._switch(1))
        self.position = label(role="caption")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, Spacing.S)
        layout.setSpacing(Spacing.XS)
        layout.addLayout(row(label(tr("You"), "caption"), None, self.edit, spacing=0))
        layout.addWidget(self.prompt)
        layout.addSpacing(Spacing.XS)
        layout.addWidget(self.answer)
        tools = (
            self.previous,
            self.position,
            self.next,
            self.raw,
            self.regenerate,
            self.copy,
            self.tokens,
        )
        layout.addLayout(row(self.facts, *tools, spacing=0))

    def show_turn(self, turn: Turn, column: int) -> None:
        """Show a prompt and the answers of a column to it."""
        self.prompt.show_text(turn.user)
        self._answers = turn.get_answers(column)
        version = self._answers.current
        if version is None:
            self.answer.show_text("")
            self.facts.setText("")
        elif (problem := version.problem) is not None:
            self.answer.show_text(f"✗ {localize(problem.what)} {localize(problem.remedy)}", "error")
            self.facts.setText("")
        else:
            self.answer.show_answer(version.text)
            self.facts.setText(_format_facts(version))
        self.answer.setVisible(bool(self.answer.text()))
        self._show_tools()

    def grow(self, start: int, text: str, tokens: int) -> None:
        """Replace the answer from character `start` to its end."""
        self.answer.show_text(self.answer.text()[:start] + text)
        self.answer.show()
        if not self._is_blind:
            self.facts.setText(tr_n("{n} token", "{n} tokens", tokens) if tokens else "")

    def set_waiting(self, state: Waiting) -> None:
        """Set whether the answer is pending or being generated."""
        if state:
            self.answer.show_text("")
            self.facts.setText(tr("Waiting…") if state == "waiting" else tr("Generating…"))
        self.answer.setVisible(bool(self.answer.text()))
        self._is_waiting = bool(state)
        self._show_tools()

    def set_last(self, last: bool) -> None:
        """Allow only the last answer to be regenerated; later turns depend on earlier answers."""
        self._is_last = last
        self._show_tools()

    def set_blind(self, blind: bool) -> None:
        """Hide details that could reveal the model, such as the speed."""
        self._is_blind = blind
        if blind:
            self.facts.setText("")
        self._show_tools()

    def _show_tools(self) -> None:
        count, idle = len(self._answers.takes), not self._is_waiting
        for part in (self.previous, self.next, self.position):
            part.setVisible(idle and count > 1)
        version = self._answers.current
        self.raw.setVisible(idle and version is not None and has_markup(version.text))
        self.edit.setVisible(idle)
        self.copy.setVisible(idle)
        self.regenerate.setVisible(idle and self._is_last)
        self.tokens.setVisible(idle and not self._is_blind)
        self.position.setText(f"{self._answers.shown + 1} / {count}")
        self.previous.setEnabled(self._answers.shown > 0)
        self.next.setEnabled(self._answers.shown < count - 1)
        self.copy.setEnabled(bool(self.answer.text()))

    def _switch(self, direction: int) -> None:
        self.version_chosen.emit(self._answers.shown + direction)

    def _copy(self) -> None:
        QApplication.clipboard().setText(self.answer.text())


def _format_facts(version: AnswerVersion) -> str:
    endings = {"length": tr("token limit reached"), "stopped": tr("stopped")}
    speed = (
        formatting.format_rate(version.tokens_per_s, tr("tokens")) if version.tokens_per_s else ""
    )
    count = tr_n("{n} token", "{n} tokens", version.tokens) if version.tokens else ""
    parts = (count, speed, endings.get(version.ending, ""))
    return " · ".join(part for part in parts if part)


#: Matches Markdown: a fence, heading, list, quote or table, or inline emphasis, code or link.
_MARKUP = re.compile(
    r"^ {0,3}(```|~~~|#{1,6} |[-*+] |\d{1,3}[.)] |> |\|.+\|\s*$)"
    r"|\*\*\S|`[^`\n]+`|\[[^\]\n]+\]\([^)\n]+\)",
    re.MULTILINE,
)
_FENCE = re.compile(r" {0,3}(```+|~~~+)")
#: HTML is shown as text: an answer can't embed images, styles or pages.
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
        self._text, self._is_rendered = "", False
        self._is_raw = False
        self.document().setDocumentMargin(0)  # aligned with the widgets above and below
        get_theme().changed.connect(self._format_blocks)

    def loadResource(self, kind: int, url: QUrl | str) -> Any:
        """Return an empty image or text: what an answer links to is never loaded.

        Without a value, Qt would read the file that the address of an image names.
        """
        is_image = kind == QTextDocument.ResourceType.ImageResource.value
        return QImage(1, 1, QImage.Format.Format_ARGB32) if is_image else ""

    def text(self) -> str:
        """Return the raw text of the answer."""
        return self._text

    def show_text(self, text: str, role: str = "text") -> None:
        """Show plain text."""
        if self._is_rendered:
            self.setPlainText("")
            self._is_rendered = False
        self._text = text
        super().show_text(text, role)

    def show_answer(self, text: str) -> None:
        """Show a complete answer."""
        if self._is_raw or not has_markup(text):
            self.show_text(text)
        elif not self._is_rendered or text != self._text:
            self._text, self._is_rendered = text, True
            self.document().setMarkdown(to_hard_line_breaks(text), _FEATURES)
            self._tint()
            self._format_blocks()

    def set_raw(self, raw: bool) -> None:
        """Set whether Markdown is shown as plain text."""
        if raw != self._is_raw:
            self._is_raw = raw
            self.show_answer(self._text)

    def _format_blocks(self) -> None:
        """Format paragraphs, headings, code blocks and tables of rendered Markdown."""
        if not self._is_rendered:
            return
        block = self.document().begin()
        while block.isValid():
            following = block.next()
            _set_code_size(block)
            _set_spacing(block, following)
            block = following
        for frame in self.document().rootFrame().childFrames():
            if isinstance(frame, QTextTable):
                _format_table(frame)


def _set_code_size(block: QTextBlock) -> None:
    """Set the font size of code, which otherwise ignores the text size of the window."""
    char_format = QTextCharFormat()
    char_format.setProperty(QTextFormat.Property.FontPixelSize, Size.BODY)
    spans = [
        (part.fragment().position(), part.fragment().length())
        for part in block  # type: ignore[attr-defined]  # its stub lacks the iterator
        if part.fragment().charFormat().fontFixedPitch() or _is_code(block)
    ]
    for start, length in spans:
        cursor = QTextCursor(block)
        cursor.setPosition(start)
        cursor.setPosition(start + length, QTextCursor.MoveMode.KeepAnchor)
        cursor.mergeCharFormat(char_format)


def _set_spacing(block: QTextBlock, following: QTextBlock) -> None:
    cursor, block_format = QTextCursor(block), block.blockFormat()
    if block_format.headingLevel():
        cursor.select(QTextCursor.SelectionType.BlockUnderCursor)
        char_format = QTextCharFormat()
        char_format.setProperty(QTextFormat.Property.FontSizeAdjustment, 0)
        char_format.setProperty(QTextFormat.Property.FontPixelSize, Size.SECTION)
        cursor.mergeCharFormat(char_format)
    if _is_code(block):
        block_format.setNonBreakableLines(False)  # there is no horizontal scroll bar
        block_format.setBackground(color("hover"))
    is_joined = _is_code(block) and _is_code(following)
    is_list = block.textList() is not None and following.textList() is not None
    is_last = not following.isValid() or QTextCursor(block).currentTable() is not None
    block_format.setTopMargin(0)
    margin = 0 if is_joined or is_last else Spacing.XS if is_list else Spacing.S
    block_format.setBottomMargin(margin)
    cursor.setBlockFormat(block_format)


def _format_table(table: QTextTable) -> None:
    table_format = table.format()
    table_format.setBorderCollapse(True)
    table_format.setBorder(1)
    table_format.setBorderBrush(color("line"))
    table_format.setCellPadding(Spacing.XS)
    table_format.setCellSpacing(0)
    table_format.setBottomMargin(Spacing.S)
    table.setFormat(table_format)


def has_markup(text: str) -> bool:
    """Return whether the text contains Markdown markup."""
    return _MARKUP.search(text) is not None


def to_hard_line_breaks(text: str) -> str:
    """Return Markdown with every line break hard, as models mean it; code blocks are unchanged."""
    lines, fence = [], ""
    for line in text.split("\n"):
        match = _FENCE.match(line)
        if match and not fence:
            fence = match[1]
        elif match and match[1].startswith(fence):
            fence = ""
        elif not fence and line.strip() and not line.lstrip().startswith("|"):
            line += "  "
        lines.append(line)
    return "\n".join(lines)


def _is_code(block: QTextBlock) -> bool:
    block_format = block.blockFormat()
    return block_format.hasProperty(
        QTextFormat.Property.BlockCodeFence
    ) or block_format.hasProperty(QTextFormat.Property.BlockCodeLanguage)
