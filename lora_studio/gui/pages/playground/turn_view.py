"""One turn of a column: prompt, answer, and the actions on them."""

from __future__ import annotations

from typing import Literal

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QApplication, QVBoxLayout, QWidget

from lora_studio.core import formatting
from lora_studio.core.playground import AnswerVersion, Turn, TurnAnswers
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.message_translation import tell
from lora_studio.gui.pages.playground.answer_text import AnswerText, has_markup
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import label, row, tool_button
from lora_studio.gui.widgets.glyph import ElidedLabel
from lora_studio.gui.widgets.growing_text import GrowingText

Waiting = Literal["", "waiting", "answering"]


class TurnView(QWidget):
    """Show a prompt with the selected version of its answer.

    Signals:
        edit_clicked: edit the prompt and branch from here.
        regenerate_clicked: generate another answer.
        tokens_clicked: show the exact prompt.
        version_chosen(number): select another version of the answer.
    """

    edit_clicked = Signal()
    again_clicked = Signal()
    tokens_clicked = Signal()
    take_chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty."""
        super().__init__(parent)
        self._answers = TurnAnswers()
        self._waiting = self._last = self._blind = False
        self.asked = GrowingText(tr("Your prompt"))
        self.asked.setProperty("plain", "asked")
        self.answer = AnswerText(tr("Answer"))
        self.facts = ElidedLabel("", "caption")
        self.edit = tool_button("edit", tr("Edit and branch from here"), self.edit_clicked.emit)
        self.copy = tool_button("copy", tr("Copy answer"), self._copy)
        self.again = tool_button("refresh", tr("Regenerate (Ctrl+R)"), self.again_clicked.emit)
        self.tokens = tool_button("tokens", tr("Show prompt tokens"), self.tokens_clicked.emit)  # fmt: skip
        self.raw = tool_button("code", tr("Show raw text"))
        self.raw.setCheckable(True)
        self.raw.toggled.connect(self.answer.set_raw)
        self.before = tool_button("back", tr("Previous answer"), lambda: self._turn(-1))
        self.after = tool_button("chevron-right", tr("Next answer"), lambda: self._turn(1))
        self.place = label(role="caption")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, Spacing.S)
        layout.setSpacing(Spacing.XS)
        layout.addLayout(row(label(tr("You"), "caption"), None, self.edit, spacing=0))
        layout.addWidget(self.asked)
        layout.addSpacing(Spacing.XS)
        layout.addWidget(self.answer)
        tools = (self.before, self.place, self.after, self.raw, self.again, self.copy, self.tokens)
        layout.addLayout(row(self.facts, *tools, spacing=0))

    def show_turn(self, turn: Turn, column: int) -> None:
        """Show a prompt and the answers of a column to it."""
        self.asked.show_text(turn.user)
        self._answers = turn.of(column)
        take = self._answers.current
        if take is None:
            self.answer.show_text("")
            self.facts.setText("")
        elif take.problem is not None:
            self.answer.show_text(
                f"✗ {tell(take.problem.what)} {tell(take.problem.remedy)}", "error"
            )
            self.facts.setText("")
        else:
            self.answer.show_answer(take.text)
            self.facts.setText(_facts(take))
        self.answer.setVisible(bool(self.answer.text()))
        self._show_tools()

    def grow(self, start: int, text: str, tokens: int) -> None:
        """Replace the answer from the character `start` on."""
        self.answer.show_text(self.answer.text()[:start] + text)
        self.answer.show()
        if not self._blind:
            self.facts.setText(tr_n("{n} token", "{n} tokens", tokens) if tokens else "")

    def set_waiting(self, state: Waiting) -> None:
        """Set whether the answer is pending or being generated."""
        if state:
            waits = tr("Waiting…") if state == "waiting" else tr("Generating…")
            self.answer.show_text("")
            self.facts.setText(waits)
        self.answer.setVisible(bool(self.answer.text()))
        self._waiting = bool(state)
        self._show_tools()

    def set_last(self, last: bool) -> None:
        """Allow only the last answer to be regenerated; later turns depend on earlier answers."""
        self._last = last
        self._show_tools()

    def set_blind(self, blind: bool) -> None:
        """Hide details that could reveal the model, such as the speed."""
        self._blind = blind
        if blind:
            self.facts.setText("")
        self._show_tools()

    def _show_tools(self) -> None:
        several, idle = len(self._answers.takes), not self._waiting
        for part in (self.before, self.after, self.place):
            part.setVisible(idle and several > 1)
        take = self._answers.current
        self.raw.setVisible(idle and take is not None and has_markup(take.text))
        self.edit.setVisible(idle)
        self.copy.setVisible(idle)
        self.again.setVisible(idle and self._last)
        self.tokens.setVisible(idle and not self._blind)
        self.place.setText(f"{self._answers.shown + 1} / {several}")
        self.before.setEnabled(self._answers.shown > 0)
        self.after.setEnabled(self._answers.shown < several - 1)
        self.copy.setEnabled(bool(self.answer.text()))

    def _turn(self, direction: int) -> None:
        self.take_chosen.emit(self._answers.shown + direction)

    def _copy(self) -> None:
        QApplication.clipboard().setText(self.answer.text())


def _facts(take: AnswerVersion) -> str:
    ending = {"length": tr("token limit reached"), "stopped": tr("stopped")}.get(take.ending, "")
    speed = formatting.rate(take.tokens_per_s, tr("tokens")) if take.tokens_per_s else ""
    parts = (tr_n("{n} token", "{n} tokens", take.tokens) if take.tokens else "", speed, ending)
    return " · ".join(part for part in parts if part)
