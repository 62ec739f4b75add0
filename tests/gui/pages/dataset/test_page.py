"""The dataset page: sources, rows, lengths, findings, what is asked and when, what a hand changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtWidgets import QPushButton
from pytestqt.qtbot import QtBot

from lora_studio.core.dataset.spec import FORMATS
from lora_studio.core.messages import text
from lora_studio.core.problems import Problem
from lora_studio.core.protocol import events
from lora_studio.core.protocol.base import BaseCommand
from lora_studio.core.protocol.commands import (
    InspectDataset,
    LintDataset,
    MeasureDataset,
    Question,
    ReadRows,
    ShowRow,
)
from lora_studio.gui.jobs.debounced_query import PAUSE
from lora_studio.gui.pages.dataset.page import DatasetPage
from lora_studio.gui.pages.dataset.row_browser import RowFilter
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.widgets import tab_order
from tests.helpers import model_facts


class Played:
    """The page, what it asked, and answers as the window would pass them on."""

    def __init__(self, qtbot: QtBot, state: ProjectState) -> None:
        self.qtbot, self.state = qtbot, state
        self.page = DatasetPage(state, Preferences())
        self.asked: list[Question] = []
        self.page.ask.connect(self.asked.append)
        qtbot.addWidget(self.page)
        self.page.resize(1100, 740)
        self.page.show()
        qtbot.waitExposed(self.page)

    def of(self, kind: type[BaseCommand]) -> list[Question]:
        """Questions of one kind, in the order they were asked."""
        return [question for question in self.asked if type(question) is kind]

    def wait_for(self, kind: type[BaseCommand], count: int = 1) -> Question:
        """The latest question of a kind, once there are as many."""
        self.qtbot.waitUntil(lambda: len(self.of(kind)) >= count)
        return self.of(kind)[-1]

    def answer(self, question: Question, *found: events.Event, ending: bool = True) -> None:
        """Events about a question, then its end."""
        for event in (*found, *([events.Done()] if ending else [])):
            own = event.model_copy(update={"id": question.id})
            self.state.set_answer(own)
            self.page.on_event(own)

    def read(self, **changes: object) -> None:
        """The dataset was read."""
        self.answer(self.wait_for(InspectDataset), model_facts.dataset(**changes))


@pytest.fixture
def played(qtbot: QtBot, state: ProjectState, project_folder: Path) -> Iterator[Played]:
    assert state.open(project_folder)
    yield Played(qtbot, state)
    state.undo.setClean()


def drop(*paths: Path) -> QDropEvent:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    drop.data = data  # type: ignore[attr-defined]  # the event does not keep it alive
    return QDropEvent(
        QPointF(5, 5), Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )  # fmt: skip


def paths_of(state: ProjectState) -> list[str]:
    return [source["path"] for source in state.get("dataset", "sources")]


# --- sources ----------------------------------------------------------------------------------


def test_files_and_folders_dropped_together_become_sources_in_one_step_of_undo(
    played: Played, project_folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "more rows"
    other.mkdir()
    (project_folder / "two.csv").write_text("a,b\n1,2\n")
    played.page.dropEvent(drop(project_folder / "two.csv", other))
    assert paths_of(played.state) == ["rows.jsonl", "two.csv", str(other)]
    played.state.undo.undo()
    assert played.state.get("dataset", "sources") == ["rows.jsonl"]


def test_a_source_that_is_there_already_is_not_added_again(
    played: Played, project_folder: Path
) -> None:
    played.page.dropEvent(drop(project_folder / "rows.jsonl"))
    assert played.state.get("dataset", "sources") == ["rows.jsonl"]


def test_a_typed_hub_id_is_a_source_with_a_split_of_its_own(played: Played) -> None:
    page = played.page
    page.sources.hub.click()
    played.qtbot.keyClicks(page.sources.line, "org/rows")
    played.qtbot.keyClick(page.sources.line, Qt.Key.Key_Return)
    assert paths_of(played.state) == ["rows.jsonl", "org/rows"]
    panel = page.sources.cards[1].panel
    assert not panel._hub_row.isHidden()
    assert page.sources.cards[0].panel._hub_row.isHidden()
    panel.hub["split"].setText("test")
    panel.hub["split"].entered.emit()
    assert played.state.get("dataset", "sources")[1] == {"path": "org/rows", "split": "test"}
    spec = played.state.spec("dataset")
    assert spec is not None


def test_what_is_typed_about_a_hub_dataset_is_taken_over_or_taken_back(played: Played) -> None:
    page = played.page
    page.sources._add(["org/rows"])
    card = page.sources.cards[1]
    card.panel.hub["split"].setText("test")
    card.panel.hub["split"].reverted.emit()
    assert card.panel.hub["split"].text() == "train"
    card.panel.hub["revision"].setText("v2")
    card.commit()
    assert played.state.get("dataset", "sources")[1] == {"path": "org/rows", "revision": "v2"}


def test_the_full_path_of_a_source_stays_at_hand(played: Played, tmp_path: Path) -> None:
    played.page.sources._add([str(tmp_path / "far" / "rows.jsonl")])
    name = played.page.sources.cards[1].name
    played.page.resize(1500, 740)
    assert name.toolTip() == str(tmp_path / "far" / "rows.jsonl")


def test_the_verdict_names_format_confidence_and_evidence(played: Played) -> None:
    card = played.page.sources.cards[0]
    played.wait_for(InspectDataset)
    assert card.verdict.text() == "Reading…"
    played.read(sources=(model_facts.source(str(played.state.draft.folder) + "/rows.jsonl"),))
    assert (
        card.verdict.text()
        == "Alpaca (high confidence): 105 of 105 rows have instruction and output"
    )
    assert card.holds.text() == "JSON lines, UTF-8  ·  105 rows  ·  5 skipped"


@pytest.mark.parametrize(
    ("confidence", "said"), [(0.8, "medium confidence"), (0.4, "low confidence")]
)
def test_an_uncertain_format_is_called_so(played: Played, confidence: float, said: str) -> None:
    path = str(played.state.draft.folder) + "/rows.jsonl"
    played.read(sources=(model_facts.source(path, confidence=confidence),))
    assert played.page.sources.cards[0].verdict.text().startswith(f"Alpaca ({said}): ")


def test_a_refused_source_says_why_and_what_to_do(played: Played) -> None:
    refusal = Problem(
        code="dataset.images", what="The rows hold images.", remedy="Choose a dataset of text."
    )
    path = str(played.state.draft.folder) + "/rows.jsonl"
    refused = model_facts.source(path, format=None, task=None, problems=(refusal,), used=0)
    played.read(sources=(refused,), task=None, rows_used=0, preview=())
    said = played.page.sources.cards[0].verdict
    assert said.text() == "The rows hold images. Choose a dataset of text."
    assert said._words.property("role") == "error"
    played.qtbot.wait(2 * PAUSE)
    assert not played.of(MeasureDataset)
    assert not played.of(LintDataset)


def test_a_weight_is_kept_and_changes_the_rows_of_an_epoch(played: Played) -> None:
    played.read()
    card = played.page.sources.cards[0]
    card.weight.setText("2")
    card.weight.entered.emit()
    assert played.state.get("dataset", "sources") == [{"path": "rows.jsonl", "weight": 2.0}]
    assert "190 training rows" in played.page.footer.totals.text()
    card.weight.setText("0")
    card.weight.entered.emit()
    assert card.weight.text() == "2", "a weight of nothing is no weight"


def test_removing_the_last_source_leaves_the_drop_zone(played: Played) -> None:
    played.read()
    played.page.sources.cards[0].remove.click()
    assert played.state.get("dataset", "sources") == []
    assert played.page.data.currentIndex() == 0
    assert played.page.sources.zone.property("surface") == "drop"
    assert not played.page.sources.example.isHidden()
    played.state.undo.undo()
    assert len(played.page.sources.cards) == 1


def test_sources_that_were_used_are_offered_again(
    qtbot: QtBot, played: Played, project_folder: Path
) -> None:
    (project_folder / "two.csv").write_text("a,b\n1,2\n")
    played.page.dropEvent(drop(project_folder / "two.csv"))
    again = Preferences.load()
    assert again.recent_data == [str(project_folder / "two.csv")]
    page = DatasetPage(played.state, again)
    qtbot.addWidget(page)
    played.state.set("dataset", "sources", [])
    page.sources.recent.menu().actions()[0].trigger()
    assert paths_of(played.state) == ["two.csv"]


def test_tab_goes_the_way_the_eye_goes(played: Played) -> None:
    played.read()
    page = played.page
    played.qtbot.wait(20)
    way = tab_order.focus_order(page)
    card, rows = page.sources.cards[0], page.rows
    stops = [
        card.weight, card.opener, card.remove, page.sources.line, page.sources.files,
        page.tabs.tabBar(), rows.search, rows.filter, rows.table, rows.detail.tabBar(),
        page.footer.reasons.findChildren(QPushButton)[0],
        page.editors["train_on"].control.focusProxy(),
    ]  # fmt: skip
    places = [way.index(stop) for stop in stops if stop is not None]
    assert places == sorted(places)


# --- mapping ----------------------------------------------------------------------------------


def _csv(played: Played) -> events.SourceFound:
    return model_facts.source(
        str(played.state.draft.folder) + "/rows.jsonl",
        format="question_answer",
        columns=("context", "question", "reply"),
        mapping={"question": "question", "answer": "reply"},
        first='{"context": "A {reply} in braces", "question": "Who?", "reply": "Me."}',
    )


def test_a_column_chosen_for_a_slot_is_kept_with_the_rest_of_the_mapping(played: Played) -> None:
    played.read(sources=(_csv(played),))
    panel = played.page.sources.cards[0].panel
    assert list(panel.slots) == [name.rstrip("*") for name in FORMATS["question_answer"].slots]
    assert panel.slots["answer"].preview.text() == "Me."
    panel.slots["answer"].combo.edited.emit("context")
    assert played.state.get("dataset", "sources") == [
        {
            "path": "rows.jsonl",
            "format": "question_answer",
            "mapping": {"question": "question", "answer": "context"},
        }
    ]
    assert panel.reset.isVisibleTo(panel)
    panel.reset.click()
    assert played.state.get("dataset", "sources") == [{"path": "rows.jsonl"}]


def test_a_template_is_clicked_together_and_shows_the_first_row_by_it(played: Played) -> None:
    played.read(sources=(_csv(played),))
    slot = played.page.sources.cards[0].panel.slots["question"]
    slot.combo.edited.emit("\0template")
    assert slot.line.text() == "{question}"
    chips = {chip.text(): chip for chip in slot._chips.findChildren(QPushButton)}
    chips["line break"].click()
    chips["context"].click()
    assert slot.preview.text() == "Who? ↵ A {reply} in braces", "braces in the data stay literal"
    slot.line.entered.emit()
    kept = played.state.get("dataset", "sources")[0]["mapping"]
    assert kept["question"] == "{question}\\n{context}"


def test_another_format_has_other_slots_and_asks_anew(played: Played) -> None:
    played.read(sources=(_csv(played),))
    panel = played.page.sources.cards[0].panel
    panel.format.edited.emit("alpaca")
    assert list(panel.slots) == [name.rstrip("*") for name in FORMATS["alpaca"].slots]
    question = played.wait_for(InspectDataset, 2)
    assert isinstance(question, InspectDataset)
    assert question.dataset.sources[0].format == "alpaca"


# --- rows -------------------------------------------------------------------------------------


def test_rows_are_shown_before_all_of_them_are_read(played: Played) -> None:
    question = played.wait_for(InspectDataset)
    first = model_facts.dataset(complete=False, preview=(model_facts.row(1), model_facts.row(2)))
    played.answer(question, first, ending=False)
    assert played.page.rows.table.rows.rowCount() == 2
    assert not played.of(ReadRows)
    assert "so far" in played.page.footer.totals.text()
    played.answer(question, model_facts.dataset())
    assert played.page.rows.table.rows.rowCount() == 105


def test_only_pages_that_are_looked_at_are_read(played: Played) -> None:
    preview = tuple(model_facts.row(number) for number in range(1, 201))
    played.read(rows_read=2_000_000, preview=preview)
    table = played.page.rows.table
    played.qtbot.wait(200)
    assert not played.of(ReadRows), "the first rows came with the answer"
    table.scrollToBottom()
    question = played.wait_for(ReadRows)
    assert isinstance(question, ReadRows)
    assert (question.first, question.count) == (1_999_900, 100)
    assert table.rows.data(table.rows.index(1_999_990, 2)) == "…"
    page = tuple(model_facts.row(1_999_901 + n, f"Question {n}") for n in range(100))
    found = events.RowsRead(first=1_999_900, matching=2_000_000, rows=page)
    played.answer(question, found)
    assert table.rows.data(table.rows.index(1_999_990, 2)) == "Question 90"
    assert table.rows.data(table.rows.index(1_999_990, 0)) == "1,999,991"


def test_a_search_asks_once_typing_pauses_and_an_older_answer_is_dropped(played: Played) -> None:
    played.read()
    page = played.page
    played.qtbot.keyClicks(page.rows.search, "abroad")
    first = played.wait_for(ReadRows)
    assert isinstance(first, ReadRows)
    assert first.search == "abroad"
    assert len(played.of(ReadRows)) == 1
    page.rows.show_only(
        RowFilter("skipped", "Skipped: not valid JSON", reason=text("not valid JSON"))
    )
    second = played.wait_for(ReadRows, 2)
    assert isinstance(second, ReadRows)
    assert (str(second.reason), second.which, second.search) == ("not valid JSON", "skipped", "")
    left_out = model_facts.row(77, fault="not valid JSON")
    played.answer(second, events.RowsRead(first=0, matching=1, rows=(left_out,)))
    late = events.RowsRead(first=0, matching=2, rows=(model_facts.row(1), model_facts.row(2)))
    played.answer(first, late)
    assert page.rows.table.rows.rowCount() == 1
    assert page.rows.count.text() == "1 row"
    assert page.rows.detail.chat.fault.text() == "Skipped: not valid JSON"
    page.rows.clear.click()
    third = played.wait_for(ReadRows, 3)
    assert isinstance(third, ReadRows)
    assert (third.which, str(third.reason), third.search) == ("all", "", "")


def test_a_row_is_shown_as_chat_tokens_and_raw(played: Played) -> None:
    played.state.set_answer(model_facts.model())
    played.read()
    detail = played.page.rows.detail
    assert detail.chat.text().startswith("User\nWhere is my order?\nAssistant  ·  trained\n")
    question = played.wait_for(ShowRow)
    assert isinstance(question, ShowRow)
    assert question.model is not None
    played.answer(question, model_facts.shown(model_facts.row(1)))
    tokens = detail.tokens
    assert tokens.text() == "<|user|>Where is my order?<|end|><|assistant|>On its way to you."
    assert tokens.legend() == "trained 4, context 7, cut off 1"
    text = tokens.box.toPlainText()
    cursor = tokens.box.textCursor()
    cursor.setPosition(text.index("On") + 1)
    assert cursor.charFormat().fontUnderline(), "trained tokens are underlined, not only coloured"
    cursor.setPosition(text.index("you.") + 1)
    assert cursor.charFormat().fontStrikeOut(), "cut tokens are struck out"
    assert "\n<|assistant|>" in text, "a turn begins on a line of its own"
    assert tokens.token_at(text.index("<|end|>") + 1) == (
        "Token 6 of 12: id 105, special, context  '<|end|>'"
    )
    assert '"output": "On its way to you."' in detail.raw_text()


def test_without_a_model_the_tokens_say_what_is_missing(played: Played) -> None:
    played.read()
    assert "Select a model" in played.page.rows.detail.tokens.box.placeholderText()


def test_a_row_that_cannot_be_looked_at_says_why_beside_its_chat(played: Played) -> None:
    played.state.set_answer(model_facts.model())
    played.read()
    question = played.wait_for(ShowRow)
    problem = Problem(code="model.template", what="The template is broken.", remedy="Choose one.")
    failed = events.Failed(problem=problem)
    played.answer(question, failed, ending=False)
    detail = played.page.rows.detail
    assert detail.problem.text() == "The template is broken. Choose one."
    assert "Where is my order?" in detail.chat.text()


def test_both_sides_of_a_pair_stand_beside_each_other(played: Played) -> None:
    played.read(task="preference", preview=(model_facts.pair(1), model_facts.pair(2)))
    chat = played.page.rows.detail.chat
    assert chat.messages.text() == "User\nMay I return a jacket?"
    assert chat.chosen.isVisibleTo(chat)
    assert "Yes, within 30 days." in chat.chosen.text()
    assert chat.rejected.text().endswith("No.")
    rejected = events.Token(id=1, text="No.", state="trained")
    question = played.wait_for(ShowRow)
    played.answer(question, model_facts.shown(model_facts.pair(1), rejected_tokens=(rejected,)))
    assert played.page.rows.detail.rejected.text() == "No."


def test_a_label_is_said_in_words(played: Played) -> None:
    rows = (model_facts.row(1, label=True), model_facts.row(2, label=False))
    played.read(task="kto", preview=rows, rows_read=2, rows_used=2, skipped=())
    browser = played.page.rows
    assert browser.detail.chat.verdict.text() == "This answer is labeled good."
    played.qtbot.keyClick(browser.table, Qt.Key.Key_Down)
    assert browser.detail.chat.verdict.text() == "This answer is labeled bad."
    assert browser.table.rows.data(browser.table.rows.index(1, 3)).startswith("✗ ")


# --- lengths ----------------------------------------------------------------------------------


def test_the_dataset_is_measured_and_checked_once_it_is_read_and_a_model_is_known(
    played: Played,
) -> None:
    played.read()
    lint = played.wait_for(LintDataset)
    assert isinstance(lint, LintDataset)
    assert lint.model is None
    assert not played.of(MeasureDataset)
    played.state.set_answer(model_facts.model())
    played.wait_for(MeasureDataset)
    played.wait_for(LintDataset, 2)  # asked by then, or one question would do for both changes
    played.state.set("dataset", "max_length", 512)
    played.state.set("dataset", "validation_share", 0.2)
    played.wait_for(LintDataset, 3)
    assert len(played.of(MeasureDataset)) == 1, "the line and the split change no length"
    assert len(played.of(InspectDataset)) == 1


def test_the_cut_off_line_sets_the_longest_row_and_follows_it(played: Played) -> None:
    played.read()
    played.state.set_answer(model_facts.lengths())
    histogram = played.page.lengths.histogram
    histogram.fit.click()
    assert played.state.get("dataset", "max_length") == 200
    played.state.set("dataset", "max_length", 149)
    assert histogram.limit() == 149
    assert histogram.sentence.text().startswith("A limit of 149 truncates 50 % of the rows ")
    played.state.set("dataset", "too_long", "skip")
    assert histogram.sentence.text().startswith("A limit of 149 skips 50 % of the rows.")


def test_figures_tell_percentiles_tokens_and_steps(played: Played) -> None:
    played.read()
    played.state.set_answer(model_facts.lengths())
    tiles = played.page.lengths.tiles
    assert tiles.text("half") == "149 tokens"
    assert tiles.text("longest") == "199 tokens"
    assert tiles.text("tokens") == "14.9 K"
    assert tiles.text("trained") == "4 K (26.8 %)"
    assert tiles.text("steps") == "about 18"
    played.state.set("training", "epochs", 6)
    assert tiles.text("steps") == "about 36"
    played.state.set("dataset", "validation_count", 20)
    assert tiles.text("steps") == "about 30"


# --- findings ---------------------------------------------------------------------------------


def test_a_fix_is_recorded_shown_as_fixed_and_can_be_undone(played: Played) -> None:
    played.read()
    played.state.set_answer(model_facts.findings())
    page = played.page
    assert page.tabs.tabText(2) == "Findings (2)"
    _press(page, "Fix: Duplicate rows")
    assert played.state.get("dataset", "fixes") == ["drop_duplicates"]
    assert page.tabs.tabText(2) == "Findings (1)"
    _press(page, "Undo fix: Duplicate rows")
    assert played.state.get("dataset", "fixes") == []
    played.state.undo.undo()
    assert played.state.get("dataset", "fixes") == ["drop_duplicates"]


def test_the_keyboard_stays_at_the_fix(played: Played) -> None:
    played.read()
    played.state.set_answer(model_facts.findings())
    played.page.tabs.setCurrentIndex(2)
    played.page.activateWindow()
    _press(played.page, "Fix: Duplicate rows")
    focused = played.page.window().focusWidget()
    assert focused is not None
    assert focused.accessibleName() == "Undo fix: Duplicate rows"


def test_the_filter_says_what_the_table_shows_when_the_findings_change(played: Played) -> None:
    played.read()
    page = played.page
    page.footer.reasons.findChildren(QPushButton)[1].click()
    played.state.set_answer(model_facts.findings())
    assert page.rows.filter.currentText() == "Skipped: not valid JSON"
    played.state.set_answer(model_facts.findings())
    page.tabs.setCurrentIndex(2)
    _press(page, "Show rows: Duplicate rows")
    asked = len(played.of(ReadRows))
    played.state.set_answer(events.DatasetLinted(rows=100, findings=()))
    assert page.rows.filter.currentText() == "All rows"
    question = played.wait_for(ReadRows, asked + 1)
    assert isinstance(question, ReadRows)
    assert question.only == ()


def test_a_finding_shows_its_rows_in_the_table(played: Played) -> None:
    played.read()
    played.state.set_answer(model_facts.findings())
    played.page.tabs.setCurrentIndex(2)
    _press(played.page, "Show rows: Duplicate rows")
    question = played.wait_for(ReadRows)
    assert isinstance(question, ReadRows)
    assert question.only == ((0, 12), (0, 40))
    assert played.page.tabs.currentIndex() == 0
    assert played.page.rows.filter.currentText() == "Duplicate rows"


def test_another_setting_that_helps_is_one_click(played: Played) -> None:
    played.read()
    played.state.set_answer(model_facts.findings())
    button = next(
        part
        for part in played.page.findings.findChildren(QPushButton)
        if "sequence length" in part.text()
    )
    assert button.text() == "Max. sequence length: 4,096 tokens"
    button.click()
    assert played.state.get("dataset", "max_length") == 4096


def _press(page: DatasetPage, name: str) -> None:
    found = [
        part
        for part in page.findings.findChildren(QPushButton)
        if part.accessibleName() == name and not part.isHidden()
    ]
    found[-1].click()


# --- footer and progress ----------------------------------------------------------------------


def test_the_footer_adds_up_and_a_reason_leads_to_its_rows(played: Played) -> None:
    played.read()
    footer = played.page.footer
    assert footer.totals.text() == (
        "105 rows read: 100 used, 5 skipped  ·  95 training rows, 5 validation rows"
    )
    played.state.set_answer(model_facts.lengths())
    assert "14.9 K tokens per epoch" in footer.totals.text()
    assert footer.texts() == [
        "4 rows skipped: the answer is empty", "1 row skipped: not valid JSON",
    ]  # fmt: skip
    footer.reasons.findChildren(QPushButton)[1].click()
    question = played.wait_for(ReadRows)
    assert isinstance(question, ReadRows)
    assert str(question.reason) == "not valid JSON"
    played.state.set("dataset", "validation_count", 20)
    assert "80 training rows, 20 validation rows" in footer.totals.text()


def test_reading_shows_how_far_it_is_and_can_be_given_up_and_taken_up(played: Played) -> None:
    question = played.wait_for(InspectDataset)
    status = played.page.status
    half = events.Progress(stage="Reading rows.jsonl", done=50, total=100, eta_s=30)
    played.answer(question, half, ending=False)
    assert status.words.text() == "Reading rows.jsonl  50 %  ·  about 30 s left"
    with played.qtbot.waitSignal(played.page.question_dropped) as dropped:
        status.cancel.click()
    assert dropped.args == ["inspect_dataset"]
    played.page.on_shown()
    assert len(played.of(InspectDataset)) == 1, "what was given up is not asked again by itself"
    assert status.words.text() == "Not all rows were read"
    status.resume.click()
    assert len(played.of(InspectDataset)) == 2


def test_another_file_alone_empties_the_table_until_it_is_read(
    played: Played, project_folder: Path
) -> None:
    played.read()
    assert played.page.data.currentIndex() == 1
    (project_folder / "other.jsonl").write_text("{}\n")
    played.state.set("dataset", "sources", [{"path": "other.jsonl"}])
    assert played.state.facts.dataset is None
    assert played.page.data.currentIndex() == 0
    assert played.page.rows.table.rows.rowCount() == 0
