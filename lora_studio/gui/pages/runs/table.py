"""Table of runs: sortable, with multiple selection and check boxes for the plot."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QItemSelectionModel, QPoint, Qt, Signal
from PySide6.QtGui import QKeyEvent, QResizeEvent
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from lora_studio.core.runs import table
from lora_studio.core.runs.index import RunSummary
from lora_studio.core.runs.table import Column
from lora_studio.gui.language import tr
from lora_studio.gui.pages.runs.table_model import COLUMNS, RunModel
from lora_studio.gui.preferences import TableLayout
from lora_studio.gui.theme import get_theme
from lora_studio.gui.widgets import plain_table

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
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setWordWrap(False)
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.customContextMenuRequested.connect(self._ask_menu)
        self.verticalHeader().hide()
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self._set_up_columns()
        self.setSortingEnabled(True)
        self.sortByColumn(COLUMNS.index("begun"), Qt.SortOrder.DescendingOrder)
        self.rows.modelAboutToBeReset.connect(self._save_selection)
        self.rows.modelReset.connect(self._restore_selection)
        self.selectionModel().selectionChanged.connect(lambda *_: self.selection_changed.emit())
        self.doubleClicked.connect(lambda _: self.open_clicked.emit())
        plain_table.enable_copying(self)
        get_theme().changed.connect(self.viewport().update)

    def _set_up_columns(self) -> None:
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setMinimumSectionSize(40)
        header.setSectionsMovable(True)
        for number, column in enumerate(COLUMNS):
            fixed = column == "name"
            mode = QHeaderView.ResizeMode.Fixed if fixed else QHeaderView.ResizeMode.Interactive
            header.setSectionResizeMode(number, mode)
        header.sectionResized.connect(self._on_section_resized)
        self._fit_to_font()

    def _fit_to_font(self) -> None:
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 13)

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
        """Adapt row height and columns to the text size."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._fit_to_font()
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
