"""Table of runs: sortable, with multiple selection and check boxes for the plot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from PySide6.QtCore import (
    QEvent,
    QItemSelectionModel,
    QPoint,
    Qt,
    Signal,
)
from PySide6.QtGui import QColor, QKeyEvent, QResizeEvent
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from lora_studio.core import formatting
from lora_studio.core.runs import table
from lora_studio.core.runs.index import RunSummary
from lora_studio.core.runs.names import RunNames
from lora_studio.core.runs.table import Column
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.plots.run_overlay import LETTERS, MOST, make_letter_color
from lora_studio.gui.preferences import TableLayout
from lora_studio.gui.theme import Role, color, get_palette, get_theme
from lora_studio.gui.widgets import tables
from lora_studio.gui.widgets.tables import LEFT, RIGHT, TableModel
from lora_studio.gui.widgets.tooltips import plain_tip

#: Widths in characters; the first column gets the remaining width.
_WIDTHS: dict[Column, int] = {
    "begun": 18, "state": 13, "model": 13, "data": 13, "rank": 5, "loss": 6, "eval": 9, "reward": 9,
    "accuracy": 13, "f1": 11, "recall": 12, "mrr": 7, "answers": 8,
    "time": 9, "size": 8, "tags": 11,
}  # fmt: skip
#: Columns to hide, in this order, if not all fit.
_HIDE_FIRST: tuple[Column, ...] = (
    "begun", "data", "loss", "answers", "size", "tags", "time", "model", "rank",
    "accuracy", "recall", "reward", "eval",
)  # fmt: skip
#: Width of the name, in characters, below which other columns are hidden; and its smallest width.
_NAME, _LEAST_NAME = 21, 17
#: Columns that share the remaining width, and their maximum width in characters.
_GROWING: tuple[Column, ...] = ("model", "data", "tags")
_MAX_GROWTH = 14
#: Keys that select a run if none is selected.
_SELECT_KEYS = (
    Qt.Key.Key_Up,
    Qt.Key.Key_Down,
    Qt.Key.Key_PageUp,
    Qt.Key.Key_PageDown,
    Qt.Key.Key_Space,
)


class RunTable(QTableView):
    """Shows the runs; Space checks, Enter opens. Column widths never depend on the rows.

    Signals:
        selection_changed: the selection has changed.
        open_clicked: Enter was pressed, or a run was double-clicked.
        menu_requested(QPoint): show the context menu at a screen position.
    """

    selection_changed = Signal()
    open_clicked = Signal()
    menu_requested = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty."""
        super().__init__(parent)
        self.rows = RunModel(self)
        self.setModel(self.rows)
        self._saved_selection: tuple[list[str], str] = ([], "")
        self._fitting = False
        self._user_widths: dict[Column, float] = {}  # in characters
        self.setAccessibleName(tr("Runs"))
        tables.set_up_table(self, selection=QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.customContextMenuRequested.connect(self._ask_menu)
        self._set_up_columns()
        self.setSortingEnabled(True)
        self.sortByColumn(COLUMNS.index("begun"), Qt.SortOrder.DescendingOrder)
        self.rows.modelAboutToBeReset.connect(self._save_selection)
        self.rows.modelReset.connect(self._restore_selection)
        self.selectionModel().selectionChanged.connect(lambda *_: self.selection_changed.emit())
        self.doubleClicked.connect(lambda _: self.open_clicked.emit())
        get_theme().changed.connect(self.viewport().update)

    def _set_up_columns(self) -> None:
        header = self.horizontalHeader()
        header.setMinimumSectionSize(40)
        header.setSectionsMovable(True)
        for number, column in enumerate(COLUMNS):
            fixed = column == "name"
            mode = QHeaderView.ResizeMode.Fixed if fixed else QHeaderView.ResizeMode.Interactive
            header.setSectionResizeMode(number, mode)
        header.sectionResized.connect(self._on_section_resized)

    def _on_section_resized(self, number: int, _before: int, width: int) -> None:
        """Remember the width of a column that the user has resized."""
        column = COLUMNS[number]
        if not self._fitting and column != "name" and width:
            self._user_widths[column] = width / self.fontMetrics().averageCharWidth()
            self._widen_name()

    def _widen_name(self) -> None:
        """Give the name the width that the other columns leave, but enough to tell runs apart."""
        number = COLUMNS.index("name")
        others = sum(self.columnWidth(n) for n in range(len(COLUMNS)) if n != number)
        least = _LEAST_NAME * self.fontMetrics().averageCharWidth() + 16
        self.setColumnWidth(number, max(least, self.viewport().width() - others))

    def get_layout(self) -> TableLayout:
        """Return the layout to save in the preferences."""
        header = self.horizontalHeader()
        return TableLayout(
            widths=dict(self._user_widths),
            order=[COLUMNS[header.logicalIndex(index)] for index in range(header.count())],
            sorted_by=COLUMNS[header.sortIndicatorSection()],
            descending=header.sortIndicatorOrder() == Qt.SortOrder.DescendingOrder,
        )

    def restore_layout(self, saved: TableLayout) -> None:
        """Restore a saved layout."""
        header = self.horizontalHeader()
        ordered = [column for column in COLUMNS if column in saved.order]
        if len(ordered) == len(COLUMNS):
            for position, name in enumerate(name for name in saved.order if name in ordered):
                header.moveSection(header.visualIndex(COLUMNS.index(name)), position)
        self._user_widths = {
            c: w for c in COLUMNS if c != "name" and (w := saved.widths.get(c, 0)) > 0
        }
        if saved.sorted_by in COLUMNS:
            order = (
                Qt.SortOrder.DescendingOrder if saved.descending else Qt.SortOrder.AscendingOrder
            )
            self.sortByColumn(COLUMNS.index(saved.sorted_by), order)
        self.fit()

    def _measure_width(self, column: Column) -> int:
        """Return the width that a column needs, or the one that the user has set, in pixels."""
        letter, number = self.fontMetrics().averageCharWidth(), COLUMNS.index(column)
        if column in self._user_widths:
            return round(self._user_widths[column] * letter)
        usual = _WIDTHS.get(column, _NAME) * letter + 16
        return max(usual, self.horizontalHeader().sectionSizeHint(number))

    def fit(self) -> None:
        """Hide columns until the rest fits; also the start time if runs without a title show it
        as name, and those of other tasks.
        """
        titled = any(run.about.title for run in self.rows.runs)
        hidden: list[Column] = [] if titled else ["begun"]
        hidden += table.list_empty_columns(self.rows.runs)
        widths = {column: self._measure_width(column) for column in COLUMNS}
        room = self.viewport().width()
        for column in _HIDE_FIRST:
            if sum(width for name, width in widths.items() if name not in hidden) <= room:
                break
            if column not in hidden:
                hidden.append(column)
        visible = [column for column in COLUMNS if column not in hidden]
        growing = [c for c in _GROWING if c in visible and c not in self._user_widths]
        remaining = room - sum(widths[column] for column in visible)
        most = _MAX_GROWTH * self.fontMetrics().averageCharWidth()
        for column in growing:
            widths[column] += max(0, min(most, remaining // (len(growing) + 1)))
        self._fitting = True
        for number, column in enumerate(COLUMNS):
            if self.isColumnHidden(number) != (column in hidden):
                self.setColumnHidden(number, column in hidden)
            if column != "name" and column in visible:
                self.setColumnWidth(number, widths[column])
        self._widen_name()
        self._fitting = False

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Show as many columns as fit."""
        super().resizeEvent(event)
        self.fit()

    def changeEvent(self, event: QEvent) -> None:
        """Adapt the columns to the text size."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self.fit()

    def list_selected(self) -> list[RunSummary]:
        """Return the selected runs from top to bottom."""
        rows = sorted(index.row() for index in self.selectionModel().selectedRows())
        return [self.rows.shown[row] for row in rows if row < len(self.rows.shown)]

    def choose(self, names: Sequence[str]) -> None:
        """Select runs by their folders, as far as they are listed."""
        rows = [row for name in names if (row := self.rows.find_row(name)) is not None]
        selection = self.selectionModel()
        selection.clearSelection()
        for row in rows:
            selection.select(
                self.rows.index(row, 0),
                QItemSelectionModel.SelectionFlag.Select | QItemSelectionModel.SelectionFlag.Rows,
            )
        if rows:
            selection.setCurrentIndex(
                self.rows.index(rows[0], 0), QItemSelectionModel.SelectionFlag.NoUpdate
            )
            self.scrollTo(self.rows.index(rows[0], 0))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Handle Space (check), Enter (open), Home and End (first and last run)."""
        selects = event.key() in _SELECT_KEYS
        if selects and self.rows.shown and not self.selectionModel().hasSelection():
            self.selectRow(max(0, self.currentIndex().row()))
            return
        ends = {Qt.Key.Key_Home: 0, Qt.Key.Key_End: len(self.rows.shown) - 1}
        if (
            event.key() in ends
            and self.rows.shown
            and not event.modifiers() & Qt.KeyboardModifier.ShiftModifier
        ):
            self.selectRow(ends[Qt.Key(event.key())])  # Qt would go to the first or last column
            return
        names = [run.folder for run in self.list_selected()]
        if event.key() == Qt.Key.Key_Space and names:
            self.rows.toggle(names)
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and names:
            if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
                super().keyPressEvent(event)
            else:
                self.open_clicked.emit()
        else:
            super().keyPressEvent(event)

    def _ask_menu(self, at: QPoint) -> None:
        index = self.indexAt(at)
        if index.isValid() and not self.selectionModel().isSelected(index):
            self.selectRow(index.row())
        self.menu_requested.emit(self.viewport().mapToGlobal(at))

    # --- selection across model resets --------------------------------------------------------

    def _save_selection(self) -> None:
        current = self.currentIndex()
        shown = self.rows.shown
        name = shown[current.row()].folder if 0 <= current.row() < len(shown) else ""
        self._saved_selection = ([run.folder for run in self.list_selected()], name)

    def _restore_selection(self) -> None:
        names, current = self._saved_selection
        for name in names:
            if (row := self.rows.find_row(name)) is not None:
                self.selectionModel().select(
                    self.rows.index(row, 0),
                    QItemSelectionModel.SelectionFlag.Select
                    | QItemSelectionModel.SelectionFlag.Rows,
                )
        if (row := self.rows.find_row(current)) is not None:
            self.selectionModel().setCurrentIndex(
                self.rows.index(row, 0), QItemSelectionModel.SelectionFlag.NoUpdate
            )
        elif self.rows.rowCount() and not names:
            self.selectionModel().setCurrentIndex(
                self.rows.index(0, 0), QItemSelectionModel.SelectionFlag.NoUpdate
            )
        self.selection_changed.emit()


#: Columns of the table and their names.
TITLES: dict[Column, str] = {
    "name": mark("Name"), "begun": mark("Started"), "state": mark("Status"), "model": mark("Model"),
    "data": mark("Data"), "rank": mark("Rank"), "loss": mark("Loss"), "eval": mark("Best eval loss"),
    "reward": mark("Best eval reward"),
    "accuracy": mark("Accuracy"), "f1": mark("Macro F1"), "recall": mark("Recall@10"), "mrr": mark("MRR"),
    "answers": mark("Answer score"),
    "time": mark("Time"), "size": mark("Size"), "tags": mark("Tags"),
}  # fmt: skip
COLUMNS: tuple[Column, ...] = tuple(TITLES)
NUMBERS: tuple[Column, ...] = ("rank", "loss", "eval", *table.OPTIONAL, "answers", "time", "size")


class StateStyle(NamedTuple):
    """Title, glyph and color of a run state."""

    title: str
    glyph: str
    role: Role


#: Styles of the run states. "queued" is a new run that is in the queue.
STATES: dict[str, StateStyle] = {
    "queued": StateStyle(mark("Queued"), "…", "accent"),
    "new": StateStyle(mark("Not started"), "○", "muted"),
    "running": StateStyle(mark("Running"), "◐", "accent"),
    "paused": StateStyle(mark("Paused"), "‖", "accent"),
    "interrupted": StateStyle(mark("Interrupted"), "!", "warn"),
    "stopped": StateStyle(mark("Canceled"), "×", "muted"),
    "failed": StateStyle(mark("Failed"), "!", "error"),
    "trained": StateStyle(mark("Trained"), "✓", "ok"),
    "merged": StateStyle(mark("Merged"), "✓", "ok"),
    "exported": StateStyle(mark("Exported"), "✓", "ok"),
    "unreadable": StateStyle(mark("Unreadable"), "!", "error"),
}

#: A function that returns whether a run is listed.
RunFilter = Callable[[RunSummary], bool]


class RunModel(TableModel):
    """Table model of the runs that match the filter. Sorting thousands takes milliseconds.

    Signals:
        ticked_changed: the set of checked runs has changed.
        refused(text): why a run couldn't be checked.
    """

    is_checkable = True
    ticked_changed = Signal()
    refused = Signal(str)

    def __init__(self, parent: Any = None) -> None:
        """Start empty, with the newest run first."""
        super().__init__(parent)
        self.runs: list[RunSummary] = []
        self.shown: list[RunSummary] = []
        self.names = RunNames()
        self.ticked: list[str] = []
        self.queued: dict[str, int] = {}
        self.current = ""  # the run that Merge and Export use
        self.order: tuple[Column, bool] = ("begun", True)
        self._filter: RunFilter = lambda run: True

    # --- contents -----------------------------------------------------------------------------

    def set_runs(self, runs: Sequence[RunSummary]) -> None:
        """Set the runs; removed ones are unchecked."""
        self.runs, self.names = list(runs), RunNames(runs)
        folders = {run.folder for run in runs}
        ticked = [name for name in self.ticked if name in folders]
        self._arrange()
        if ticked != self.ticked:
            self.ticked = ticked
            self.ticked_changed.emit()

    def set_queued(self, names: Sequence[str]) -> None:
        """Set the queued runs, the next one first."""
        queued = {name: position for position, name in enumerate(names, start=1)}
        if queued != self.queued:
            self.queued = queued
            self._arrange()

    def set_current(self, name: str) -> None:
        """Set the run that Merge and Export use."""
        if name != self.current:
            self.current = name
            self.repaint_cells()

    def set_filter(self, run_filter: RunFilter) -> None:
        """Set the filter."""
        self._filter = run_filter
        self._arrange()

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column; runs without a value come last in both directions."""
        self.order = (COLUMNS[column], order == Qt.SortOrder.DescendingOrder)
        self._arrange()

    def get_state(self, run: RunSummary) -> str:
        """Return the state that the table shows."""
        return "queued" if run.state == "new" and run.folder in self.queued else run.state

    def find_row(self, name: str) -> int | None:
        """Return the row of a run, None if it isn't listed."""
        return next((row for row, run in enumerate(self.shown) if run.folder == name), None)

    def _arrange(self) -> None:
        column, descending = self.order
        matching = [run for run in self.runs if self._filter(run)]
        shown = table.sort_runs(matching, column, descending=descending)
        if [run.folder for run in shown] == [run.folder for run in self.shown]:
            self.shown = shown
            self.repaint_cells()
            return
        self.beginResetModel()
        self.shown = shown
        self.endResetModel()

    # --- check boxes --------------------------------------------------------------------------

    def tick(self, names: Sequence[str], on: bool) -> None:
        """Check or uncheck runs for the plot."""
        ticked = [name for name in self.ticked if name not in names]
        if on:
            runs_by_folder = {run.folder: run for run in self.runs}
            plottable = [
                name for name in names if name in runs_by_folder and runs_by_folder[name].step
            ]
            ticked = [*self.ticked, *(name for name in plottable if name not in self.ticked)]
            if len(plottable) < len(names):
                self.refused.emit(tr("Runs without completed steps have no metrics to plot."))
            if len(ticked) > MOST:
                ticked = ticked[:MOST]
                self.refused.emit(
                    tr("You can plot up to {count} runs at once. Clear a checkbox first.").format(
                        count=MOST
                    )
                )
        if ticked != self.ticked:
            self.ticked = ticked
            self.repaint_cells()
            self.ticked_changed.emit()

    def toggle(self, names: Sequence[str]) -> None:
        """Check the runs, or uncheck them if all are checked."""
        self.tick(names, not set(names) <= set(self.ticked))

    def toggle_row(self, row: int) -> None:
        """Check or uncheck a run."""
        self.toggle([self.shown[row].folder])

    # --- Qt -----------------------------------------------------------------------------------

    def count_rows(self) -> int:
        """Return the number of listed runs."""
        return len(self.shown)

    def list_titles(self) -> list[str]:
        """Return the titles of the columns."""
        return [tr(title) for title in TITLES.values()]

    def get_title_tip(self, column: int) -> str | None:
        """Return what the values of a column mean."""
        return tr(_HELP[COLUMNS[column]]) if COLUMNS[column] in _HELP else None

    def get_alignment(self, column: int) -> Qt.AlignmentFlag:
        """Return the alignment of a column: numbers are on the right."""
        return RIGHT if COLUMNS[column] in NUMBERS else LEFT

    def get_cell(self, row: int, column: int, role: int) -> Any:
        """Return text, check state, color or tooltip of a cell."""
        run, name = self.shown[row], COLUMNS[column]
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return self._format_cell(run, name)
            case Qt.ItemDataRole.CheckStateRole if name == "name":
                on = run.folder in self.ticked
                return Qt.CheckState.Checked if on else Qt.CheckState.Unchecked
            case Qt.ItemDataRole.ForegroundRole:
                return self._get_color(run, name)
            case Qt.ItemDataRole.ToolTipRole:
                tip = self._format_tooltip(run, name)
                return None if tip is None else plain_tip(tip)
            case Qt.ItemDataRole.AccessibleTextRole if name == "name":
                parts = (self.names.get(run), tr(STATES[self.get_state(run)].title))
                return ", ".join((*parts, localize(run.warning)) if run.warning else parts)
        return None

    def _format_cell(self, run: RunSummary, column: Column) -> str:
        if column == "state":
            state = self.get_state(run)
            style = STATES[state]
            position = f" {self.queued[run.folder]}" if state == "queued" else ""
            warned = " ⚠" if run.warning else ""
            return f"{style.glyph} {tr(style.title)}{position}{warned}"
        if column == "name":
            letter = self.get_letter(run.folder)
            return f"{letter}  {self.names.get(run)}" if letter else self.names.get(run)
        cell = table.format_cell(run, column) or "–" * (column in NUMBERS)
        return (
            f"{cell} ⚠" if column == "answers" and run.answers and run.answers.is_outdated else cell
        )

    def get_letter(self, name: str) -> str:
        """Return the letter of a run in the plot, "" if it isn't checked."""
        return LETTERS[self.ticked.index(name)] if name in self.ticked else ""

    def _format_tooltip(self, run: RunSummary, column: Column) -> str | None:
        match column:
            case "name":
                is_current = run.folder == self.current
                note = tr("Merge and Export use this run.") if is_current else ""
                return "\n".join(part for part in (run.folder, run.about.notes, note) if part)
            case "state":
                return "\n".join(map(localize, filter(None, (run.reason, run.warning)))) or None
            case "model":
                return str(run.get_value("model.source"))
            case "answers" if run.answers and run.answers.is_outdated:
                return tr("Out of date: the model has changed since it was evaluated")
            case "size" if run.checkpoint_bytes:
                return tr("{size} of this is checkpoints").format(
                    size=formatting.format_size(run.checkpoint_bytes)
                )
        return self._format_cell(run, column) or None

    def _get_color(self, run: RunSummary, column: Column) -> Any:
        if column == "state":
            return color(STATES[self.get_state(run)].role)
        if column == "name":
            if letter := self.get_letter(run.folder):
                return get_run_color(LETTERS.index(letter))
            return color("accent" if run.folder == self.current else "text")
        is_result = column in ("loss", "eval", *table.OPTIONAL, "answers")
        return color("text" if is_result else "muted")


def get_run_color(index: int) -> Any:
    """Return the color of a checked run."""
    return QColor(make_letter_color(index)(get_palette()))


#: Tooltips of column headers.
_HELP: dict[Column, str] = {
    "loss": mark(
        "Training loss at the last step: nats per trained token, or as its objective defines it"
    ),
    "eval": mark("Lowest eval loss: nats per trained token, or as its objective defines it"),
    "reward": mark("Highest mean reward of answers to validation prompts"),
    "accuracy": mark("Share of validation rows whose label is predicted, at the lowest eval loss"),
    "f1": mark("Mean F1 of all labels, at the lowest eval loss"),
    "recall": mark(
        "Share of queries that find their text among the first 10, at the lowest eval loss"
    ),
    "mrr": mark("Mean reciprocal rank of the text to find, at the lowest eval loss"),
    "answers": mark("Mean score in the newest evaluation, by its first metric"),
    "time": mark("Training time, excluding pauses"),
    "size": mark("Size of the run folder, including checkpoints"),
    "data": mark("Dataset sources"),
}
