"""The Runs page: compare, annotate, resume, queue and delete the runs of a project."""

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
from lora_studio.gui.pages.runs.result_reader import make_answers_reader, make_labels_reader
from lora_studio.gui.pages.runs.side_panel import RunSide
from lora_studio.gui.pages.runs.table import RunTable
from lora_studio.gui.pages.runs.table_model import STATES
from lora_studio.gui.plots.run_overlay import RunOverlay
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import EmptyState, button, column, label, row
from lora_studio.gui.widgets.columns import make_splitter

#: Milliseconds between two scans while a run is in progress, and from typing to searching.
_SCAN_EVERY, _SEARCH_DELAY = 2000, 150
#: Default share of the table above the plot, and of both next to the side panel, in percent.
_SHARES = (55.0, 70.0)

#: What the page shows: that there are no runs, the runs, or that they are being read.
_EMPTY, _RUNS, _LOADING = range(3)


class RunsPage(AppPage):
    """A table above a plot of the checked runs, with details of the selected runs next to them.

    Signals:
        open_requested(RunFolder): use a run for merging and export.
        close_requested: the run used for merging and export is about to be deleted.
        chat_requested(folder): chat with the adapter in a folder.
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
        """Build the page with the layout of the last session."""
        super().__init__(parent, scrolls=False)
        self._state, self.queue, self.preferences = state, queue, preferences
        self.library = RunLibrary(self)
        self.curves = RunCurvesReader(self)
        self.answers, self.labels = make_answers_reader(self), make_labels_reader(self)
        self.table, self.plot = RunTable(), RunOverlay()
        self.run_actions = RunActions(state, self.library, queue, self)
        self.search, self.filter = LineEdit(), QComboBox()
        self.count = label(role="muted")
        self.side, self.content = RunSide(self.table.rows), QStackedWidget()
        self._is_comparing = False  # whether the side panel shows the ticked runs
        self._search_timer = QTimer(self, singleShot=True, interval=_SEARCH_DELAY)
        self._scan_timer = QTimer(self, singleShot=True)
        self._build()
        self._wire()
        self._open_project()

    # --- events -------------------------------------------------------------------------------

    def on_shown(self) -> None:
        """Scan the runs; repeated while a run is in progress."""
        self.queue.reload()
        self.library.refresh()
        if self.table.rows.rowCount():
            self.table.setFocus()

    def on_event(self, event: object) -> None:
        """Scan the runs again when a job starts or ends."""
        if isinstance(event, events.Started | events.Ending) and self.isVisible():
            self.library.refresh()

    def leave(self) -> None:
        """Stop background work and save the layout."""
        self.side.notes.commit()
        self.preferences.runs_table = self.table.get_layout()
        self._scan_timer.stop()
        self._search_timer.stop()
        for part in (self.library, self.curves, self.answers, self.labels, self.run_actions):
            part.leave()

    def _open_project(self) -> None:
        self.side.notes.commit()  # pending edits belong to the previous project
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

    def _schedule_scan(self) -> None:
        in_progress = bool(self._state.running) or any(
            run.state == "running" for run in self.library.runs
        )
        if in_progress and self.isVisible() and not self.library.is_scanning:
            # Scans take at most a tenth of the time, even on a slow drive.
            delay = round(10_000 * self.library.scan_seconds)
            self._scan_timer.start(max(_SCAN_EVERY, min(60_000, delay)))
        else:
            self._scan_timer.stop()

    # --- display ------------------------------------------------------------------------------

    def _show_runs(self) -> None:
        self.table.rows.set_runs(self.library.runs)
        self._fill_filter()
        self._apply_filter()
        self.content.setCurrentIndex(
            _RUNS if self.library.runs else _EMPTY if self.library.is_loaded else _LOADING
        )
        self.side.show_grids(self.library.runs)
        self.table.fit()
        self._read_curves()
        self._show_queue()
        self._show_chosen()
        self._schedule_scan()

    def _fill_filter(self) -> None:
        counts: dict[str, int] = {}
        for run in self.library.runs:
            state = self.table.rows.get_state(run)
            counts[state] = counts.get(state, 0) + 1
        selected = self.filter.currentData() or ""
        self.filter.clear()
        self.filter.addItem(tr("All states"), "")
        for state, style in STATES.items():
            if state in counts:
                count = formatting.format_number(counts[state])
                self.filter.addItem(f"{tr(style.title)}  {count}", state)
        self.filter.setCurrentIndex(max(0, self.filter.findData(selected)))

    def _apply_filter(self) -> None:
        text, state = self.search.text(), str(self.filter.currentData() or "")
        rows = self.table.rows
        if not text.strip() and not state:
            rows.set_filter(lambda run: True)
        else:
            rows.set_filter(
                lambda run: (
                    (not state or rows.get_state(run) == state) and table.is_match(run, text)
                )
            )
        listed, total = rows.rowCount(), len(rows.runs)
        self.count.setText(
            tr_n("{n} run", "{n} runs", total)
            if listed == total
            else tr("{shown} of {known}").format(
                shown=formatting.format_number(listed), known=formatting.format_number(total)
            )
        )
        self._show_chosen()

    def _show_chosen(self) -> None:
        chosen = self.table.list_selected()
        self.run_actions.choose(chosen, self.table.rows.shown)
        runs = {run.folder: run for run in self.library.runs}
        ticked = [runs[name] for name in self.table.rows.ticked if name in runs]
        # Ticking compares curves, so it also compares settings, until another run is selected.
        shown = ticked if ticked and (self._is_comparing or not chosen) else chosen
        self.side.show_chosen(shown)
        single = shown[0] if len(shown) == 1 else None
        for reader in (self.answers, self.labels):
            reader.set_run(self.library.run(single.folder) if single else None, single)

    def _on_selection_changed(self) -> None:
        self._is_comparing = False
        self._show_chosen()

    def show_queue(self) -> None:
        """Show the queue tab."""
        self.side.setCurrentWidget(self.side.queue)

    def _show_queue(self) -> None:
        self.table.rows.set_queued(self.queue.names)
        self.side.show_queue(
            self.queue.names, paused=self.queue.paused, running=bool(self._state.running)
        )

    def _show_current(self) -> None:
        self.table.rows.set_current(self._state.run.path.name if self._state.run else "")
        self._show_queue()
        self._show_chosen()
        self._schedule_scan()

    # --- curves -------------------------------------------------------------------------------

    def _read_curves(self) -> None:
        runs = {run.folder: run for run in self.library.runs}
        ticked = [name for name in self.table.rows.ticked if name in runs]
        self.curves.set_runs(
            [(self.library.run(n), runs[n], self.table.rows.names.get(runs[n])) for n in ticked]
        )

    def _on_ticked_changed(self) -> None:
        self._is_comparing = len(self.table.rows.ticked) > 1
        self._read_curves()
        self._show_curves()
        self._show_chosen()

    def _show_curves(self) -> None:
        self.plot.set_runs([self.curves.get_curves(name) for name in self.table.rows.ticked])

    def _on_read_failed(self, name: str, problem: Problem) -> None:
        """Uncheck a run whose metrics can't be read."""
        self.table.rows.tick([name], False)
        self._state.messages.problem(problem)

    # --- user actions -------------------------------------------------------------------------

    def _save_annotations(self, changes: list[tuple[str, RunAnnotations]]) -> None:
        for name, about in changes:
            try:
                self.library.run(name).write_about(about)
            except ProblemError as error:
                self._state.messages.problem(error.problems[0])
        self._apply_filter()
        self.library.refresh()

    def _edit(self, field: LineEdit) -> None:
        self.side.setCurrentWidget(self.side.notes)
        field.setFocus()
        field.selectAll()

    def _show_menu(self, at: QPoint) -> None:
        self.run_actions.menu.popup(at)

    def _clear_search(self) -> None:
        self.search.clear()
        self._apply_filter()

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
        self.more.setMenu(self.run_actions.menu)
        self.more.setToolTip(tr("Actions for the selected runs (also on right-click)"))
        tools = row(self.search, self.filter, self.count, None, self.more)
        tools.setStretch(0, 1)
        self._above = make_splitter(Qt.Orientation.Vertical, self.table, self.plot, (3, 2))
        self.splitter = make_splitter(Qt.Orientation.Horizontal, self._above, self.side, (5, 2))
        self._restore_layout()
        for split in (self._above, self.splitter):
            split.splitterMoved.connect(lambda *_: self._remember_shares())
        page = QWidget()
        page.setLayout(column(tools, self.splitter, spacing=Spacing.M))
        self.content.addWidget(self._make_empty_state())
        self.content.addWidget(page)
        loading = label(tr("Loading runs…"), "muted")
        loading.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.content.addWidget(loading)
        self.body.addWidget(self.content, 1)
        self.run_actions.add_shortcuts(self.table)

    def _restore_layout(self) -> None:
        self.table.restore_layout(self.preferences.runs_table)
        splits, shares = (self._above, self.splitter), self.preferences.runs_shares
        for split, share in zip(splits, shares if len(shares) == 2 else _SHARES, strict=True):
            if 0 < share < 100:
                split.setSizes([round(100 * share), round(100 * (100 - share))])

    def _remember_shares(self) -> None:
        """Remember what the user has dragged; a page that was never shown has sizes of no meaning."""
        self.preferences.runs_shares = [_share(self._above), _share(self.splitter)]

    def _make_empty_state(self) -> EmptyState:
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
        self.answers.read.connect(self.side.show_answers)
        self.labels.read.connect(self.side.show_labels)
        self.curves.failed.connect(self._on_read_failed)
        self.curves.warned.connect(self._state.messages.problem)
        rows.ticked_changed.connect(self._on_ticked_changed)
        rows.refused.connect(state.messages.info)
        self.table.selection_changed.connect(self._on_selection_changed)
        self.table.open_clicked.connect(self.run_actions.open)
        self.table.menu_requested.connect(self._show_menu)
        self.side.notes.edited.connect(self._save_annotations)
        self.run_actions.open_requested.connect(self.open_requested)
        self.run_actions.close_requested.connect(self.close_requested)
        self.run_actions.chat_requested.connect(self.chat_requested)
        self.run_actions.rename_requested.connect(lambda: self._edit(self.side.notes.title))
        self.run_actions.tag_requested.connect(lambda: self._edit(self.side.notes.tags))
        self.run_actions.runs_changed.connect(self.library.refresh)
        self.side.queue.start_clicked.connect(self.queue.start)
        self.side.queue.pause_clicked.connect(self.queue.pause)
        self.side.queue.moved.connect(self.queue.move)
        self.side.queue.removed.connect(self.queue.remove)
        self.header.primary.clicked.connect(self.run_actions.open_grid_search)
        self.side.grids.chosen.connect(self.table.choose)
        self.side.grids.opened.connect(lambda _: self.run_actions.open())
        self.search.textEdited.connect(lambda _: self._search_timer.start())
        self.search.entered.connect(self._apply_filter)
        self.search.reverted.connect(self._clear_search)
        self.filter.activated.connect(lambda _: self._apply_filter())
        self._search_timer.timeout.connect(self._apply_filter)
        self._scan_timer.timeout.connect(self.library.refresh)
        self.library.ready.connect(self._schedule_scan)
        self._add_find_shortcut()

    def _add_find_shortcut(self) -> None:
        find = QShortcut(QKeySequence.StandardKey.Find, self)
        find.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        find.activated.connect(self.search.setFocus)

    def minimumSizeHint(self) -> QSize:
        """Allow the splitters to shrink."""
        return QSize(600, 400)


def _share(split: QSplitter) -> float:
    """Return the share of a splitter's first widget in percent, 0 before it is laid out."""
    first, second = split.sizes()
    return round(100 * first / (first + second), 1) if first + second else 0.0
