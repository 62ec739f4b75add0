"""Screenshots of the Runs page: one run, a comparison, the queue and a grid search."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from PySide6.QtTest import QTest
from PySide6.QtWidgets import QWidget

from lora_studio.core.runs.folder import list_runs
from lora_studio.core.runs.queue import QueuedRun
from lora_studio.gui.pages.runs.actions import DeleteDialog, GridDialog
from lora_studio.gui.window.main_window import Window
from tests.helpers.runs.many_runs import as_search, make_runs

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
