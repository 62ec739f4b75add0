"""The dataset page: sources, rows, lengths, findings, and the questions it asks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QPushButton
from pytestqt.qtbot import QtBot

from lora_studio.core.dataset.repairs import REASONS
from lora_studio.core.dataset.spec import FORMATS
from lora_studio.core.messages import text
from lora_studio.core.problems import Problem, Where, error
from lora_studio.core.project import checks
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
from lora_studio.gui.jobs import query_workers
from lora_studio.gui.jobs.debounced_query import PAUSE
from lora_studio.gui.pages.dataset.page import DatasetPage
from lora_studio.gui.pages.dataset.row_browser import RowFilter
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.widgets import tab_order
from tests.helpers.models import model_facts
from tests.helpers.window import classifier_shots
from tests.helpers.window.fake_engine import FileDrop


class Played:
    """The page with its questions; answers arrive as the window delivers them."""

    def __init__(self, qtbot: QtBot, state: ProjectState) -> None:
        self.qtbot, self.state = qtbot, state
        self.page = DatasetPage(state, Preferences())
        self.sent: list[Question] = []
        self.page.ask.connect(self.sent.append)
        qtbot.addWidget(self.page)
        self.page.resize(1100, 740)
        self.page.show()
        qtbot.waitExposed(self.page)

    def questions(self, kind: type[BaseCommand]) -> list[Question]:
        """Return the questions of one kind in the order they were asked."""
        return [question for question in self.sent if type(question) is kind]

    def wait_for(self, kind: type[BaseCommand], count: int = 1) -> Question:
        """Return the latest question of a kind once there are `count` of them."""
        self.qtbot.waitUntil(lambda: len(self.questions(kind)) >= count)
        return self.questions(kind)[-1]

    def answer(self, question: Question, *answers: events.Event, ending: bool = True) -> None:
        """Deliver events about a question, then its end."""
        for event in (*answers, *([events.Done()] if ending else [])):
            own = event.model_copy(update={"id": question.id})
            self.state.set_answer(own)
            self.page.on_event(own)

    def read(self, **changes: object) -> None:
        """Answer the inspection of the dataset."""
        self.answer(self.wait_for(InspectDataset), model_facts.dataset(**changes))


@pytest.fixture
def played(qtbot: QtBot, state: ProjectState, project_folder: Path) -> Iterator[Played]:
    assert state.open(project_folder)
    yield Played(qtbot, state)
    state.undo.setClean()


def paths_of(state: ProjectState) -> list[str]:
    return [source["path"] for source in state.get("dataset", "sources")]


# --- sources ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_dropped_files_and_folders_are_added_in_one_undo_step(
    played: Played, project_folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "more rows"
    other.mkdir()
    (project_folder / "two.csv").write_text("a,b\n1,2\n")
    played.page.dropEvent(FileDrop(project_folder / "two.csv", other))
    assert paths_of(played.state) == ["rows.jsonl", "two.csv", str(other)]
    played.state.undo.undo()
    assert played.state.get("dataset", "sources") == ["rows.jsonl"]


@pytest.mark.slow
def test_existing_source_is_not_added_twice(played: Played, project_folder: Path) -> None:
    played.page.dropEvent(FileDrop(project_folder / "rows.jsonl"))
    assert played.state.get("dataset", "sources") == ["rows.jsonl"]


def test_typed_hub_id_adds_a_source_with_a_split(played: Played) -> None:
    page = played.page
    page.sources.hub.click()
    played.qtbot.keyClicks(page.sources.line, "org/rows")
    played.qtbot.keyClick(page.sources.line, Qt.Key.Key_Return)
    assert paths_of(played.state) == ["rows.jsonl", "org/rows"]
    panel = page.sources.cards[1].panel
    assert not panel.hub_row.isHidden()
    assert page.sources.cards[0].panel.hub_row.isHidden()
    panel.hub["split"].setText("test")
    panel.hub["split"].entered.emit()
    assert played.state.get("dataset", "sources")[1] == {"path": "org/rows", "split": "test"}
    spec = played.state.get_spec("dataset")
    assert spec is not None


def test_hub_dataset_fields_are_applied_or_reverted(played: Played) -> None:
    page = played.page
    page.sources.add(["org/rows"])
    card = page.sources.cards[1]
    card.panel.hub["split"].setText("test")
    card.panel.hub["split"].reverted.emit()
    assert card.panel.hub["split"].text() == "train"
    card.panel.hub["revision"].setText("v2")
    card.commit()
    assert played.state.get("dataset", "sources")[1] == {"path": "org/rows", "revision": "v2"}


def test_source_tooltip_shows_the_full_path(played: Played, tmp_path: Path) -> None:
    played.page.sources.add([str(tmp_path / "far" / "rows.jsonl")])
    name = played.page.sources.cards[1].name
    played.page.resize(1500, 740)
    assert name.toolTip() == str(tmp_path / "far" / "rows.jsonl")


def test_source_card_shows_format_confidence_and_evidence(played: Played) -> None:
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
    ("confidence", "label"), [(0.8, "medium confidence"), (0.4, "low confidence")]
)
def test_uncertain_format_shows_its_confidence(
    played: Played, confidence: float, label: str
) -> None:
    path = str(played.state.draft.folder) + "/rows.jsonl"
    played.read(sources=(model_facts.source(path, confidence=confidence),))
    assert played.page.sources.cards[0].verdict.text().startswith(f"Alpaca ({label}): ")


def test_refused_source_shows_problem_and_remedy(played: Played) -> None:
    refusal = Problem(
        code="dataset.images", what="The rows hold images.", remedy="Choose a dataset of text."
    )
    path = str(played.state.draft.folder) + "/rows.jsonl"
    refused = model_facts.source(path, format=None, task=None, problems=(refusal,), used=0)
    played.read(sources=(refused,), task=None, rows_used=0, preview=())
    verdict = played.page.sources.cards[0].verdict
    assert verdict.text() == "The rows hold images. Choose a dataset of text."
    assert verdict.label.property("role") == "error"
    played.qtbot.wait(2 * PAUSE)
    assert not played.questions(MeasureDataset)
    assert not played.questions(LintDataset)


def test_source_weight_changes_the_rows_per_epoch(played: Played) -> None:
    played.read()
    card = played.page.sources.cards[0]
    card.weight.setText("2")
    card.weight.entered.emit()
    assert played.state.get("dataset", "sources") == [{"path": "rows.jsonl", "weight": 2.0}]
    assert "about 95 training rows, 5 validation rows, 190 per epoch" in (
        played.page.footer.totals.text()
    )
    card.weight.setText("0")
    card.weight.entered.emit()
    assert card.weight.text() == "2", "a weight of zero is refused"


def test_removing_the_last_source_shows_the_drop_zone(played: Played) -> None:
    played.read()
    played.page.sources.cards[0].remove.click()
    assert played.state.get("dataset", "sources") == []
    assert played.page.data.currentIndex() == 0
    assert played.page.sources.zone.property("surface") == "drop"
    assert not played.page.sources.example.isHidden()
    played.state.undo.undo()
    assert len(played.page.sources.cards) == 1


def test_recent_sources_are_offered(qtbot: QtBot, played: Played, project_folder: Path) -> None:
    (project_folder / "two.csv").write_text("a,b\n1,2\n")
    played.page.dropEvent(FileDrop(project_folder / "two.csv"))
    again = Preferences.load()
    assert again.recent_data == [str(project_folder / "two.csv")]
    page = DatasetPage(played.state, again)
    qtbot.addWidget(page)
    played.state.set("dataset", "sources", [])
    page.sources.recent.menu().actions()[0].trigger()
    assert paths_of(played.state) == ["two.csv"]


def test_tab_order_follows_the_layout(played: Played) -> None:
    played.read()
    page = played.page
    played.qtbot.wait(20)
    way = tab_order.list_focus_order(page)
    card, rows = page.sources.cards[0], page.rows
    stops = [
        card.weight, card.opener, card.remove, page.sources.line, page.sources.files,
        page.tabs.tabBar(), rows.search, rows.filter, rows.table, rows.detail.tabBar(),
        page.footer.reasons.findChildren(QPushButton)[0],
        page.editors["train_on"].control.focusProxy(),
    ]  # fmt: skip
    positions = [way.index(stop) for stop in stops if stop is not None]
    assert positions == sorted(positions)


# --- mapping ----------------------------------------------------------------------------------


def _csv(played: Played) -> events.SourceFound:
    return model_facts.source(
        str(played.state.draft.folder) + "/rows.jsonl",
        format="question_answer",
        columns=("context", "question", "reply"),
        mapping={"question": "question", "answer": "reply"},
        examples=('{"context": "A {reply} in braces", "question": "Who?", "reply": "Me."}',),
    )


def test_chosen_column_is_saved_with_the_rest_of_the_mapping(played: Played) -> None:
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


def test_guessed_mapping_opens_once_with_first_rows_as_chats(played: Played) -> None:
    row = '{{"context": "n/a", "question": "Who {n}?", "reply": "Me {n}."}}'
    guess = _csv(played).model_copy(
        update={"confidence": 0.4, "examples": tuple(row.format(n=n) for n in range(3))}
    )
    played.read(sources=(guess,))
    card = played.page.sources.cards[0]
    assert not card.panel.isHidden()
    assert ["Who 2?" in chat.text() and "Me 2." in chat.text() for chat in card.panel.chats] == [
        False,
        False,
        True,
    ]
    card.set_open(False)
    card.panel.slots["answer"].combo.edited.emit("context")
    assert card.panel.isHidden()
    played.answer(
        played.wait_for(InspectDataset, 2),
        model_facts.dataset(sources=(guess.model_copy(update={"mapping": {}}),)),
    )
    assert "n/a" in card.panel.chats[0].text()


def test_unknown_columns_open_the_mapping_and_are_said_once(played: Played) -> None:
    where = Where(step="dataset", field="sources")
    problem = error("dataset.unknown_format", "Unknown columns.", "Map them.", where=where)
    unknown = _csv(played).model_copy(
        update={"format": None, "mapping": {}, "problems": (problem,), "confidence": 0.0}
    )
    played.read(sources=(unknown,))
    played.state.report("inspect_dataset", [problem])
    card = played.page.sources.cards[0]
    assert not card.panel.isHidden()
    assert "map its fields" in card.verdict.text()
    assert not played.page.editors["sources"].error.isVisibleTo(played.page)


def test_template_is_built_from_chips_with_a_preview(played: Played) -> None:
    played.read(sources=(_csv(played),))
    slot = played.page.sources.cards[0].panel.slots["question"]
    slot.combo.edited.emit("\0template")
    assert slot.line.text() == "{question}"
    chips = {chip.text(): chip for chip in slot.chips.findChildren(QPushButton)}
    chips["line break"].click()
    chips["context"].click()
    assert slot.preview.text() == "Who? ↵ A {reply} in braces", "braces in the data stay literal"
    slot.line.entered.emit()
    mapping = played.state.get("dataset", "sources")[0]["mapping"]
    assert mapping["question"] == "{question}\\n{context}"


def test_changing_the_format_changes_slots_and_inspects_again(played: Played) -> None:
    played.read(sources=(_csv(played),))
    panel = played.page.sources.cards[0].panel
    panel.format.edited.emit("alpaca")
    assert list(panel.slots) == [name.rstrip("*") for name in FORMATS["alpaca"].slots]
    question = played.wait_for(InspectDataset, 2)
    assert isinstance(question, InspectDataset)
    assert question.dataset.sources[0].format == "alpaca"


# --- rows -------------------------------------------------------------------------------------


def test_rows_are_shown_while_reading_continues(played: Played) -> None:
    question = played.wait_for(InspectDataset)
    first = model_facts.dataset(complete=False, preview=(model_facts.row(1), model_facts.row(2)))
    played.answer(question, first, ending=False)
    assert played.page.rows.table.rows.rowCount() == 2
    assert not played.questions(ReadRows)
    assert "so far" in played.page.footer.totals.text()
    played.answer(question, model_facts.dataset())
    assert played.page.rows.table.rows.rowCount() == 105


def test_first_row_that_isnt_skipped_is_shown(played: Played) -> None:
    """Of a table of messages, the first is a question, which is read with its answer."""
    skipped = model_facts.row(1, fault=text("it is not an answer"), messages=())
    played.read(rows_read=2, preview=(skipped, model_facts.row(2)))
    shown = played.page.rows.table.get_selected()
    assert shown is not None
    assert shown.row == 2


def test_only_visible_row_pages_are_read(played: Played) -> None:
    preview = tuple(model_facts.row(number) for number in range(1, 201))
    played.read(rows_read=2_000_000, preview=preview)
    table = played.page.rows.table
    played.qtbot.wait(200)
    assert not played.questions(ReadRows), "the first rows came with the answer"
    table.scrollToBottom()
    question = played.wait_for(ReadRows)
    assert isinstance(question, ReadRows)
    assert (question.first, question.count) == (1_999_900, 100)
    assert table.rows.data(table.rows.index(1_999_990, 2)) == "…"
    page = tuple(model_facts.row(1_999_901 + n, f"Question {n}") for n in range(100))
    rows_event = events.RowsRead(first=1_999_900, matching=2_000_000, rows=page)
    played.answer(question, rows_event)
    assert table.rows.data(table.rows.index(1_999_990, 2)) == "Question 90"
    assert table.rows.data(table.rows.index(1_999_990, 0)) == "1,999,991"


def test_search_waits_for_a_pause_and_drops_older_answers(played: Played) -> None:
    played.read()
    page = played.page
    played.qtbot.keyClicks(page.rows.search, "abroad")
    first = played.wait_for(ReadRows)
    assert isinstance(first, ReadRows)
    assert first.search == "abroad"
    assert len(played.questions(ReadRows)) == 1
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


def test_row_is_shown_as_chat_tokens_and_json(played: Played) -> None:
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
    assert tokens.get_legend() == "trained 4, context 7, cut off 1"
    text = tokens.box.toPlainText()
    cursor = tokens.box.textCursor()
    cursor.setPosition(text.index("On") + 1)
    assert cursor.charFormat().fontUnderline(), "trained tokens are underlined, not only colored"
    cursor.setPosition(text.index("you.") + 1)
    assert cursor.charFormat().fontStrikeOut(), "cut tokens are struck out"
    assert "\n<|assistant|>" in text, "a turn starts on a new line"
    assert tokens.describe_token(text.index("<|end|>") + 1) == (
        "Token 6 of 12: id 105, special, context  '<|end|>'"
    )
    assert '"output": "On its way to you."' in detail.raw.toPlainText()


def test_token_view_without_a_model_asks_for_one(played: Played) -> None:
    played.read()
    assert "Select a model" in played.page.rows.detail.tokens.box.placeholderText()


def test_row_that_cannot_be_tokenized_shows_the_problem(played: Played) -> None:
    played.state.set_answer(model_facts.model())
    played.read()
    question = played.wait_for(ShowRow)
    problem = Problem(code="model.template", what="The template is broken.", remedy="Choose one.")
    failed = events.Failed(problem=problem)
    played.answer(question, failed, ending=False)
    detail = played.page.rows.detail
    assert detail.problem.text() == "The template is broken. Choose one."
    assert "Where is my order?" in detail.chat.text()


def test_preference_pair_is_shown_side_by_side(played: Played) -> None:
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


def test_label_is_shown_as_good_or_bad(played: Played) -> None:
    rows = (model_facts.row(1, label=True), model_facts.row(2, label=False))
    played.read(task="kto", preview=rows, rows_read=2, rows_used=2, skipped=())
    browser = played.page.rows
    assert browser.detail.chat.verdict.text() == "This answer is labeled good."
    played.qtbot.keyClick(browser.table, Qt.Key.Key_Down)
    assert browser.detail.chat.verdict.text() == "This answer is labeled bad."
    assert browser.table.rows.data(browser.table.rows.index(1, 3)).startswith("✗ ")


def test_labels_are_listed_with_their_share_of_the_rows(played: Played) -> None:
    page = played.page
    played.read(task="classification")
    question = played.wait_for(LintDataset)
    assert isinstance(question, LintDataset)
    assert question.seed == played.state.get("training", "seed")
    tab = page.tabs.indexOf(page.labels)
    assert not page.tabs.isTabVisible(tab)
    played.state.set_answer(classifier_shots.linted())
    assert page.tabs.isTabVisible(tab)
    table = page.labels.table
    assert [table.item(1, column).text() for column in (0, 2, 3, 4, 5)] == [
        "shipping", "27.8 %", "610", "580", "30",
    ]  # fmt: skip
    played.state.set_answer(classifier_shots.pairs_linted())
    assert not page.tabs.isTabVisible(tab)
    headings = [each.text() for each in page.findings.findChildren(QLabel)]
    assert any("1,240 pairs, 310 with a hard negative" in each for each in headings)


# --- lengths ----------------------------------------------------------------------------------


def test_dataset_is_measured_once_its_rows_and_a_model_are_known(
    played: Played,
) -> None:
    played.read()
    lint = played.wait_for(LintDataset)
    assert isinstance(lint, LintDataset)
    assert lint.model is None
    assert not played.questions(MeasureDataset)
    played.state.set_answer(model_facts.model())
    played.wait_for(MeasureDataset)
    played.wait_for(LintDataset, 2)  # sent by then; otherwise one question would cover both changes
    played.state.set("dataset", "max_length", 512)
    played.state.set("dataset", "validation_share", 0.2)
    played.wait_for(LintDataset, 3)
    assert len(played.questions(MeasureDataset)) == 1, (
        "neither the limit nor the split changes a length"
    )
    assert len(played.questions(InspectDataset)) == 1


def test_length_limit_and_histogram_line_stay_in_sync(played: Played) -> None:
    played.read()
    played.state.set_answer(model_facts.lengths())
    histogram = played.page.lengths.histogram
    histogram.fit.click()
    assert played.state.get("dataset", "max_length") == 200
    played.state.set("dataset", "max_length", 149)
    assert histogram.get_limit() == 149
    assert histogram.sentence.text().startswith("A limit of 149 truncates 50 % of the rows ")
    played.state.set("dataset", "too_long", "skip")
    assert histogram.sentence.text().startswith("A limit of 149 skips 50 % of the rows.")
    played.state.set_answer(model_facts.dataset(task="text"))  # documents are split
    assert "50 %" in histogram.sentence.text()
    assert "149 skips" not in histogram.sentence.text()


def test_rows_that_all_fail_prevent_the_training(played: Played) -> None:
    played.read()
    problem = Problem(code="dataset.no_usable_rows", what="None fits.", remedy="Choose others.")
    said = query_workers.assign_step(problem, "plan_dataset")
    assert said is not None
    played.state.report("plan_dataset", [said])
    assert checks.filter_errors(played.state.list_problems("dataset")) == [said]
    assert "0 used" in played.page.footer.totals.text()
    other = problem.model_copy(update={"code": "worker.crashed"})
    assert query_workers.assign_step(other, "plan_dataset").severity == "warning"  # type: ignore[union-attr]


def test_tiles_show_percentiles_tokens_and_steps(played: Played) -> None:
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


def test_fix_is_saved_and_can_be_undone(played: Played) -> None:
    played.read()
    played.state.set_answer(model_facts.findings())
    page = played.page
    assert page.tabs.tabText(2) == "Findings (2)"
    _press(page, "Fix: Duplicate rows")
    assert played.state.get("dataset", "fixes") == ["drop_duplicates"]
    assert page.tabs.tabText(2) == "Findings (1 of 2 open)"
    _press(page, "Undo fix: Duplicate rows")
    assert played.state.get("dataset", "fixes") == []
    played.state.undo.undo()
    assert played.state.get("dataset", "fixes") == ["drop_duplicates"]


def test_focus_stays_on_the_applied_fix(played: Played) -> None:
    played.read()
    played.state.set_answer(model_facts.findings())
    played.page.tabs.setCurrentIndex(2)
    played.page.activateWindow()
    _press(played.page, "Fix: Duplicate rows")
    focused = played.page.window().focusWidget()
    assert focused is not None
    assert focused.accessibleName() == "Undo fix: Duplicate rows"


def test_row_filter_follows_changed_findings(played: Played) -> None:
    played.read()
    page = played.page
    page.footer.reasons.findChildren(QPushButton)[1].click()
    played.state.set_answer(model_facts.findings())
    assert page.rows.filter.currentText() == "Skipped: not valid JSON"
    played.state.set_answer(model_facts.findings())
    page.tabs.setCurrentIndex(2)
    _press(page, "Show rows: Duplicate rows")
    earlier = len(played.questions(ReadRows))
    played.state.set_answer(events.DatasetLinted(rows=100, findings=()))
    assert page.rows.filter.currentText() == "All rows"
    question = played.wait_for(ReadRows, earlier + 1)
    assert isinstance(question, ReadRows)
    assert question.only == ()


def test_finding_filters_the_table_to_its_rows(played: Played) -> None:
    played.read()
    played.state.set_answer(model_facts.findings())
    played.page.tabs.setCurrentIndex(2)
    _press(played.page, "Show rows: Duplicate rows")
    question = played.wait_for(ReadRows)
    assert isinstance(question, ReadRows)
    assert question.only == ((0, 12), (0, 40))
    assert played.page.tabs.currentIndex() == 0
    assert played.page.rows.filter.currentText() == "Duplicate rows"


def test_finding_offers_a_suggested_setting(played: Played) -> None:
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
    buttons = [
        part
        for part in page.findings.findChildren(QPushButton)
        if part.accessibleName() == name and not part.isHidden()
    ]
    buttons[-1].click()


# --- footer and progress ----------------------------------------------------------------------


def test_footer_shows_totals_and_links_reasons_to_rows(played: Played) -> None:
    played.read()
    footer = played.page.footer
    assert footer.totals.text() == (
        "105 rows read: 100 used, 5 skipped  ·  about 95 training rows, 5 validation rows"
    )
    measured = model_facts.lengths()
    played.state.set_answer(measured.model_copy(update={"complete": False}))
    assert "tokens per epoch" not in footer.totals.text(), "an estimate of some rows"
    played.state.set_answer(measured)
    assert "14.9 K tokens per epoch" in footer.totals.text()
    links = footer.reasons.findChildren(QPushButton)
    assert [link.text() for link in links] == [
        "4 rows skipped: the answer is empty", "1 row skipped: not valid JSON",
    ]  # fmt: skip
    links[1].click()
    question = played.wait_for(ReadRows)
    assert isinstance(question, ReadRows)
    assert str(question.reason) == "not valid JSON"
    played.state.set("dataset", "validation_count", 20)
    assert "about 80 training rows, 20 validation rows" in footer.totals.text()


def test_footer_shows_no_tokens_of_other_rows(played: Played, project_folder: Path) -> None:
    played.state.set_answer(model_facts.model())
    played.read()
    sources = played.state.get("dataset", "sources")
    measurement = played.wait_for(MeasureDataset)
    weighted = model_facts.lengths([*range(100, 200)] * 3)
    played.answer(measurement, weighted)
    assert "44.9 K tokens per epoch" in played.page.footer.totals.text(), "of weighted rows"
    (project_folder / "more.jsonl").write_text("{}\n")
    played.state.set("dataset", "sources", [*sources, {"path": "more.jsonl"}])
    assert "tokens per epoch" not in played.page.footer.totals.text()
    played.state.set("dataset", "sources", sources)
    played.read()
    played.answer(played.wait_for(MeasureDataset, 2), weighted)
    assert "44.9 K tokens per epoch" in played.page.footer.totals.text()


def test_footer_shows_the_rows_of_the_run_once_they_are_counted(played: Played) -> None:
    played.read()
    footer = played.page.footer
    duplicates = events.Skipped(reason=REASONS["drop_duplicates"], count=42, rows=(12, 40))
    planned = model_facts.planned(
        rows_train=56,
        rows_validation=2,
        rows_per_epoch=56,
        skipped=(duplicates, *model_facts.SKIPPED),
    )
    played.state.set_answer(planned)
    assert footer.totals.text() == (
        "105 rows read: 58 used, 47 skipped  ·  14.2 K tokens per epoch  ·  "
        "56 training rows, 2 validation rows"
    )
    played.state.set_answer(model_facts.findings())
    links = {link.text(): link for link in footer.reasons.findChildren(QPushButton)}
    links["42 rows skipped: the row duplicates an earlier row"].click()
    question = played.wait_for(ReadRows)
    assert isinstance(question, ReadRows)
    assert question.only == ((0, 12), (0, 40))
    played.state.set("dataset", "max_length", 4096)
    assert "about" in footer.totals.text(), "the counts of other settings are dropped"


def test_reading_shows_progress_and_can_be_canceled_and_resumed(played: Played) -> None:
    question = played.wait_for(InspectDataset)
    status = played.page.status
    half = events.Progress(stage="Reading rows.jsonl", done=50, total=100, eta_s=30)
    played.answer(question, half, ending=False)
    assert status.words.text() == "Reading rows.jsonl  50 %  ·  about 30 s left"
    with played.qtbot.waitSignal(played.page.question_dropped) as dropped:
        status.cancel.click()
    assert dropped.args == ["inspect_dataset"]
    played.page.on_shown()
    assert len(played.questions(InspectDataset)) == 1, (
        "a canceled question isn't repeated automatically"
    )
    assert status.words.text() == "Not all rows were read"
    status.resume.click()
    assert len(played.questions(InspectDataset)) == 2


def test_changing_the_source_clears_the_table(played: Played, project_folder: Path) -> None:
    played.read()
    assert played.page.data.currentIndex() == 1
    (project_folder / "other.jsonl").write_text("{}\n")
    played.state.set("dataset", "sources", [{"path": "other.jsonl"}])
    assert played.state.facts.dataset is None
    assert played.page.data.currentIndex() == 0
    assert played.page.rows.table.rows.rowCount() == 0
