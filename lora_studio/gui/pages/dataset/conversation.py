"""One row as a chat: roles, reasoning, tool calls, preference pairs side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence

from PySide6.QtWidgets import QSplitter, QVBoxLayout, QWidget

from lora_studio.core.dataset.spec import Message
from lora_studio.core.protocol.events import RowPreview
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.theme import Size, Spacing
from lora_studio.gui.widgets.basics import label, with_title
from lora_studio.gui.widgets.glyph import StatusLabel
from lora_studio.gui.widgets.rich_text import (
    RichText,
    add_paragraph,
    make_block_format,
    make_text_format,
)

_ROLES = {
    "system": mark("System"),
    "user": mark("User"),
    "assistant": mark("Assistant"),
    "tool": mark("Tool"),
}


class MessagesView(RichText):
    """A column of messages, each with its role."""

    def __init__(self, name: str = "") -> None:
        """Create an empty view; `name` is its accessible name."""
        self._messages: tuple[Message, ...] = ()
        self._plain = ""
        super().__init__(self._paint, name or tr("Conversation"))

    def show_messages(self, messages: Sequence[Message], text: str = "") -> None:
        """Replace the messages; `text` is the content of a plain-text row."""
        if (tuple(messages), text) != (self._messages, self._plain):
            self._messages, self._plain = tuple(messages), text
            self._paint()

    def text(self) -> str:
        """Return the content as plain text."""
        return self.toPlainText()

    def _paint(self) -> None:
        cursor = self.start_document()
        caption = Size.CAPTION
        for message in self._messages:
            above = 0 if self.document().isEmpty() else Spacing.L
            tint = "accent" if message.role == "assistant" else "muted"
            heading = make_text_format(tint, size=caption, bold=True)
            add_paragraph(cursor, make_block_format(above, 2), _format_heading(message), heading)
            if message.thinking:
                quoted = make_block_format(0, Spacing.XS, Spacing.M)
                add_paragraph(
                    cursor, quoted, tr("Reasoning"), make_text_format("muted", size=caption)
                )
                add_paragraph(
                    cursor, quoted, message.thinking, make_text_format("muted", italic=True)
                )
            if message.content:
                add_paragraph(
                    cursor, make_block_format(), message.content, make_text_format("text")
                )
            for call in message.tool_calls:
                arguments = json.dumps(call.arguments, ensure_ascii=False)
                call_text = tr("Tool call: {name}({arguments})").format(
                    name=call.name, arguments=arguments
                )
                add_paragraph(
                    cursor,
                    make_block_format(Spacing.XS),
                    call_text,
                    make_text_format("text", mono=True),
                )
        if self._plain:
            add_paragraph(cursor, make_block_format(), self._plain, make_text_format("text"))
        self.moveCursor(cursor.MoveOperation.Start)


class ChatView(QWidget):
    """Shows a row: its messages, both answers of a preference pair, and why the row is skipped."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create an empty view."""
        super().__init__(parent)
        self.fault = StatusLabel()
        self.verdict = StatusLabel()
        self.messages = MessagesView()
        self.chosen, self.rejected = (
            MessagesView(tr("Chosen answer")),
            MessagesView(tr("Rejected answer")),
        )
        self.raw_hint = label(tr("The Raw tab shows what the file contains."), "muted", wrap=True)
        self._pair = QSplitter()
        self._pair.setChildrenCollapsible(False)
        for name, part in ((tr("Chosen"), self.chosen), (tr("Rejected"), self.rejected)):
            self._pair.addWidget(with_title(name, part))
        self._pair.setHandleWidth(Spacing.S)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, Spacing.S, 0, 0)
        layout.setSpacing(Spacing.S)
        layout.addWidget(self.fault)
        layout.addWidget(self.verdict)
        layout.addWidget(self.raw_hint)
        layout.addWidget(self.messages, 1)
        layout.addWidget(self._pair, 1)
        layout.addStretch(0)
        self.setFocusProxy(self.messages)
        self.show_row(None)

    def show_row(self, row: RowPreview | None) -> None:
        """Show another row, or none."""
        paired = row is not None and bool(row.chosen or row.rejected)
        self.messages.show_messages(row.messages if row else (), row.text if row else "")
        self.chosen.show_messages(row.chosen if row else ())
        self.rejected.show_messages(row.rejected if row else ())
        has_text = row is not None and bool(row.messages or row.text)
        # A skipped row may have nothing to show but the reason; its values are in the Raw tab.
        self.messages.setVisible(has_text or not (paired or (row is not None and row.fault)))
        self.raw_hint.setVisible(not has_text and not paired and bool(row and row.fault))
        self._pair.setVisible(paired)
        self.fault.setVisible(bool(row and row.fault))
        self.fault.set_status(
            tr("Skipped: {reason}").format(reason=localize(row.fault or "")) if row else "", "warn"
        )
        labeled = row.label if row else None
        self.verdict.setVisible(labeled is not None)
        good = tr("This answer is labeled good.") if labeled else tr("This answer is labeled bad.")
        self.verdict.set_status(good, "ok" if labeled else "muted", "check" if labeled else "minus")

    def text(self) -> str:
        """Return the content as plain text, the chosen and rejected answers after the prompt."""
        parts = (self.messages, self.chosen, self.rejected)
        return "\n".join(part.text() for part in parts if part.text())


def _format_heading(message: Message) -> str:
    name = f"  ·  {message.name}" if message.name else ""
    trained = f"  ·  {tr('trained')}" if message.trained else ""
    return tr(_ROLES[message.role]) + name + trained
