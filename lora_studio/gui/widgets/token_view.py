"""A dataset row as the tokens that the model sees: trained, context or cut off."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QHelpEvent, QTextCharFormat, QTextCursor
from PySide6.QtWidgets import QToolTip, QVBoxLayout, QWidget

from lora_studio.core import formatting
from lora_studio.core.protocol.events import Token
from lora_studio.gui.language import mark, tr, tr_n
from lora_studio.gui.theme import Spacing, color, get_palette, get_theme
from lora_studio.gui.widgets.basics import FlowLayout, button, label
from lora_studio.gui.widgets.glyph import ElidedLabel
from lora_studio.gui.widgets.rich_text import RichText, make_block_format, make_text_format
from lora_studio.gui.widgets.tooltips import plain_tip

#: Maximum number of tokens painted at first; a hundred thousand would take seconds.
SHOWN = 8000
#: Token state -> color role, mark in addition to the color, and name.
_STATES = {
    "trained": ("accent", "text-decoration: underline", mark("trained")),
    "context": ("muted", "", mark("context")),
    "cut": ("warn", "text-decoration: line-through", mark("cut off")),
}
_HELP = mark(
    "The tokens of this row. Trained tokens count in the loss, context tokens don't, and tokens "
    "that are cut off are dropped."
)


class TokenView(QWidget):
    """Shows each token in its own shade and describes the one under the cursor."""

    def __init__(self, parent: QWidget | None = None, *, training: bool = True) -> None:
        """Create an empty view; without `training`, states are not distinguished."""
        super().__init__(parent)
        self._tokens: tuple[Token, ...] = ()
        self._starts: list[int] = []  # position in the document of each painted token
        self._all, self._training = False, training
        self.box = _TokenBox(self._paint, self.describe_token)
        self.about = ElidedLabel("", "caption")
        self.more = button("", self._show_all, kind="link")
        self.total = label(role="caption")
        self._keys = {state: label(role="caption") for state in (*_STATES, "special")}
        self._empty = tr("Choose a model to see the tokens of this row.")
        legend = QWidget()
        flow = FlowLayout(legend, spacing=Spacing.M)
        for key in (self.total, *self._keys.values()):
            key.setTextFormat(Qt.TextFormat.RichText)
            key.setToolTip(plain_tip(tr(_HELP) if training else ""))
            flow.addWidget(key)
        for state in _STATES:
            self._keys[state].setVisible(training)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, Spacing.S, 0, 0)
        layout.setSpacing(Spacing.S)
        layout.addWidget(legend)
        layout.addWidget(self.box, 1)
        layout.addWidget(self.more)
        layout.addWidget(self.about)
        self.setFocusProxy(self.box)
        self.box.cursorPositionChanged.connect(self._show_token)
        get_theme().changed.connect(self._show_legend)
        self._paint()

    def show_tokens(self, tokens: Sequence[Token], empty: str = "") -> None:
        """Show another row; `empty` is shown if there are no tokens."""
        if (tuple(tokens), empty or self._empty) != (self._tokens, self._empty):
            self._tokens, self._empty = tuple(tokens), empty or self._empty
            self._all = False
            self._paint()

    def text(self) -> str:
        """Return the text of all tokens."""
        return "".join(token.text for token in self._tokens)

    def count_tokens(self) -> dict[str, int]:
        """Return token counts by state; special tokens are also counted as special."""
        counts = dict.fromkeys(_STATES, 0)
        for token in self._tokens:
            counts[token.state] += 1
        return counts | {"special": sum(token.special for token in self._tokens)}

    def get_legend(self) -> str:
        """Return the legend as plain text."""
        counts = self.count_tokens()
        named = {state: tr(title) for state, (_, _, title) in _STATES.items()}
        return ", ".join(
            f"{named[state]} {formatting.format_number(counts[state])}" for state in _STATES
        )

    def describe_token(self, position: int) -> str:
        """Return a description of the token at a document position, "" if there is none."""
        index = bisect_right(self._starts, position) - 1
        if not 0 <= index < len(self._starts):
            return ""
        token = self._tokens[index]
        kinds = [tr("special")] if token.special else []
        if self._training:
            kinds.append(tr(_STATES[token.state][2]))
        title = tr("Token {index} of {tokens}").format(
            index=formatting.format_number(index + 1),
            tokens=formatting.format_number(len(self._tokens)),
        )
        return f"{title}: {', '.join([f'id {token.id}', *kinds])}  {token.text!r}"

    # --- painting -----------------------------------------------------------------------------

    def _paint(self) -> None:
        visible = self._tokens if self._all else self._tokens[:SHOWN]
        self._starts = []  # set before the cursor moves, which looks up the token under it
        cursor = self.box.start_document()
        cursor.beginEditBlock()  # one layout pass at the end instead of one per token
        looks = _Looks()
        previous: Token | None = None
        for number, token in enumerate(visible):
            if previous is not None and _is_turn_start(previous, token):
                if not cursor.atBlockStart():
                    cursor.insertBlock()
                cursor.setBlockFormat(make_block_format(Spacing.S))
            self._starts.append(cursor.position())
            first, *rest = _show_invisible(token).split("\n")
            cursor.insertText(first, looks.format_for(token, number))
            for line in rest:
                cursor.insertBlock(make_block_format())
                cursor.insertText(line, looks.format_for(token, number))
            if token.text.strip() or previous is None:
                previous = token
        cursor.endEditBlock()
        self.box.moveCursor(QTextCursor.MoveOperation.Start)
        self.box.setPlaceholderText(self._empty)
        hidden = len(self._tokens) - len(visible)
        self.more.setVisible(hidden > 0)
        self.more.setText(tr_n("Show {n} more token", "Show {n} more tokens", hidden))
        self._show_legend()
        self._show_token()

    def _show_all(self) -> None:
        self._all = True
        self._paint()

    def _show_legend(self) -> None:
        counts = self.count_tokens()
        self.total.setText(f"<b>{tr_n('{n} token', '{n} tokens', len(self._tokens))}</b>")
        self.total.setVisible(bool(self._tokens))
        for state, (role, drawn, name) in _STATES.items():
            tint = getattr(get_palette(), role)
            sample = f'<span style="color:{tint}; {drawn}">abc</span>'
            self._keys[state].setText(
                f"{sample}&nbsp; {tr(name)} {formatting.format_number(counts[state])}"
            )
        chip = f'<span style="background:{get_palette().line}">&nbsp;&lt;s&gt;&nbsp;</span>'
        self._keys["special"].setText(
            f"{chip}&nbsp; {tr('special')} {formatting.format_number(counts['special'])}"
        )
        self.setAccessibleDescription(self.get_legend())

    def _show_token(self) -> None:
        self.about.setText(self.describe_token(self.box.textCursor().position()))


class _TokenBox(RichText):
    """Shows a tooltip for the token under the mouse."""

    def __init__(self, paint: Callable[[], None], token_at: Callable[[int], str]) -> None:
        super().__init__(paint, "Tokens")
        self._token_at = token_at

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            point = self.viewport().mapFrom(self, event.pos())
            position = self.cursorForPosition(point).position()
            QToolTip.showText(event.globalPos(), plain_tip(self._token_at(position)))
            return True
        return super().event(event)


class _Looks:
    """Character formats of tokens; neighbors differ in shade."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, bool, bool], QTextCharFormat] = {}

    def format_for(self, token: Token, number: int) -> QTextCharFormat:
        key = (token.state, token.special, number % 2 == 0)
        if key not in self._made:
            self._made[key] = _format(*key)
        return self._made[key]


def _format(state: str, special: bool, even: bool) -> QTextCharFormat:
    style = make_text_format(
        "text" if state == "trained" else _STATES[state][0], mono=True, bold=special
    )
    style.setFontUnderline(state == "trained")
    style.setFontStrikeOut(state == "cut")
    if state == "trained":
        style.setUnderlineColor(color("accent"))
    tint = color("selected" if state == "trained" else "hover")
    if special:
        tint = color("line")
    elif not even:
        tint.setAlphaF(0.45)
    style.setBackground(tint)
    return style


def _show_invisible(token: Token) -> str:
    """Return the token's text with invisible characters made visible."""
    return token.text.replace("\n", "↵\n").replace("\t", "⇥\t") or "·"


def _is_turn_start(before: Token, token: Token) -> bool:
    """Return whether a new turn starts: a control token that follows another one."""
    return token.special and before.special
