"""One row of an evaluation: question, reference, and the answer of each model, with differences."""

from __future__ import annotations

import difflib
import re

from PySide6.QtGui import QTextCharFormat, QTextCursor
from PySide6.QtWidgets import QVBoxLayout, QWidget

from lora_studio.core import formatting
from lora_studio.core.evaluation import summary
from lora_studio.core.evaluation.items import EvaluationItem
from lora_studio.core.evaluation.results import EvaluationResults, ItemResult, Judgment
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.message_translation import localize, localize_problem
from lora_studio.gui.pages.evaluation.column_names import list_column_names
from lora_studio.gui.theme import Size, Spacing
from lora_studio.gui.widgets.rich_text import (
    RichText,
    add_paragraph,
    make_block_format,
    make_text_format,
)

_WORDS = re.compile(r"\s+|[^\W_]+|[\W_]")
#: Characters of an answer that are shown, and words up to which differences are computed.
_MOST_CHARACTERS, _MOST_WORDS = 20_000, 2_000


def find_changes(before: str, after: str) -> list[tuple[str, bool]]:
    """Return the parts of `after`, each with whether it differs from `before`, word by word."""
    first, second = _WORDS.findall(before), _WORDS.findall(after)
    if len(first) > _MOST_WORDS or len(second) > _MOST_WORDS:
        return [(after, False)]
    matcher = difflib.SequenceMatcher(None, first, second, autojunk=False)
    parts = []
    for kind, _, _, start, end in matcher.get_opcodes():
        if start < end:
            parts.append(("".join(second[start:end]), kind != "equal"))
    return parts


class AnswerView(QWidget):
    """Shows an item; words that differ from the answer of the compared column are underlined."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty."""
        super().__init__(parent)
        self._results: EvaluationResults | None = None
        self._item: EvaluationItem | None = None
        self._compared = ""
        self.text = RichText(self._paint, tr("Answers"))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.text)

    def show_item(
        self, results: EvaluationResults | None, item: EvaluationItem | None, compared: str
    ) -> None:
        """Show an item, with differences from the column `compared`; None shows nothing."""
        self._results, self._item, self._compared = results, item, compared
        self._paint()

    def _paint(self) -> None:
        cursor = self.text.start_document()
        results, item = self._results, self._item
        if results is None or item is None:
            return
        heading, body = (
            make_text_format("muted", size=Size.CAPTION, bold=True),
            make_text_format("text"),
        )
        space = make_block_format(above=Spacing.M, below=Spacing.XS)
        add_paragraph(
            cursor, make_block_format(below=Spacing.XS), self._format_source(item), heading
        )
        for message in item.messages:
            add_paragraph(cursor, make_block_format(), _cut(message.content), body)
        if item.raw_prompt is not None:
            add_paragraph(cursor, make_block_format(), _cut(item.raw_prompt), body)
        if item.reference is not None:
            add_paragraph(cursor, space, tr("Reference"), heading)
            add_paragraph(cursor, make_block_format(), _cut(item.reference), body)
        base = results.answers.get((item.id, self._compared))
        for key, name in list_column_names(results.plan).items():
            row = results.answers.get((item.id, key))
            add_paragraph(cursor, space, _format_heading(name, row), heading)
            if row is not None:
                _add_answer(cursor, row, base if key != self._compared else None)
        names = list_column_names(results.plan)
        for judgment in results.judgments:
            if judgment.item == item.id:
                add_paragraph(cursor, space, _format_judgment(judgment, names), heading)
                for number, reply in enumerate(judgment.replies):
                    title = tr("In this order:") if number == 0 else tr("In the other order:")
                    add_paragraph(cursor, make_block_format(), f"{title} {_cut(reply)}", body)
        self.text.moveCursor(self.text.textCursor().MoveOperation.Start)

    def _format_source(self, item: EvaluationItem) -> str:
        source = item.source or item.test_set
        place = tr("row {row}").format(row=formatting.format_number(item.row)) if item.row else ""
        return "  ·  ".join(part for part in (source, place, item.category) if part)


def _add_answer(cursor: QTextCursor, row: ItemResult, base: ItemResult | None) -> None:
    if row.problem is not None:
        problem = localize_problem(row.problem)
        add_paragraph(cursor, make_block_format(), problem, make_text_format("error"))
        return
    add_paragraph(cursor, make_block_format(), "", make_text_format("text"))
    answer = _cut(row.answer)
    parts = [(answer, False)] if base is None else find_changes(_cut(base.answer), answer)
    for part, is_changed in parts or [("–", False)]:
        style = _make_change_format() if is_changed else make_text_format("text")
        cursor.insertText(part or "–", style)


def _make_change_format() -> QTextCharFormat:
    style = make_text_format("accent")
    style.setFontUnderline(True)
    return style


def _format_heading(name: str, row: ItemResult | None) -> str:
    if row is None:
        return f"{name}  ·  {tr('not answered yet')}"
    parts = [name]
    for measure, score in row.scores.items():
        title = localize(summary.format_measure(measure))
        parts.append(f"{title} {summary.format_score(measure, score)}")
    if row.tokens:
        parts.append(tr_n("{n} token", "{n} tokens", row.tokens))
    if row.ending == "length":
        parts.append(tr("cut off"))
    return "  ·  ".join(parts)


def _format_judgment(judgment: Judgment, names: dict[str, str]) -> str:
    """Return who was compared, in the order of the first reply, and the result."""
    first, second = (names.get(key, key) for key in (judgment.first, judgment.second))
    pair = tr("Judge: {first} and {second}").format(first=first, second=second)
    if judgment.problem is not None:
        return f"{pair}  ·  {localize_problem(judgment.problem)}"
    if judgment.winner is None:
        return f"{pair}  ·  {tr('no verdict')}"
    winner = names.get(judgment.winner, judgment.winner)
    result = tr("{name} is better").format(name=winner) if winner else tr("tie")
    return f"{pair}  ·  {result}"


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"
