"""One row in full: as a chat, as tokens, and as stored in the file."""

from __future__ import annotations

from PySide6.QtWidgets import QTabWidget, QVBoxLayout, QWidget

from lora_studio.core.problems import Problem
from lora_studio.core.protocol import events
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import localize_problem
from lora_studio.gui.pages.dataset.conversation import ChatView
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import column, label, with_title
from lora_studio.gui.widgets.glyph import StatusLabel
from lora_studio.gui.widgets.rich_text import (
    RichText,
    add_paragraph,
    make_block_format,
    make_text_format,
)
from lora_studio.gui.widgets.token_view import TokenView

_NO_MODEL = mark("Select a model to see the tokens of this row.")
_NO_TOKENS = mark("This row is skipped, so it isn't tokenized.")
_WAITING = mark("Tokenizing…")


class RowDetail(QTabWidget):
    """Conversation, Tokens and Raw tabs."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create the tabs, empty."""
        super().__init__(parent)
        self.chat, self.tokens, self.rejected = ChatView(), TokenView(), TokenView()
        self.raw = RichText(self._paint_raw, tr("Raw row"))
        self._raw = ""
        self.problem = StatusLabel()
        self._rejected = with_title(tr("Rejected"), self.rejected)
        self._chosen = label(tr("Chosen"), "label")
        tokens = QWidget()
        inside = QVBoxLayout(tokens)
        inside.setContentsMargins(0, Spacing.S, 0, 0)
        inside.setSpacing(Spacing.XS)
        inside.addWidget(self.problem)
        inside.addWidget(self._chosen)
        inside.addWidget(self.tokens, 1)
        inside.addWidget(self._rejected, 1)
        raw = QWidget()
        raw.setLayout(column(self.raw))
        self.addTab(self.chat, tr("Conversation"))
        self.addTab(tokens, tr("Tokens"))
        self.addTab(raw, tr("Raw"))
        self.setMinimumWidth(240)
        self.tabBar().setAccessibleName(tr("Row view"))
        self.show_preview(None, has_model=False)

    def show_preview(self, row: events.RowPreview | None, *, has_model: bool) -> None:
        """Show a preview of a row until the worker has tokenized it."""
        self.chat.show_row(row)
        waiting = (
            tr(_NO_TOKENS) if row and row.fault else tr(_WAITING) if has_model else tr(_NO_MODEL)
        )
        self._show_tokens((), (), waiting)
        self.problem.hide()
        self._raw = ""
        self._paint_raw()

    def show_row(self, shown: events.RowShown, *, has_model: bool) -> None:
        """Show all of a row."""
        self.chat.show_row(shown.row)
        empty = tr(_NO_TOKENS) if shown.row.fault else tr(_NO_MODEL) if not has_model else ""
        self._show_tokens(shown.tokens, shown.rejected_tokens, empty)
        self.problem.setVisible(bool(shown.problems))
        self.problem.set_status("\n".join(localize_problem(p) for p in shown.problems), "warn")
        self._raw = shown.raw
        self._paint_raw()

    def show_problem(self, problem: Problem) -> None:
        """Show why the row couldn't be tokenized; the preview remains."""
        self._show_tokens((), (), tr("No tokens to show."))
        self.problem.show()
        self.problem.set_status(localize_problem(problem), "warn")

    def _show_tokens(
        self, tokens: tuple[events.Token, ...], rejected: tuple[events.Token, ...], empty: str
    ) -> None:
        self.tokens.show_tokens(tokens, empty)
        self.rejected.show_tokens(rejected)
        self._chosen.setVisible(bool(rejected))
        self._rejected.setVisible(bool(rejected))

    def _paint_raw(self) -> None:
        cursor = self.raw.start_document()
        add_paragraph(cursor, make_block_format(), self._raw, make_text_format("text", mono=True))
        self.raw.moveCursor(cursor.MoveOperation.Start)
