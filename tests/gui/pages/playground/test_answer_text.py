"""Rendering of answers: Markdown, blocked content, and the raw text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QUrl
from PySide6.QtGui import QImage, QTextDocument, QTextFormat
from pytestqt.qtbot import QtBot

from lora_studio.core.playground import AnswerVersion, Turn, TurnAnswers
from lora_studio.gui import theme
from lora_studio.gui.pages.playground.chat_column import (
    AnswerText,
    TurnView,
    has_markup,
    to_hard_line_breaks,
)
from lora_studio.gui.text_size import Size

ANSWER = """# Lamps

The **last** one burns longest:

1. red
2. blue

```python
def burns(lamp):
    return lamp.__class__  # and a line that is far longer than the column it is shown in is wrapped
```

| lamp | hours |
|---|---|
| red | 3 |
"""


@pytest.fixture
def view(qtbot: QtBot) -> Iterator[AnswerText]:
    """Yield an empty answer in a narrow column."""
    answer_text = AnswerText("Answer")
    answer_text.resize(300, 20)
    answer_text.show()
    yield answer_text
    answer_text.close()
    answer_text.deleteLater()


def test_markdown_is_rendered_once_the_answer_is_complete(view: AnswerText) -> None:
    view.show_text("The **la")
    assert view.toPlainText() == "The **la"
    view.show_answer(ANSWER)
    shown = view.toPlainText()
    assert "**" not in shown
    assert "```" not in shown
    assert "return lamp.__class__" in shown
    assert "|" not in shown
    assert view.text() == ANSWER


def test_code_is_monospaced_shaded_and_wrapped(view: AnswerText) -> None:
    view.show_answer(ANSWER)
    (first, *_) = code = [
        block for block in _blocks(view) if block.text().startswith(("def", "    return"))
    ]
    assert len(code) == 2
    assert "mono" in first.charFormat().font().family().lower()
    assert first.blockFormat().hasProperty(QTextFormat.Property.BackgroundBrush)
    assert code[1].layout().lineCount() > 1
    assert view.document().idealWidth() <= view.viewport().width() + 1


def test_plain_answer_keeps_line_breaks_and_spaces(view: AnswerText) -> None:
    poem = "  two blanks\nand a line\n    and four, 2 * 3 * 4, snake_case_name"
    assert not has_markup(poem)
    view.show_answer(poem)
    assert view.toPlainText() == poem


def test_markdown_keeps_line_breaks(view: AnswerText) -> None:
    view.show_answer("**Roses** are red,\nviolets are blue.")
    assert view.toPlainText().splitlines() == ["Roses are red,", "violets are blue."]
    assert to_hard_line_breaks("a\n```\nb\n~~~\n```\nc") == "a  \n```\nb\n~~~\n```\nc  "


def test_answer_loads_no_html_images_or_files(view: AnswerText, tmp_path: Path) -> None:
    secret = tmp_path / "x.png"
    picture = QImage(3, 2, QImage.Format.Format_ARGB32)
    assert picture.save(str(secret))
    view.show_answer(f"**see** <b>this</b> <script>alert(1)</script> ![x]({secret.as_uri()})")
    assert "<b>this</b>" in view.toPlainText()
    assert "<script>" in view.toPlainText()
    kind = QTextDocument.ResourceType.ImageResource
    loaded = view.loadResource(kind.value, QUrl(secret.as_uri()))
    assert (loaded.width(), loaded.height()) == (1, 1)
    assert not view.textInteractionFlags() & view.textInteractionFlags().LinksAccessibleByMouse


def test_raw_text_of_an_answer_is_one_click_away(qtbot: QtBot) -> None:
    turn = TurnView()
    qtbot.addWidget(turn)
    turn.show()
    turn.show_turn(Turn(user="Hi", answers=(TurnAnswers(takes=(AnswerVersion(text=ANSWER),)),)), 0)
    assert "```" not in turn.answer.toPlainText()
    turn.raw.click()
    assert turn.answer.toPlainText() == ANSWER
    turn.raw.click()
    assert "```" not in turn.answer.toPlainText()
    turn.show_turn(
        Turn(user="Hi", answers=(TurnAnswers(takes=(AnswerVersion(text="Plain."),)),)), 0
    )
    assert turn.answer.toPlainText() == "Plain."
    assert not turn.raw.isVisible()


def _blocks(view: AnswerText) -> list:  # type: ignore[type-arg]  # blocks of a document
    block, blocks = view.document().begin(), []
    while block.isValid():
        blocks.append(block)
        block = block.next()
    return blocks


def test_code_follows_the_text_size(view: AnswerText) -> None:
    view.show_answer("Use `code`:\n\n```\nblock\n```\n")
    try:
        theme.get_theme().set_text_size(150)
        sizes = {
            part.fragment().charFormat().intProperty(QTextFormat.Property.FontPixelSize)
            for block in _blocks(view)
            for part in block
            if part.fragment().text() in ("code", "block")
        }
        assert sizes == {Size.BODY}
    finally:
        theme.get_theme().set_text_size(100)
