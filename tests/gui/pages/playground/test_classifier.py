"""A classifier in the playground: found among the runs, one text, several texts, and failures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QImage, QTextDocument, QTextFormat
from pytestqt.qtbot import QtBot

from lora_studio.core.chat import AdapterChatModel
from lora_studio.core.messages import Text
from lora_studio.core.playground import AnswerVersion, Turn, TurnAnswers
from lora_studio.core.problems import error
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder, create_run
from lora_studio.gui import theme
from lora_studio.gui.pages.playground import classifier
from lora_studio.gui.pages.playground.chat_column import (
    AnswerText,
    TurnView,
    has_markup,
    to_hard_line_breaks,
)
from lora_studio.gui.pages.playground.page import PlaygroundPage
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.text_size import Size
from lora_studio.gui.widgets.tables import BarTable
from tests.helpers.runs.job_events import emit

LABELS = ("bill", "ship")


def predicted(*probabilities: tuple[float, ...], cut: int = 0) -> events.TextsClassified:
    return events.TextsClassified(labels=LABELS, probabilities=probabilities, cut=cut)


@pytest.fixture
def run(project_folder: Path) -> RunFolder:
    """Return a run of the project with a classifier."""
    folder = create_run(project_folder / "runs", Project(name="tickets"), project_folder)
    folder.adapter.mkdir()
    (folder.adapter / "adapter_config.json").write_text('{"task_type": "SEQ_CLS"}')
    folder.update_manifest(dataset={"task": "classification"})
    return folder


@pytest.fixture
def page(
    state: ProjectState, project_folder: Path, run: RunFolder, qtbot: QtBot,
    scenario: Callable[..., None],
) -> Iterator[PlaygroundPage]:  # fmt: skip
    """Yield the page of a project whose newest run is a classifier."""
    playground_page = PlaygroundPage(state)
    playground_page.resize(1000, 700)
    playground_page.show()
    state.open(project_folder)
    qtbot.waitUntil(lambda: playground_page.classifies)
    yield playground_page
    playground_page.stop_background_work()
    playground_page.close()
    playground_page.deleteLater()


def read(table: BarTable) -> list[list[str]]:
    return [
        [table.item(row, column).text() for column in range(table.columnCount())]  # type: ignore[union-attr]  # all cells have items
        for row in range(table.rowCount())
    ]


def classify(page: PlaygroundPage, qtbot: QtBot, text: str) -> None:
    page.classifier.box.setPlainText(text)
    page.press_primary()
    qtbot.waitUntil(lambda: not page.classifier.controller.link.busy)


def test_one_text_shows_all_labels_with_the_likeliest_first(
    page: PlaygroundPage, qtbot: QtBot, scenario: Callable[..., None]
) -> None:
    scenario(classify=[emit(predicted((0.2, 0.8), cut=1))])
    view = page.classifier
    assert not view.send.isEnabled()
    assert not page.add.isVisible(), "columns are for chats"
    classify(page, qtbot, "Where is my parcel?\n")
    assert read(view.labels) == [["ship", "", "80 %"], ["bill", "", "20 %"]]
    assert not view.texts.isVisible()
    assert view.note.text().startswith("1 text is longer")
    view.box.setPlainText("Another text")
    assert page.classifier.answered.isHidden()


def test_each_line_is_a_text_with_its_own_probabilities(
    page: PlaygroundPage, qtbot: QtBot, scenario: Callable[..., None]
) -> None:
    scenario(classify=[emit(predicted((0.2, 0.8), (0.9, 0.1), ()))])
    classify(page, qtbot, "Where is it?\n\nTwice!\n\u200b")
    view = page.classifier
    assert [row[0::2] for row in read(view.texts)] == [["Where is it?", "ship"], ["Twice!", "bill"], ["\u200b", "–"]]  # fmt: skip
    view.texts.setCurrentCell(1, 0)
    assert read(view.labels)[0] == ["bill", "", "90 %"]
    view.texts.setCurrentCell(2, 0)
    assert read(view.labels) == []
    assert view.note.isHidden()


def test_failure_is_shown_and_the_text_stays(
    page: PlaygroundPage, qtbot: QtBot, scenario: Callable[..., None]
) -> None:
    problem = error(
        "classify.not_trained", "This run has no trained classifier yet.", "Train first."
    )
    scenario(classify=[emit(events.Failed(problem=problem))])
    with qtbot.waitSignal(page.classifier.controller.failed) as shown:
        classify(page, qtbot, "Where is it?")
    assert shown.args == [problem]
    assert page.classifier.answered.isHidden()
    assert page.classifier.box.toPlainText() == "Where is it?"


def test_chat_stays_one_click_away(page: PlaygroundPage, qtbot: QtBot) -> None:
    qtbot.mouseClick(page.mode.button("chat"), Qt.MouseButton.LeftButton)
    assert page.stack.currentIndex() != 2
    page.set_mode("classify")
    page.start_chat(AdapterChatModel())
    assert not page.classifies


def test_renamed_run_does_not_end_the_chat(
    page: PlaygroundPage, run: RunFolder, qtbot: QtBot, state: ProjectState, project_folder: Path
) -> None:
    page.set_mode("chat")
    controller = page.classifier.controller
    before = controller.runs[0]
    controller.runs = (dataclasses.replace(before, name="renamed"),)
    controller.found.emit()
    assert not page.classifies
    controller.runs = (dataclasses.replace(before, folder="/runs/newer"), before)
    controller.found.emit()
    assert page.classifies, "a classifier that was trained meanwhile is shown"
    page.set_mode("chat")
    state.open(project_folder)
    qtbot.waitUntil(lambda: page.classifies)


def test_status_is_cleared_when_the_worker_is_released(
    page: PlaygroundPage, qtbot: QtBot, scenario: Callable[..., None]
) -> None:
    progress = events.Progress(stage=Text(template="classifying"), done=0)
    scenario(classify=[emit(progress), {"sleep": 30}])
    view = page.classifier
    view.box.setPlainText("Where is it?")
    page.press_primary()
    qtbot.waitUntil(lambda: bool(view.status.text()))
    page.set_mode("chat")
    assert view.status.text() == ""


@pytest.mark.slow
def test_classifier_is_unloaded_when_a_training_starts(
    page: PlaygroundPage, qtbot: QtBot, scenario: Callable[..., None]
) -> None:
    scenario(classify=[emit(predicted((0.2, 0.8)))])
    page.state.set("model", "device", "cuda:0")
    classify(page, qtbot, "Where is it?")
    page.state.set_run(None, "push")
    assert page.classifier.controller.link.held, "an upload needs no GPU"
    page.state.set_run(None, "train")
    assert not page.classifier.controller.link.held
    assert "unloaded to free memory" in page.classifier.status.text()
    classify(page, qtbot, "Where is it?")
    page.state.set_run(None, "train", stopping=True)
    assert page.classifier.controller.link.held, "a stop starts no job"


def test_first_thousand_lines_are_classified(
    page: PlaygroundPage, qtbot: QtBot, scenario: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(classifier, "_MAX_TEXTS", 2)
    scenario(classify=[emit(predicted((0.2, 0.8), (0.9, 0.1)))])
    classify(page, qtbot, "a\n\nb\nc\nd")
    view = page.classifier
    assert [row[0] for row in read(view.texts)] == ["a", "b"]
    assert view.note.text().startswith("Only the first 2 texts")
    assert "lora-studio classify --file" in view.note.text()
    assert not view.note.isHidden()


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
