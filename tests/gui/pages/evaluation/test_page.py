"""The Evaluate page: from the choice of models to the verdict, driven with the fake engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtGui import QTextCursor
from pytestqt.qtbot import QtBot

from lora_studio.core.evaluation.summary import ResultFilter, filter_rows
from lora_studio.core.evaluation.test_sets import TestSetReport
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.gui.pages.evaluation.page import EvaluationPage, ReadEvaluation
from lora_studio.gui.pages.evaluation.result_views import find_changes
from lora_studio.gui.window.main_window import Window
from tests.gui.conftest import WAIT
from tests.helpers.runs.job_events import emit
from tests.helpers.runs.planted_evaluation import plant
from tests.helpers.window import seen


def test_results_say_in_words_what_became_better_and_worse(
    qtbot: QtBot, show: Callable[..., None], page: EvaluationPage, evaluated: RunFolder
) -> None:
    plant(evaluated)
    show()
    adapter, no_forgetting, gguf, forgetting = page.verdict.sentences
    assert adapter.startswith("Adapter: Better: ")
    assert no_forgetting.startswith("No forgetting shown; 60 items")
    assert gguf == "Q4_K_M: No difference shown (60 % → 78 %); 130 rows would be needed"
    assert forgetting.startswith("Forgot: −")
    assert "6 rows were trained on and are left out." in page.verdict.note.text()
    table = page.scores.scores
    cells = [str(table.index(0, number).data()) for number in range(table.columnCount())]
    assert cells[:3] == ["Held-out rows", "Exact match", "60"]
    assert cells[4].startswith("▲ ")
    assert page.change_view.changes.describe().startswith("Adapter: Held-out rows +")
    assert not page.header.primary.isVisible()


@pytest.mark.slow
def test_filters_find_fixed_broken_and_different_rows(
    qtbot: QtBot, show: Callable[..., None], page: EvaluationPage, evaluated: RunFolder
) -> None:
    plant(evaluated)
    show()
    assert page.shown is not None
    results, rows = page.shown.results, page.rows
    total = len(rows.rows.items)
    page.tabs.setCurrentWidget(rows)
    rows.choose("fixed")
    fixed = {item.id for item in rows.rows.items}
    rows.choose("broken")
    broken = {item.id for item in rows.rows.items}
    rows.choose("different", "adapter", "Q4_K_M")
    different = {item.id for item in rows.rows.items}
    assert fixed
    assert broken
    assert not fixed & broken
    assert 0 < len(different) < total
    for item in filter_rows(results, ResultFilter("fixed", "adapter", "base", "heldout")):
        assert results.answers[item.id, "base"].scores["exact"] == 0
        assert results.answers[item.id, "adapter"].scores["exact"] == 1
    rows.choose("all")
    qtbot.keyClicks(rows.search, "password")
    qtbot.waitUntil(lambda: 0 < len(rows.rows.items) < total, timeout=WAIT)


@pytest.mark.slow
def test_answers_show_differences_tokens_and_the_reference(
    qtbot: QtBot, show: Callable[..., None], page: EvaluationPage, evaluated: RunFolder
) -> None:
    plant(evaluated)
    show()
    page.rows.choose("fixed")
    text = page.rows.answers.text
    shown = text.toPlainText()
    assert "Reference" in shown
    assert "7 tokens" in shown
    cursor = text.document().find("I'm sorry")
    assert not cursor.charFormat().fontUnderline()
    reference = shown.split("Reference\n")[1].splitlines()[0]
    cursor = QTextCursor(text.document())
    cursor.setPosition(shown.rindex(f"\n{reference}") + 2)
    assert cursor.charFormat().fontUnderline()
    assert find_changes("a b c", "a x c") == [("a ", False), ("x", True), (" c", False)]


@pytest.mark.slow
def test_partial_results_are_shown_and_can_be_continued(
    qtbot: QtBot, show: Callable[..., None], page: EvaluationPage, evaluated: RunFolder
) -> None:
    folder = plant(evaluated, complete=False)
    show()
    assert "Partial results" in page.verdict.note.text()
    assert page.header.primary.text() == "Continue evaluation"
    with qtbot.waitSignal(page.start_requested, timeout=WAIT) as asked:
        page.press_primary()
    command, run = asked.args
    assert (command.evaluation, run) == (folder.path.name, evaluated)


def test_setup_makes_the_plan(
    qtbot: QtBot, show: Callable[..., None], page: EvaluationPage
) -> None:
    show(evaluations=0)
    form = page.setup_form
    reports = [
        TestSetReport(key="heldout", items=200, trained=3, suggested=("exact", "contains")),
        TestSetReport(key="forgetting", items=324),
    ]
    page.on_event(events.TestSetsInspected(test_sets=tuple(reports)))
    assert (
        "200 items  ·  3 rows were trained on and are left out  ·  enough to show"
        in form.facts.text()
    )
    assert "Exact match, Contains" in form.suggested.text()
    form.automatic.setChecked(False)
    assert page.header.primary.toolTip() == "Choose at least one metric."
    form.custom.setText("regex:(")
    form.custom.textEdited.emit("regex:(")
    assert not page.header.primary.isEnabled()
    assert "is invalid" in form.custom_error.text()
    form.custom.setText("number:1%")
    form.custom.textEdited.emit("number:1%")
    with qtbot.waitSignal(page.start_requested, timeout=WAIT) as asked:
        page.press_primary()
    plan = asked.args[0].plan
    assert [column.key for column in plan.columns] == ["base", "adapter", "Q4_K_M"]
    assert [test_set.key for test_set in plan.test_sets] == ["heldout", "forgetting"]
    assert plan.metrics == ("number:1%",)
    assert plan.sampling.temperature == 0


@pytest.mark.slow
def test_export_writes_the_shown_evaluation(
    qtbot: QtBot,
    show: Callable[..., None],
    page: EvaluationPage,
    evaluated: RunFolder,
    tmp_path: Path,
) -> None:
    plant(evaluated, rows=20, columns=("base", "adapter"))
    show()
    for name in ("out.csv", "out.json"):
        with qtbot.waitSignal(page.export.written, timeout=WAIT):
            page.export.write(tmp_path / name)
    assert (tmp_path / "out.csv").read_text("utf-8").startswith("test_set,item,")
    assert json.loads((tmp_path / "out.json").read_text("utf-8"))["complete"] is True
    with qtbot.waitSignal(page.export.failed, timeout=WAIT) as failed:
        page.export.write(tmp_path / "out.csv" / "inside.csv")
    assert failed.args[0].code == "evaluation.not_exported"


@pytest.mark.slow
def test_another_evaluation_is_overlaid_on_the_same_items(
    qtbot: QtBot, show: Callable[..., None], page: EvaluationPage, evaluated: RunFolder
) -> None:
    first = plant(evaluated, rows=30, general=10, columns=("base", "adapter"))
    plant(evaluated, rows=20, general=10, columns=("base", "Q4_K_M"))
    show()
    qtbot.waitUntil(lambda: page.overlay.isVisible(), timeout=WAIT)
    reads: list[ReadEvaluation] = []
    page.library.read.connect(reads.append)
    page._open_chosen()  # without the other one; outdated before it is there
    page.overlay.fill()
    page.overlay.menu().actions()[0].trigger()
    assert page.overlay.chosen == [first]
    qtbot.waitUntil(lambda: "2: Adapter" in page.scores.scores.columns.values(), timeout=WAIT)
    assert page.shown is not None
    assert len([item for item in page.shown.results.items if item.test_set == "heldout"]) == 20
    assert any(each.startswith("2: Adapter: ") for each in page.verdict.sentences)
    assert "2: " in page.change_view.changes.describe()
    assert "items that all evaluations have" in page.verdict.note.text()
    assert all(read.others == (first,) for read in reads)
    page.overlay.choose([])
    qtbot.waitUntil(lambda: len(page.scores.scores.columns) == 2, timeout=WAIT)


@pytest.mark.slow
def test_scores_are_stacked_where_columns_have_no_room(
    qtbot: QtBot, show: Callable[..., None], page: EvaluationPage, evaluated: RunFolder
) -> None:
    plant(evaluated, rows=20)
    show()
    table, model = page.scores, page.scores.scores
    assert model.columnCount() == 6
    page.resize(480, 720)
    qtbot.waitUntil(lambda: model.is_stacked, timeout=WAIT)
    assert table.horizontalScrollBar().maximum() == 0
    cells = [[str(model.index(row, column).data() or "") for column in (0, 1)] for row in range(4)]
    assert cells[0] == ["Held-out rows  ·  Exact match  ·  20 rows", ""]
    assert [cell[0] for cell in cells[1:]] == ["Base model", "Adapter", "Q4_K_M"]
    assert all("%" in cell[1] for cell in cells[1:])
    page.resize(1130, 720)
    qtbot.waitUntil(lambda: not model.is_stacked, timeout=WAIT)
    assert model.columnCount() == 6


@pytest.mark.slow
def test_every_part_is_named_visible_and_reachable(
    qtbot: QtBot, show: Callable[..., None], page: EvaluationPage, evaluated: RunFolder
) -> None:
    plant(evaluated, rows=20)
    show()
    for number in range(page.tabs.count() + 1):
        if number < page.tabs.count():
            page.tabs.setCurrentIndex(number)
        else:
            page.new.click()
            page.setup_form.automatic.setChecked(False)
        qtbot.wait(50)
        for find in (seen.cut_texts, seen.too_wide, seen.nameless, seen.out_of_reach):
            assert find(page) == []


@pytest.mark.slow
def test_window_evaluates_pauses_and_cancels(
    qtbot: QtBot,
    window: Window,
    scenario: Callable[..., None],
    project_folder: Path,
    evaluated: RunFolder,
) -> None:
    scenario(
        evaluate=[
            emit(events.EvaluationStarted(evaluation="20261128-120000", items=10, columns=("base",))),
            emit(events.AnswersRecorded(evaluation="20261128-120000", column="base", done=4, total=30, eta_s=60)),
            {"sleep": 60},
        ]
    )  # fmt: skip
    window.open_project(project_folder)
    window.show_page("evaluation")
    page = window.evaluation
    qtbot.waitUntil(lambda: bool(page.choices), timeout=WAIT)
    page.press_primary()
    qtbot.waitUntil(lambda: "4 of 30 answers" in page.progress.doing.text(), timeout=WAIT)
    assert page.progress.isVisible()
    assert "about 1 min" in page.progress.left.text()
    window.show_page("home")
    window.show_job()
    assert window.page_name == "evaluation"
    page.cancel.click()
    qtbot.waitUntil(lambda: not window.jobs.running, timeout=WAIT)
    assert not page.progress.isVisible()
