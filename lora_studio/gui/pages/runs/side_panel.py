"""What stands beside the table of runs: the chosen ones in full, what waits, and searches."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent, Qt
from PySide6.QtWidgets import QFrame, QScrollArea, QTabWidget, QWidget

from lora_studio.core import formatting
from lora_studio.core.runs import grid_search, table
from lora_studio.core.runs.index import RunSummary
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import tell
from lora_studio.gui.pages.runs.grid_view import GridView
from lora_studio.gui.pages.runs.notes import RunNotes
from lora_studio.gui.pages.runs.queue_view import QueueView
from lora_studio.gui.pages.runs.settings_view import RunSettings
from lora_studio.gui.pages.runs.table_model import STATES, RunModel
from lora_studio.gui.text_size import Size
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import column
from lora_studio.gui.widgets.fact_list import FactList

#: Width in pixels at least.
_WIDTH = 240
#: Runs whose settings are shown side by side.
_MOST = 8


class RunSide(QTabWidget):
    """Settings, notes, queue and searches, a tab each."""

    def __init__(self, rows: RunModel, parent: QWidget | None = None) -> None:
        """`rows` knows names, letters and states of the runs."""
        super().__init__(parent)
        self._rows = rows
        self.facts, self.settings, self.notes = FactList(), RunSettings(), RunNotes()
        self.waiting, self.grids = QueueView(), GridView()
        self.addTab(self._known(), tr("Settings"))
        self.addTab(self.notes, tr("Notes"))
        self.addTab(self.waiting, tr("Queue"))
        self.addTab(self.grids, tr("Grid"))
        for part in (self, self.tabBar()):
            part.setAccessibleName(tr("Run details"))
        self._fit()

    def show_chosen(self, chosen: Sequence[RunSummary]) -> None:
        """What is known of the chosen runs."""
        rows, compared = self._rows, list(chosen[:_MOST])
        heads = [rows.letter(run.folder) or rows.names.of(run) for run in compared]
        self.settings.show_runs(compared, heads)
        self.notes.show_runs(list(chosen), rows.names.of(chosen[0]) if chosen else "")
        self.facts.setVisible(len(chosen) == 1)
        if len(chosen) == 1:
            self.facts.show_facts(_facts(chosen[0], tr(STATES[rows.state_of(chosen[0])][0])))

    def show_queue(self, names: Sequence[str], *, paused: bool, running: bool) -> None:
        """The runs that wait, by their folders."""
        known = {run.folder: run for run in self._rows.runs}
        entries = [
            (name, self._rows.names.of(known[name]) if name in known else name) for name in names
        ]
        self.waiting.show_queue(entries, paused=paused, running=running)
        title = tr("Queue")
        self.setTabText(
            self.indexOf(self.waiting), f"{title} ({len(entries)})" if entries else title
        )
        self._fit()

    def show_grids(self, runs: Sequence[RunSummary]) -> None:
        """The searches that runs belong to; without any there is no tab for them."""
        found = grid_search.grids(runs)
        self.grids.show_grids(found)
        self.setTabVisible(self.indexOf(self.grids), bool(found))
        self._fit()

    def changeEvent(self, event: QEvent) -> None:
        """Larger text needs a wider side."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._fit()

    def _fit(self) -> None:
        """No tab is hidden behind arrows, however long its name is in this language."""
        self.setMinimumWidth(max(Size.scaled(_WIDTH), self.tabBar().sizeHint().width()))

    def _known(self) -> QWidget:
        inner = QWidget()
        inner.setObjectName("scrolled")
        self.facts.setContentsMargins(0, Spacing.M, 0, 0)
        self.settings.view.setMinimumHeight(Size.scaled(200))
        inner.setLayout(column(self.facts, self.settings, spacing=0))
        known = QScrollArea(widgetResizable=True)
        known.setWidget(inner)
        known.setFrameShape(QFrame.Shape.NoFrame)
        known.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        known.setAccessibleName(tr("Settings"))
        return known


def _facts(run: RunSummary, state: str) -> list[tuple[str, str]]:
    checkpoints = (
        tr(", {size} of it checkpoints").format(size=formatting.size(run.checkpoint_bytes))
        if run.checkpoint_bytes
        else ""
    )
    losses = [table.said(run, "loss"), table.said(run, "eval")]
    return [
        (tr("Status"), f"{state}. {tell(run.reason)}" if run.reason else state),
        (tr("Started"), table.said(run, "begun")),
        (
            tr("Loss"),
            losses[0] + (tr(", best eval {loss}").format(loss=losses[1]) * bool(losses[1])),
        ),
        (
            tr("Steps"),
            f"{formatting.number(run.step)} / {formatting.number(run.steps)}" if run.steps else "",
        ),
        (tr("Time"), table.said(run, "time")),
        (tr("Size on disk"), formatting.size(run.bytes) + checkpoints),
        (tr("Folder"), run.folder),
    ]
