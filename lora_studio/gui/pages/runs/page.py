"""Runs: every training of the open project, found, compared, gone on with, queued and cleared away."""

from __future__ import annotations

from PySide6.QtCore import QPoint, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QComboBox,
    QSplitter,
    QStackedWidget,
    QWidget,
)

from lora_studio.core import formatting
from lora_studio.core.problems import Problem, ProblemError
from lora_studio.core.protocol import events
from lora_studio.core.runs import table
from lora_studio.core.runs.annotations import RunAnnotations
from lora_studio.gui.controls.controls import LineEdit
from lora_studio.gui.language import mark, tr, tr_n
from lora_studio.gui.pages.page import AppPage
from lora_studio.gui.pages.runs.actions import RunActions
from lora_studio.gui.pages.runs.curves_reader import RunCurvesReader
from lora_studio.gui.pages.runs.library import RunLibrary
from lora_studio.gui.pages.runs.queue import RunQueue
from lora_studio.gui.pages.runs.side_panel import RunSide
from lora_studio.gui.pages.runs.table import RunTable
from lora_studio.gui.pages.runs.table_model import STATES
from lora_studio.gui.plots.run_overlay import RunOverlay
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import EmptyState, button, column, label, row
from lora_studio.gui.widgets.columns import make_splitter

#: Milliseconds between two looks at the runs while one is at work, and without typing before a search.
_LOOK_EVERY, _PAUSE = 2000, 150
#: The table of what is above, and both of the width, in per cent.
_SHARES = (55.0, 70.0)


class RunsPage(AppPage):
    """A table over a plot of the ticked runs; beside them what is known of the chosen ones.

    Signals:
        open_requested(RunFolder): merging and export are to work on a run.
        close_requested: the run that they work on is about to be deleted.
        chat_requested(folder): the user wants to talk to the adapter in a folder.
    """

    name = "runs"
    title = mark("Runs")

    open_requested = Signal(object)
    close_requested = Signal()
    chat_requested = Signal(str)

    def __init__(
        self,
        state: ProjectState,
        queue: RunQueue,
        preferences: Preferences,
        parent: QWidget | None = None,
    ) -> None:
        """Looks at the runs when the user comes here; looks as the user left it."""
        super().__init__(parent, scrolls=False)
        self._state, self.queue, self._preferences = state, queue, preferences
        self.library = RunLibrary(self)
        self.curves = RunCurvesReader(self)
        self.table, self.plot = RunTable(), RunOverlay()
        self.do = RunActions(state, self.library, queue, self)
        self.search, self.filter = LineEdit(), QComboBox()
        self.count = label(role="muted")
        self.side, self.content = RunSide(self.table.rows), QStackedWidget()
        self._typing = QTimer(self, singleShot=True, interval=_PAUSE)
        self._look = QTimer(self, singleShot=True)
        self._build()
        self._wire()
        self._open_project()

    # --- what happens around ------------------------------------------------------------------

    def on_shown(self) -> None:
        """Looks at the runs, and again and again while one is at work."""
        self.queue.reload()
        self.library.refresh()
        if self.table.rows.rowCount():
            self.table.setFocus()

    def on_event(self, event: object) -> None:
        """A job that begins or ends changes what there is."""
        if isinstance(event, events.Started | events.Ending) and self.isVisible():
            self.library.refresh()

    def leave(self) -> None:
        """Ends every look and reading; the layout is kept for the next start."""
        self.side.notes.commit()
        self._preferences.runs_table = self.table.layout_chosen()
        self._preferences.runs_shares = [_share(self._above), _share(self._whole)]
        self._look.stop()
        self._typing.stop()
        for part in (self.library, self.curves, self.do):
            part.leave()

    def _open_project(self) -> None:
        self.side.notes.commit()  # what is typed belongs to the project before
        self.header.primary.setEnabled(self._state.draft.path is not None)
        self.curves.leave()
        self.table.rows.ticked = []
        self.search.clear()
        self.library.open(self._state.runs_folder)
        self._show_queue()
        self._show_runs()
        self._show_curves()
        if self.isVisible():
            self.library.refresh()

    def _watch(self) -> None:
        at_work = bool(self._state.running) or any(r.state == "running" for r in self.library.runs)
        if at_work and self.isVisible() and not self.library.is_looking:
            # On a slow drive looks follow each other less closely.
            self._look.start(max(_LOOK_EVERY, min(60_000, round(10_000 * self.library.took))))
        else:
            self._look.stop()

    # --- showing ------------------------------------------------------------------------------

    def _show_runs(self) -> None:
        self.table.rows.set_runs(self.library.runs)
        self._fill_filter()
        self._filter()
        self.content.setCurrentIndex(1 if self.library.runs else 0)
        self.side.show_grids(self.library.runs)
        self.table.fit()
        self._read_curves()
        self._show_queue()
        self._show_chosen()
        self._watch()

    def _fill_filter(self) -> None:
        counts: dict[str, int] = {}
        for run in self.library.runs:
            state = self.table.rows.state_of(run)
            counts[state] = counts.get(state, 0) + 1
        wanted = ["", *(state for state in STATES if state in counts)]
        chosen = self.filter.currentData() or ""
        self.filter.clear()
        for state in wanted:
            text = tr(STATES[state][0]) if state else tr("All states")
            number = f"  {formatting.number(counts[state])}" if state else ""
            self.filter.addItem(f"{text}{number}", state)
        self.filter.setCurrentIndex(max(0, self.filter.findData(chosen)))

    def _filter(self) -> None:
        text, state = self.search.text(), str(self.filter.currentData() or "")
        rows = self.table.rows
        if not text.strip() and not state:
            rows.set_wanted(lambda run: True)
        else:
            rows.set_wanted(
                lambda run: (not state or rows.state_of(run) == state) and table.matches(run, text)
            )
        shown, known = rows.rowCount(), len(rows.runs)
        self.count.setText(
            tr_n("{n} run", "{n} runs", known)
            if shown == known
            else tr("{shown} of {known}").format(
                shown=formatting.number(shown), known=formatting.number(known)
            )
        )
        self._show_chosen()

    def _show_chosen(self) -> None:
        chosen = self.table.chosen()
        self.do.choose(chosen, self.table.rows.shown)
        self.side.show_chosen(chosen)

    def show_queue(self) -> None:
        """Brings what waits before the rest."""
        self.side.setCurrentWidget(self.side.waiting)

    def _show_queue(self) -> None:
        self.table.rows.set_queued(self.queue.names)
        self.side.show_queue(
            self.queue.names, paused=self.queue.paused, running=bool(self._state.running)
        )

    def _show_current(self) -> None:
        self.table.rows.set_current(self._state.run.path.name if self._state.run else "")
        self._show_queue()
        self._show_chosen()
        self._watch()

    # --- curves -------------------------------------------------------------------------------

    def _read_curves(self) -> None:
        runs = {run.folder: run for run in self.library.runs}
        ticked = [name for name in self.table.rows.ticked if name in runs]
        self.curves.want(
            [(self.library.run(n), runs[n], self.table.rows.names.of(runs[n])) for n in ticked]
        )

    def _ticked(self) -> None:
        self._read_curves()
        self._show_curves()
        self._show_chosen()

    def _show_curves(self) -> None:
        self.plot.set_runs([self.curves.curves(name) for name in self.table.rows.ticked])

    def _not_read(self, name: str, problem: Problem) -> None:
        """Nothing stays ticked that has no curve."""
        self.table.rows.tick([name], False)
        self._state.messages.problem(problem)

    # --- wishes -------------------------------------------------------------------------------

    def _keep_about(self, changes: list[tuple[str, RunAnnotations]]) -> None:
        for name, about in changes:
            try:
                self.library.run(name).write_about(about)
            except ProblemError as error:
                self._state.messages.problem(error.problems[0])
        self._filter()
        self.library.refresh()

    def _edit(self, field: LineEdit) -> None:
        self.side.setCurrentWidget(self.side.notes)
        field.setFocus()
        field.selectAll()

    def _show_menu(self, at: QPoint) -> None:
        self.do.menu.popup(at)

    def _empty_search(self) -> None:
        self.search.clear()
        self._filter()

    # --- building -----------------------------------------------------------------------------

    def _build(self) -> None:
        self.search.setPlaceholderText(tr("Search runs"))
        self.search.setAccessibleName(tr("Search runs"))
        self.search.setToolTip(
            tr("Search names, models, data, tags, notes, or settings, such as rank=64 (Ctrl+F)")
        )
        self.search.setMaximumWidth(320)
        self.filter.setAccessibleName(tr("Filter by state"))
        self.filter.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.header.primary.setText(tr("Grid search…"))
        self.header.primary.setToolTip(
            tr("Queues a run for every combination of values of one or two settings (Ctrl+Enter)")
        )
        self.header.primary.show()
        self.more = button(tr("Actions"))
        self.more.setMenu(self.do.menu)
        self.more.setToolTip(tr("Actions for the selected runs (also on right-click)"))
        tools = row(self.search, self.filter, self.count, None, self.more)
        tools.setStretch(0, 1)
        self._above = make_splitter(Qt.Orientation.Vertical, self.table, self.plot, (3, 2))
        self._whole = make_splitter(Qt.Orientation.Horizontal, self._above, self.side, (5, 2))
        self._lay_out_as_before()
        page = QWidget()
        page.setLayout(column(tools, self._whole, spacing=Spacing.M))
        self.content.addWidget(self._empty())
        self.content.addWidget(page)
        self.body.addWidget(self.content, 1)
        self.do.listen(self.table)

    def _lay_out_as_before(self) -> None:
        self.table.lay_out_as(self._preferences.runs_table)
        splits, shares = (self._above, self._whole), self._preferences.runs_shares
        for split, share in zip(splits, shares if len(shares) == 2 else _SHARES, strict=True):
            if 0 < share < 100:
                split.setSizes([round(100 * share), round(100 * (100 - share))])

    def _empty(self) -> EmptyState:
        return EmptyState(
            tr("No runs yet"),
            tr(
                "Every time you train, a run stores the settings, metrics, checkpoints, and "
                "adapter. Compare all runs of a project here."
            ),
            button(tr("Go to Train"), lambda: self.go_to.emit("training"), icon="train"),
            tr("Tip: change one setting at a time to see its effect."),
        )

    def _wire(self) -> None:
        state, rows = self._state, self.table.rows
        state.opened.connect(self._open_project)
        state.run_changed.connect(self._show_current)
        self.library.changed.connect(self._show_runs)
        self.queue.changed.connect(self._show_queue)
        self.queue.changed.connect(self.library.refresh)
        self.curves.changed.connect(self._show_curves)
        self.curves.failed.connect(self._not_read)
        rows.ticked_changed.connect(self._ticked)
        rows.refused.connect(state.messages.info)
        self.table.chosen_changed.connect(self._show_chosen)
        self.table.open_clicked.connect(self.do.open)
        self.table.menu_wanted.connect(self._show_menu)
        self.side.notes.edited.connect(self._keep_about)
        self.do.open_requested.connect(self.open_requested)
        self.do.close_requested.connect(self.close_requested)
        self.do.chat_requested.connect(self.chat_requested)
        self.do.rename_requested.connect(lambda: self._edit(self.side.notes.title))
        self.do.tag_requested.connect(lambda: self._edit(self.side.notes.tags))
        self.do.runs_changed.connect(self.library.refresh)
        self.side.waiting.start_clicked.connect(self.queue.start)
        self.side.waiting.pause_clicked.connect(self.queue.pause)
        self.side.waiting.moved.connect(self.queue.move)
        self.side.waiting.removed.connect(self.queue.remove)
        self.header.primary.clicked.connect(self.do.search)
        self.side.grids.chosen.connect(self.table.choose)
        self.side.grids.opened.connect(lambda _: self.do.open())
        self.search.textEdited.connect(lambda _: self._typing.start())
        self.search.entered.connect(self._filter)
        self.search.reverted.connect(self._empty_search)
        self.filter.activated.connect(lambda _: self._filter())
        self._typing.timeout.connect(self._filter)
        self._look.timeout.connect(self.library.refresh)
        self.library.ready.connect(self._watch)
        find = QShortcut(QKeySequence.StandardKey.Find, self)
        find.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        find.activated.connect(self.search.setFocus)

    def minimumSizeHint(self) -> QSize:
        """Splitters give way."""
        return QSize(600, 400)


def _share(split: QSplitter) -> float:
    """The first part of a splitter in per cent; 0 while nothing is laid out."""
    first, second = split.sizes()
    return round(100 * first / (first + second), 1) if first + second else 0.0
