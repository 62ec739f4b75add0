"""The Runs page: compare, annotate, resume, queue and delete the runs of a project."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from PySide6.QtCore import QEvent, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QDropEvent, QKeyEvent, QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QListWidget,
    QListWidgetItem,
    QSplitter,
    QStackedWidget,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from lora_studio.core import formatting
from lora_studio.core.problems import Problem, ProblemError
from lora_studio.core.protocol import events
from lora_studio.core.runs import grid_search, manifest, table
from lora_studio.core.runs.annotations import RunAnnotations, clean_tags
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.index import RunSummary
from lora_studio.core.tasks.classification import ClassificationReport
from lora_studio.gui.controls.controls import LineEdit
from lora_studio.gui.controls.label_report import LabelReportView
from lora_studio.gui.controls.rated_answers import RatedAnswersView
from lora_studio.gui.language import mark, tr, tr_n
from lora_studio.gui.message_translation import localize
from lora_studio.gui.pages.page import AppPage
from lora_studio.gui.pages.runs.actions import RunActions, RunLibrary
from lora_studio.gui.pages.runs.comparison import GridView, RunSettings
from lora_studio.gui.pages.runs.queue import RunQueue
from lora_studio.gui.pages.runs.table import STATES, TITLES, RunModel, RunTable
from lora_studio.gui.plots.run_curves import RunCurvesReader
from lora_studio.gui.plots.run_overlay import RunOverlay
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.text_size import Size
from lora_studio.gui.theme import Spacing, set_icon
from lora_studio.gui.threads import BackgroundReader, TaskRunner
from lora_studio.gui.widgets.basics import (
    EmptyState,
    button,
    column,
    label,
    make_scroll_area,
    row,
    tool_button,
)
from lora_studio.gui.widgets.columns import make_splitter
from lora_studio.gui.widgets.fact_list import FactList
from lora_studio.gui.widgets.rich_text import NoteEditor
from lora_studio.gui.widgets.tooltips import plain_tip

#: Milliseconds between two scans while a run is in progress, and from typing to searching.
_SCAN_EVERY, _SEARCH_DELAY = 2000, 150
#: Default share of the table above the plot, and of both next to the side panel, in percent.
_SHARES = (55.0, 70.0)

#: What the page shows: that there are no runs, the runs, or that they are being read.
_EMPTY, _RUNS, _LOADING = range(3)


class RunsPage(AppPage):
    """A table above a plot of the checked runs, with details of the selected runs next to them."""

    name = "runs"
    title = mark("Runs")

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
        self.details = TaskRunner(lambda _: None, self)  # what can't be read has no tab
        self._detailed: tuple[str, float] | None = None  # the run whose details are shown
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

    def stop_background_work(self) -> None:
        """Stop background work and save the layout."""
        self.side.notes.commit()
        self.preferences.runs_table = self.table.get_layout()
        self._scan_timer.stop()
        self._search_timer.stop()
        self._detailed = None
        for part in (self.library, self.curves, self.details, self.run_actions):
            part.stop_background_work()

    def _open_project(self) -> None:
        self.side.notes.commit()  # pending edits belong to the previous project
        self.header.primary.setEnabled(self._state.draft.path is not None)
        self.curves.stop_background_work()
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
        self._read_details(single)

    def _read_details(self, run: RunSummary | None) -> None:
        """Show answers and labels of a run, unless those of its current state are shown."""
        as_of = (run.folder, run.changed) if run is not None else None
        if as_of == self._detailed:
            return
        self.details.stop_background_work()
        if run is None or self._detailed is None or self._detailed[0] != run.folder:
            self.side.show_details(None, None)
        self._detailed = as_of
        if run is None:
            return

        def show(details: Any) -> None:
            if self._detailed == as_of:
                self.side.show_details(*details)

        self.details.start(partial(_read_details, self.library.run(run.folder), run), show)

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
        names = self.table.rows.names
        self.curves.set_runs(
            [
                (name, self.library.run(name), names.get(runs[name]), runs[name].changed)
                for name in ticked
            ]
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
        self.curves.changed.connect(lambda _: self._show_curves())
        self.curves.failed.connect(self._on_read_failed)
        self.curves.warned.connect(self._state.messages.problem)
        rows.ticked_changed.connect(self._on_ticked_changed)
        rows.refused.connect(state.messages.info)
        self.table.selection_changed.connect(self._on_selection_changed)
        self.table.open_clicked.connect(self.run_actions.open)
        self.table.menu_requested.connect(self.run_actions.menu.popup)
        self.side.notes.edited.connect(self._save_annotations)
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


def _read_details(
    run: RunFolder, summary: RunSummary, thread: BackgroundReader
) -> tuple[events.AnswersRated | None, ClassificationReport | None]:
    """Return the answers of the last step of reward training, and how well a classifier predicts labels."""
    answers = None
    if "training.rewards" in summary.settings:
        for event in thread.cooperative_iter(run.iter_events_of("answers_rated")):
            answers = event if isinstance(event, events.AnswersRated) else answers
    is_classifier = summary.has_adapter and not summary.writes_text
    return answers, manifest.get_label_report(run.read_manifest()) if is_classifier else None


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
        self.show_details(None, None)
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

    def show_details(
        self, answers: events.AnswersRated | None, labels: ClassificationReport | None
    ) -> None:
        """Show the best and the worst answer of reward training, and how well a classifier predicts
        labels; tabs of what a run doesn't have are hidden.
        """
        if answers is not None:
            self.answers.show_answers(answers)
        if labels is not None:
            self.labels.show_report(labels)
        self.setTabVisible(self.indexOf(self.answers), answers is not None)
        self.setTabVisible(self.indexOf(self.labels), labels is not None)
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


class RunNotes(QWidget):
    """Edits annotations and saves them on Enter and on focus loss. With several runs, only tags can be edited.

    Signals:
        edited(changes): a list of (folder, RunAnnotations) to save.
    """

    edited = Signal(list)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start without runs."""
        super().__init__(parent)
        self._runs: list[RunSummary] = []
        self._name = ""
        self.title, self.tags, self.notes = LineEdit(), LineEdit(), NoteEditor()
        self.tags.setPlaceholderText(tr("Comma-separated"))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, Spacing.M, 0, 0)
        layout.setSpacing(Spacing.XS)
        for title, part in (
            (tr("Title"), self.title), (tr("Tags"), self.tags), (tr("Notes"), self.notes),
        ):  # fmt: skip
            caption = label(title, "label")
            caption.setBuddy(part)
            part.setAccessibleName(title)
            layout.addWidget(caption)
            layout.addWidget(part, 1 if part is self.notes else 0)
            layout.addSpacing(Spacing.S)
        for line in (self.title, self.tags):
            line.connect_keys(self.commit, self._refresh)
        self.notes.editing_finished.connect(self.commit)
        self._refresh()

    def show_runs(self, runs: Sequence[RunSummary], name: str = "") -> None:
        """Show the selected runs after saving pending edits; `name` is the placeholder for an
        empty title.
        """
        is_same = [run.folder for run in runs] == [run.folder for run in self._runs]
        is_typing = any(part.hasFocus() for part in (self.title, self.tags, self.notes))
        if is_same and (is_typing or list(runs) == self._runs):
            self._runs = list(runs)
            return
        self.commit()
        self._runs, self._name = list(runs), name
        self._refresh()

    def commit(self) -> None:
        """Save pending edits."""
        tags = clean_tags((self.tags.text(),))
        shared = self._list_shared_tags()
        changes = []
        for run in self._runs:
            about = run.about
            remaining = tuple(tag for tag in about.tags if tag not in shared or tag in tags)
            edits: dict[str, object] = {
                "tags": remaining + tuple(t for t in tags if t not in remaining)
            }
            if len(self._runs) == 1:
                edits = {
                    "tags": tags, "title": self.title.text().strip(),
                    "notes": self.notes.toPlainText().strip(),
                }  # fmt: skip
            annotations = RunAnnotations.model_validate(about.model_dump() | edits)
            if annotations != about:
                run.about = annotations
                changes.append((run.folder, annotations))
        if changes:
            self.edited.emit(changes)

    def _list_shared_tags(self) -> list[str]:
        if not self._runs:
            return []
        first, *others = self._runs
        return [tag for tag in first.tags if all(tag in run.tags for run in others)]

    def _refresh(self) -> None:
        annotations = self._runs[0].about if len(self._runs) == 1 else RunAnnotations()
        self.title.setText(annotations.title)
        self.notes.setPlainText(annotations.notes)
        self.tags.setText(", ".join(self._list_shared_tags()))
        self.title.setPlaceholderText(self._name if len(self._runs) == 1 else "")
        self.title.setEnabled(len(self._runs) == 1)
        self.notes.setEnabled(len(self._runs) == 1)
        self.tags.setEnabled(bool(self._runs))
        self.tags.setToolTip(
            plain_tip(
                tr("Tags that all selected runs share. Other tags are kept.")
                if len(self._runs) > 1
                else ""
            )
        )


_NAME = Qt.ItemDataRole.UserRole


class QueueView(QWidget):
    """Shows the queue, the next run first.

    Signals:
        start_clicked, pause_clicked: start the queue, or pause it after the current job.
        moved(name, index): move a run to a position, 0 being the next to start.
        removed(names): remove runs from the queue.
    """

    start_clicked = Signal()
    pause_clicked = Signal()
    moved = Signal(str, int)
    removed = Signal(list)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start with an empty queue."""
        super().__init__(parent)
        self.status = label("", wrap=True)
        self.list = _List()
        self.list.moved.connect(self.moved)
        self.list.removed.connect(self.removed)
        self.toggle = button("", self._toggle)
        self.up = tool_button(
            "chevron-up", tr("Move up (Alt+Up)"), lambda: self.list.move_current(-1)
        )
        self.down = tool_button(
            "chevron-down", tr("Move down (Alt+Down)"), lambda: self.list.move_current(1)
        )
        self.remove = tool_button(
            "close", tr("Remove from queue (Delete). The run itself is kept."),
            self.list.remove_selected,
        )  # fmt: skip
        self._paused = False
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, Spacing.M, 0, 0)
        layout.setSpacing(Spacing.S)
        layout.addWidget(self.status)
        layout.addWidget(self.list, 1)
        layout.addLayout(row(self.toggle, None, self.up, self.down, self.remove))
        self.list.currentRowChanged.connect(lambda _: self._enable_buttons())
        self.show_queue([], paused=False, running=False)

    def show_queue(
        self, entries: Sequence[tuple[str, str]], *, paused: bool, running: bool
    ) -> None:
        """Show `entries` as (folder, title) pairs; the selection is kept."""
        self._paused = paused
        self.list.fill(entries, self.list.list_selected())
        self.toggle.setVisible(bool(entries))
        self.toggle.setText(tr("Start queue") if paused else tr("Pause queue"))
        set_icon(self.toggle, "play" if paused else "pause")
        if not entries:
            self.status.setText(
                tr("The queue is empty. Runs that you add start one after another.")
            )
        elif paused:
            self.status.setText(tr("Paused. Queued runs don't start automatically."))
        elif running:
            self.status.setText(tr("The next run starts when the current job finishes."))
        else:
            self.status.setText(tr("The next run is starting."))
        self._enable_buttons()

    def _enable_buttons(self) -> None:
        index, count = self.list.currentRow(), self.list.count()
        self.up.setEnabled(index > 0)
        self.down.setEnabled(0 <= index < count - 1)
        self.remove.setEnabled(index >= 0)

    def _toggle(self) -> None:
        (self.start_clicked if self._paused else self.pause_clicked).emit()


class _List(QListWidget):
    moved = Signal(str, int)
    removed = Signal(list)

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName(tr("Queue"))
        self.setToolTip(tr("Drag or press Alt+Up/Alt+Down to reorder, Delete to remove"))
        self.setDragDropMode(QAbstractItemView.DragDropMode.InternalMove)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setDefaultDropAction(Qt.DropAction.MoveAction)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def list_names(self) -> list[str]:
        """Return the folders, the next one first."""
        return [str(self.item(n).data(_NAME)) for n in range(self.count())]

    def list_selected(self) -> list[str]:
        """Return the folders of the selected runs, the current one first."""
        current = self.currentItem()
        names = [str(current.data(_NAME))] if current is not None else []
        return names + [n for item in self.selectedItems() if (n := item.data(_NAME)) not in names]

    def fill(self, entries: Sequence[tuple[str, str]], selected: Sequence[str]) -> None:
        """Replace all entries."""
        self.blockSignals(True)
        self.clear()
        for number, (name, title) in enumerate(entries, start=1):
            item = QListWidgetItem(f"{number}   {title}")
            item.setData(_NAME, name)
            item.setToolTip(plain_tip(name))
            item.setSizeHint(QSize(0, self.fontMetrics().height() + 15))
            self.addItem(item)
        names = self.list_names()
        rows = [names.index(name) for name in selected if name in names]
        if rows:
            self.setCurrentRow(rows[0])
            for each in rows:
                self.item(each).setSelected(True)
        self.blockSignals(False)

    def move_current(self, by: int) -> None:
        """Move the current run up (-1) or down (1)."""
        index = self.currentRow() + by
        if self.currentRow() >= 0 and 0 <= index < self.count():
            self.moved.emit(str(self.currentItem().data(_NAME)), index)

    def remove_selected(self) -> None:
        """Remove the selected runs."""
        if names := self.list_selected():
            self.removed.emit(names)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Move with Alt and Up or Down, remove with Delete."""
        steps = {Qt.Key.Key_Up: -1, Qt.Key.Key_Down: 1}
        if event.modifiers() & Qt.KeyboardModifier.AltModifier and event.key() in steps:
            self.move_current(steps[Qt.Key(event.key())])
        elif event.key() == Qt.Key.Key_Delete:
            self.remove_selected()
        else:
            super().keyPressEvent(event)

    def dropEvent(self, event: QDropEvent) -> None:
        """Emit the new position of a dragged run; the owner of the queue then refills the list."""
        dragged = self.currentItem()
        if dragged is None or event.source() is not self:
            event.ignore()
            return
        name = str(dragged.data(_NAME))
        super().dropEvent(event)
        index = self.list_names().index(name)
        # Delayed, because refilling the list while Qt handles the drop would delete its items.
        QTimer.singleShot(0, self, lambda: self.moved.emit(name, index))
