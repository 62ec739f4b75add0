"""Benchmarks on the Evaluate page: searched, added, and refused with a remedy."""

from __future__ import annotations

from collections.abc import Callable

from pytestqt.qtbot import QtBot

from lora_studio.core.evaluation.test_sets import BenchmarkTask, TestSetReport
from lora_studio.core.problems import error
from lora_studio.core.protocol import events
from lora_studio.core.protocol.evaluation import BenchmarkInfo
from lora_studio.gui.pages.evaluation.page import EvaluationPage
from lora_studio.gui.pages.evaluation.setup_form import BenchmarkDialog
from tests.gui.conftest import WAIT

_FOUND = (
    BenchmarkInfo(name="arc_easy", dataset="allenai/ai2_arc", output_type="multiple_choice"),
    BenchmarkInfo(name="arc_odd", dataset="allenai/odd", output_type="other"),
)


def _open(qtbot: QtBot, page: EvaluationPage) -> BenchmarkDialog:
    page.setup_form.benchmark.click()
    dialog = page.findChild(BenchmarkDialog)
    assert dialog is not None
    _wait_for_question(qtbot, dialog, "")
    return dialog


def _wait_for_question(qtbot: QtBot, dialog: BenchmarkDialog, search: str) -> str:
    """Wait until the dialog has asked for some words; return the ID of its question."""
    qtbot.waitUntil(
        lambda: dialog.query.asked is not None and dialog.query.asked.search == search, timeout=WAIT
    )
    assert dialog.query.asked is not None
    return dialog.query.asked.id


def test_a_benchmark_is_found_and_added_with_its_items(
    qtbot: QtBot, page: EvaluationPage, show: Callable[..., None]
) -> None:
    show(evaluations=0)
    dialog = _open(qtbot, page)
    assert "up to a minute" in dialog.count.text()
    qtbot.keyClicks(dialog.search, "arc")
    question = _wait_for_question(qtbot, dialog, "arc")
    page.on_event(events.BenchmarksListed(id=question, benchmarks=_FOUND, total=500))
    assert "The first 2 of 500 benchmarks" in dialog.count.text()
    assert dialog.table.item(0, 2).text() == "multiple choice"
    assert dialog.table.item(1, 2).text() == "not supported"
    dialog.shots.setValue(5)
    dialog.add.click()
    test_set = page.setup_form.list_test_sets()[-1]
    assert test_set == BenchmarkTask(task="arc_easy", shots=5)
    report = TestSetReport(key=test_set.key, items=2376)
    page.on_event(events.TestSetsInspected(test_sets=(report,)))
    assert "arc_easy: 2376 items" in page.setup_form.facts.text().replace(",", "")


def test_a_missing_package_or_dataset_is_named(
    qtbot: QtBot, page: EvaluationPage, show: Callable[..., None]
) -> None:
    show(evaluations=0)
    dialog = _open(qtbot, page)
    question = _wait_for_question(qtbot, dialog, "")
    missing = error("evaluation.no_benchmarks", "Needs lm-eval.", "Run pip install lm-eval")
    page.on_event(events.Failed(id=question, problem=missing))
    assert dialog.problem.text() == "Needs lm-eval. Run pip install lm-eval"
    assert not dialog.add.isEnabled()
    dialog.reject()
    form = page.setup_form
    form.add_test_set(BenchmarkTask(task="arc_easy"))
    offline = error("evaluation.benchmark_offline", "The dataset isn't here.", "Turn it off.")
    report = TestSetReport(key="benchmark:arc_easy", problem=offline)
    page.on_event(events.TestSetsInspected(test_sets=(report,)))
    assert form.problems.text() == "arc_easy: The dataset isn't here. Turn it off."
    assert not form.problems.isHidden()
