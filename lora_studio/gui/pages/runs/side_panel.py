"""Side panel of the Runs page: settings, notes, queue, grid searches, rated answers and labels."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QTabWidget, QWidget

from lora_studio.core import formatting
from lora_studio.core.protocol import events
from lora_studio.core.runs import grid_search, table
from lora_studio.core.runs.index import RunSummary
from lora_studio.core.training.classification import ClassificationReport
from lora_studio.gui.controls.label_report import LabelReportView
from lora_studio.gui.controls.rated_answers import RatedAnswersView
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.pages.runs.grid_view import GridView
from lora_studio.gui.pages.runs.notes import RunNotes
from lora_studio.gui.pages.runs.queue_view import QueueView
from lora_studio.gui.pages.runs.settings_view import RunSettings
from lora_studio.gui.pages.runs.table_model import STATES, TITLES, RunModel
from lora_studio.gui.text_size import Size
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import column, make_scroll_area
from lora_studio.gui.widgets.fact_list import FactList

#: Minimum width in pixels.
_WIDTH = 240
#: Maximum number of runs whose settings are shown side by side.
_MAX_COMPARED = 8


class RunSide(QTabWidget):
    """Shows settings, notes, queue, grid searches, rated answers and labels as tabs."""

    def __init__(self, rows: RunModel, parent: QWidget | None = None) -> None:
        """Read names, letters and states of runs from `rows`."""
        super().__init__(parent)
        self._rows = rows
        self.facts, self.settings, self.notes = FactList(), RunSettings(), RunNotes()
        self.queue, self.grids = QueueView(), GridView()
        self.answers, self.labels = RatedAnswersView(), LabelReportView()
        self.addTab(self._build_settings_tab(), tr("Settings"))
        self.addTab(self.notes, tr("Notes"))
        self.addTab(self.queue, tr("Queue"))
        self.addTab(self.grids, tr("Grid"))
        self.addTab(self.answers, tr("Answers"))
        self.addTab(self.labels, tr("Labels"))
        self.show_answers(None)
        self.show_labels(None)
        for part in (self, self.tabBar()):
            part.setAccessibleName(tr("Run details"))
        self._fit()

    def show_chosen(self, chosen: Sequence[RunSummary]) -> None:
        """Show the details of the selected runs."""
        rows, compared = self._rows, list(chosen[:_MAX_COMPARED])
        heads = [rows.get_letter(run.folder) or rows.names.get(run) for run in compared]
        self.settings.show_runs(compared, heads)
        self.notes.show_runs(list(chosen), rows.names.get(chosen[0]) if chosen else "")
        self.facts.setVisible(len(chosen) == 1)
        if len(chosen) == 1:
            self.facts.show_facts(
                _list_facts(chosen[0], tr(STATES[rows.get_state(chosen[0])].title))
            )

    def show_answers(self, event: events.AnswersRated | None) -> None:
        """Show the best and the worst answer of reward training, or hide the tab if there are none."""
        if event is not None:
            self.answers.show_answers(event)
        self.setTabVisible(self.indexOf(self.answers), event is not None)
        self._fit()

    def show_labels(self, report: ClassificationReport | None) -> None:
        """Show how well a classifier predicts labels, or hide the tab for other runs."""
        if report is not None:
            self.labels.show_report(report)
        self.setTabVisible(self.indexOf(self.labels), report is not None)
        self._fit()

    def show_queue(self, names: Sequence[str], *, paused: bool, running: bool) -> None:
        """Show the queued runs by their folders."""
        runs_by_folder = {run.folder: run for run in self._rows.runs}
        entries = [
            (name, self._rows.names.get(runs_by_folder[name]) if name in runs_by_folder else name)
            for name in names
        ]
        self.queue.show_queue(entries, paused=paused, running=running)
        title = tr("Queue")
        self.setTabText(self.indexOf(self.queue), f"{title} ({len(entries)})" if entries else title)
        self._fit()

    def show_grids(self, runs: Sequence[RunSummary]) -> None:
        """Show the grid searches that runs belong to, or hide the tab if there are none."""
        tables = grid_search.build_tables(runs)
        self.grids.show_grids(tables)
        self.setTabVisible(self.indexOf(self.grids), bool(tables))
        self._fit()

    def changeEvent(self, event: QEvent) -> None:
        """Adapt the width to the text size."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._fit()

    def _fit(self) -> None:
        """Make the panel wide enough for all tab titles."""
        self.setMinimumWidth(max(Size.scaled(_WIDTH), self.tabBar().sizeHint().width()))

    def _build_settings_tab(self) -> QWidget:
        inner = QWidget()
        self.facts.setContentsMargins(0, Spacing.M, 0, 0)
        self.settings.view.setMinimumHeight(Size.scaled(200))
        inner.setLayout(column(self.facts, self.settings, spacing=0))
        return make_scroll_area(inner, tr("Settings"))


def _list_facts(run: RunSummary, state: str) -> list[tuple[str, str]]:
    size = (
        tr("{size}, including {checkpoints} of checkpoints") if run.checkpoint_bytes else "{size}"
    ).format(
        size=formatting.format_size(run.bytes),
        checkpoints=formatting.format_size(run.checkpoint_bytes),
    )
    loss, best_eval = table.format_cell(run, "loss"), table.format_cell(run, "eval")
    return [
        (tr("Status"), f"{state}. {localize(run.reason)}" if run.reason else state),
        (tr("Warning"), localize(run.warning)),
        (tr("Started"), table.format_cell(run, "begun")),
        (
            tr("Loss"),
            tr("{loss}, best eval loss {best_eval}").format(loss=loss, best_eval=best_eval)
            if best_eval
            else loss,
        ),
        *((tr(TITLES[column]), table.format_cell(run, column)) for column in table.OPTIONAL),
        (
            tr("Steps"),
            f"{formatting.format_number(run.step)} / {formatting.format_number(run.steps)}"
            if run.steps
            else "",
        ),
        (tr("Time"), table.format_cell(run, "time")),
        (tr("Size on disk"), size),
        (tr("Folder"), run.folder),
    ]
