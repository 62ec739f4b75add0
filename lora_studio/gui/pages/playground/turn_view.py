"""One turn of a column: prompt, answer, and the actions on them."""

from __future__ import annotations

from typing import Literal

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QApplication, QVBoxLayout, QWidget

from lora_studio.core import formatting
from lora_studio.core.playground import AnswerVersion, Turn, TurnAnswers
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.message_translation import localize
from lora_studio.gui.pages.playground.answer_text import AnswerText, has_markup
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import label, row, tool_button
from lora_studio.gui.widgets.glyph import ElidedLabel
from lora_studio.gui.widgets.growing_text import GrowingText

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
