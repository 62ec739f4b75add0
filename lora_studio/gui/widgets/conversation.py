"""One row of a dataset: as a chat, and as the tokens that the model sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import Qt
from PySide6.QtGui import QFont, QTextBlockFormat, QTextCharFormat, QTextCursor
from PySide6.QtWidgets import QTextEdit, QVBoxLayout, QWidget

from lora_studio.core import words
from lora_studio.core.dataset import Message
from lora_studio.core.events import TokenSpan
from lora_studio.gui.theme import Size, Space, color, current, monospace_family, theme
from lora_studio.gui.widgets.basics import FlowLayout, label

_ROLES = {"system": "System", "user": "User", "assistant": "Assistant"}


class _ReadOnly(QTextEdit):
    """Text that is painted again in the colours of the theme; selectable, by keyboard too."""

    def __init__(self, paint: Callable[[], None], name: str) -> None:
        super().__init__()
        self.setReadOnly(True)
        self.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse
            | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self.setAccessibleName(name)
        self.setTabChangesFocus(True)
        theme().changed.connect(paint)


class ChatView(QWidget):
    """Messages one below the other, each with its role."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Empty until `show_messages`."""
        super().__init__(parent)
        self._messages: tuple[Message, ...] = ()
        self.box = _ReadOnly(self._paint, "Conversation")
        self.setFocusProxy(self.box)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.box)

    def show_messages(self, messages: Sequence[Message]) -> None:
        """Replaces the conversation."""
        if tuple(messages) != self._messages:
            self._messages = tuple(messages)
            self._paint()

    def text(self) -> str:
        """What is shown, as plain text."""
        return self.box.toPlainText()

    def _paint(self) -> None:
        cursor = _emptied(self.box)
        for number, message in enumerate(self._messages):
            role = _ROLES[message.role] + ("  ·  trained" if message.trained else "")
            tint = "accent" if message.role == "assistant" else "muted"
            heading = QTextBlockFormat()
            heading.setTopMargin(Space.L if number else 0)
            heading.setBottomMargin(2)
            _block(cursor, heading, role, _format(tint, size=Size.CAPTION, bold=True), number == 0)
            _block(cursor, QTextBlockFormat(), message.content, _format("text"), False)
        self.box.moveCursor(QTextCursor.MoveOperation.Start)


class TokenView(QWidget):
    """The rendered text; what trains, what is context and what is cut look different."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Empty until `show_spans`."""
        super().__init__(parent)
        self._spans: tuple[TokenSpan, ...] = ()
        self.box = _ReadOnly(self._paint, "Tokens")
        self.setFocusProxy(self.box)
        self._keys = {state: label(role="caption") for state in _STATES}
        legend = QWidget()
        flow = FlowLayout(legend, spacing=Space.M)
        for key in self._keys.values():
            key.setTextFormat(Qt.TextFormat.RichText)
            key.setToolTip(_HELP)
            flow.addWidget(key)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Space.S)
        layout.addSpacing(Space.XS)
        layout.addWidget(legend)
        layout.addWidget(self.box, 1)
        self._paint()

    def show_spans(self, spans: Sequence[TokenSpan]) -> None:
        """Replaces the row."""
        if tuple(spans) != self._spans:
            self._spans = tuple(spans)
            self._paint()

    def text(self) -> str:
        """What is shown, as plain text."""
        return self.box.toPlainText()

    def _paint(self) -> None:
        cursor = _emptied(self.box)
        looks = {state: _token_format(state) for state in _STATES}
        for span in self._spans:
            cursor.insertText(span.text, looks[span.state])
        self.box.moveCursor(QTextCursor.MoveOperation.Start)
        if not self._spans:
            self.box.setPlaceholderText("Choose a model to see the tokens of this row.")
        for state, key in self._keys.items():
            number = sum(span.tokens for span in self._spans if span.state == state)
            tint, mark, name = getattr(current(), _STATES[state][0]), *_STATES[state][1:]
            key.setText(
                f'<span style="color:{tint}; {mark}">abc</span>&nbsp; {name} {words.number(number)}'
            )


#: Role of the colour, mark beside the colour, words.
_STATES = {
    "trained": ("accent", "text-decoration: underline", "trained"),
    "context": ("muted", "", "context"),
    "cut": ("warn", "text-decoration: line-through", "cut"),
}


_HELP = "Tokens of this row: trained ones count in the loss, context does not, cut ones are lost."


def _token_format(state: str) -> QTextCharFormat:
    made = _format(_STATES[state][0])
    made.setFontFamilies([monospace_family()])
    made.setFontUnderline(state == "trained")
    made.setFontStrikeOut(state == "cut")
    if state == "trained":
        made.setForeground(color("text"))
        made.setUnderlineColor(color("accent"))
        made.setBackground(color("selected"))
    return made


def _format(role: str, *, size: int = Size.BODY, bold: bool = False) -> QTextCharFormat:
    made = QTextCharFormat()
    made.setForeground(color(role))
    made.setProperty(QTextCharFormat.Property.FontPixelSize, size)
    if bold:
        made.setFontWeight(QFont.Weight.DemiBold)
    return made


def _emptied(box: QTextEdit) -> QTextCursor:
    box.clear()
    return QTextCursor(box.document())


def _block(
    cursor: QTextCursor, block: QTextBlockFormat, text: str, look: QTextCharFormat, first: bool
) -> None:
    if first:
        cursor.setBlockFormat(block)
    else:
        cursor.insertBlock(block)
    cursor.insertText(text, look)
