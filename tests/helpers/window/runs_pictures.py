"""Screenshots of the Runs and the Evaluate page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from PySide6.QtTest import QTest
from PySide6.QtWidgets import QWidget

from lora_studio.core.evaluation.test_sets import ForgettingSet, HeldoutRows, TestSetReport
from lora_studio.core.protocol import events
from lora_studio.core.protocol.evaluation import BenchmarkInfo
from lora_studio.core.runs.folder import list_runs
from lora_studio.core.runs.queue import QueuedRun
from lora_studio.gui.pages.evaluation.setup_form import BenchmarkDialog, ServerModelDialog
from lora_studio.gui.pages.runs.actions import DeleteDialog, GridDialog
from lora_studio.gui.window.main_window import Window
from tests.helpers.runs.job_events import emit, wait_until
from tests.helpers.runs.many_runs import as_search, make_runs
from tests.helpers.runs.planted_evaluation import make_task_items, plant

Until = Callable[[Callable[[], bool], float], object]


def runs_shots(window: Window, until: Until) -> Iterator[tuple[str, QWidget]]:
    """Yield the states of the page."""
    folder = window.state.draft.folder
    assert folder is not None
    as_search(make_runs(folder, 60, steps=200))
    page = window.runs
    window.show_page("runs")
    count = len(list_runs(window.state.runs_folder))  # those of the trainings before as well
    until(lambda: len(page.library.runs) >= count and not page.library.is_scanning, 20)
    names = [run.folder for run in page.table.rows.shown if run.step == 200]
    page.table.rows.tick(names[:3], True)
    page.table.choose(names[:1])
    until(lambda: all(len(run.steps) for run in page.plot.runs), 10)
    yield "runs", window
    page.table.choose(names[:3])
    page.plot.read_at(120)
    yield "runs-compared", window
    page.plot.read_at(None)
    window.queue.pause()
    window.queue.add([QueuedRun(run=name) for name in names[3:6]])
    page.side.setCurrentWidget(page.side.queue)
    page.side.queue.list.setCurrentRow(1)
    yield "runs-queue", window
    window.queue.remove(names)
    page.side.setCurrentWidget(page.side.grids)
    yield "runs-grid", window
    page.run_actions.open_grid_search()
    searching = page.findChild(GridDialog)
    assert searching is not None
    QTest.qWait(100)
    yield "dialog-grid", searching
    searching.reject()
    page.side.setCurrentWidget(page.side.notes)
    page.table.choose(names[:1])
    yield "runs-notes", window
    page.side.setCurrentIndex(0)
    cut = next(run.folder for run in page.library.runs if run.state == "interrupted")
    page.table.choose([cut])
    yield "runs-interrupted", window
    page.run_actions.actions["delete"].trigger()
    deletion = page.findChild(DeleteDialog)
    assert deletion is not None
    QTest.qWait(100)
    yield "dialog-delete", deletion
    deletion.reject()
    window.toasts.clear()


def scenario() -> dict[str, list[dict[str, Any]]]:
    """Return the answer of the worker that reads test sets."""
    heldout = TestSetReport(
        key="heldout", title=HeldoutRows().title, rows=126, items=120, trained=6,
        suggested=("exact", "contains", "token_f1"),
    )  # fmt: skip
    general = TestSetReport(
        key="forgetting", title=ForgettingSet().title, rows=324, items=324,
        suggested=("correct", "perplexity"),
    )  # fmt: skip
    inspected = events.TestSetsInspected(
        test_sets=(heldout, general), items=tuple(make_task_items(3))
    )
    return {"inspect_test_sets": [emit(inspected)], "list_benchmarks": [emit(_BENCHMARKS)]}


_BENCHMARKS = events.BenchmarksListed(
    benchmarks=tuple(
        BenchmarkInfo(name=name, dataset=dataset, output_type=kind)
        for name, dataset, kind in (
            ("arc_challenge", "allenai/ai2_arc", "multiple_choice"),
            ("arc_easy", "allenai/ai2_arc", "multiple_choice"),
            ("gsm8k", "openai/gsm8k", "generate_until"),
            ("squadv2", "rajpurkar/squad_v2", "other"),
            ("wikitext", "EleutherAI/wikitext_document_level", "loglikelihood_rolling"),
        )
    ),
    total=5,
)


def shots(window: Window) -> Iterator[tuple[str, QWidget]]:
    """Yield the choice of a new evaluation, and each tab of the results of a planted one."""
    window.toasts.clear()
    window.show_page("evaluation")
    page = window.evaluation
    wait_until(lambda: bool(page.choices), 10)
    wait_until(lambda: bool(page.setup_form.facts.text()), 10)
    yield "evaluation-new", window
    yield from _show_judge_and_servers(window)
    assert window.state.run is not None
    plant(window.state.run, rows=120, general=300, judged=True)
    page.on_shown()
    wait_until(lambda: page.shown is not None, 30)
    page._show_results()
    QTest.qWait(200)
    yield "evaluation", window
    page.tabs.setCurrentWidget(page.rows)
    page.rows.choose("fixed")
    QTest.qWait(200)
    yield "evaluation-rows", window
    page.tabs.setCurrentWidget(page.change_view)
    QTest.qWait(200)
    yield "evaluation-changes", window
    page.tabs.setCurrentWidget(page.preferences)
    QTest.qWait(200)
    yield "evaluation-preferences", window
    page.tabs.setCurrentIndex(0)
    plant(window.state.run, rows=100, general=200, columns=("base", "Q4_K_M"))
    page.on_shown()
    wait_until(lambda: len(page.choices[0].evaluations) == 2, 30)
    page.overlay.choose([page.choices[0].evaluations[0]])
    wait_until(lambda: page.shown is not None and bool(page.shown.others), 30)
    QTest.qWait(400)
    yield "evaluation-overlaid", window
    page.overlay.choose([])


def _show_judge_and_servers(window: Window) -> Iterator[tuple[str, QWidget]]:
    """Yield a judge with the text that it receives, and the dialog for a model on a server."""
    form = window.evaluation.setup_form
    form.judge.switch.setChecked(True)
    form.judge.editor.name.setEditText("qwen3:8b")
    form.judge.prompt_section.set_open(True)
    QTest.qWait(200)
    yield "evaluation-judge", form
    form.judge.switch.setChecked(False)
    form.menu.ask_for_server_model()
    dialog = window.findChild(ServerModelDialog)
    assert dialog is not None
    dialog.editor.kind.setCurrentIndex(1)
    dialog.editor.kind.activated.emit(1)
    dialog.editor.address.setText("https://models.example.org/v1")
    dialog.editor.key_variable.setText("sk-1234")
    dialog.editor.key_variable.textEdited.emit("")
    QTest.qWait(100)
    yield "evaluation-server", dialog
    dialog.reject()
    form.benchmark.click()
    benchmarks = window.findChild(BenchmarkDialog)
    assert benchmarks is not None
    wait_until(lambda: bool(benchmarks.count.text()) and benchmarks.table.rowCount() > 0, 10)
    yield "evaluation-benchmarks", benchmarks
    benchmarks.reject()
