"""The table of runs: ordered by any column, several chosen at once, ticked for the plot."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QItemSelectionModel, QPoint, Qt, Signal
from PySide6.QtGui import QKeyEvent, QResizeEvent
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from lora_studio.core.runs.index import RunSummary
from lora_studio.core.runs.table import Column
from lora_studio.gui.language import tr
from lora_studio.gui.pages.runs.table_model import COLUMNS, RunModel
from lora_studio.gui.preferences import TableLayout
from lora_studio.gui.theme import theme
from lora_studio.gui.widgets import plain_table

#: Widths in characters; the first column takes what is left.
_WIDTHS: dict[Column, int] = {
    "begun": 18, "state": 13, "model": 13, "data": 13, "rank": 5, "loss": 6, "eval": 9, "time": 9,
    "size": 8, "tags": 11,
}  # fmt: skip
#: Columns that give way first where there is no room for all, and what the name needs, in characters.
_GIVE_WAY: tuple[Column, ...] = ("begun", "data", "loss", "size", "tags", "time", "model", "rank")
_NAME = 21
#: Columns whose texts are cut most often get of the room that is left over, up to so many letters.
_GROWING: tuple[Column, ...] = ("model", "data", "tags")
_GROWN = 14
#: Keys that choose a run where none is chosen: the only one has no other to go to.
_BEGIN = (Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_PageUp, Qt.Key.Key_PageDown, Qt.Key.Key_Space)


class RunTable(QTableView):
    """Space ticks, Enter opens. No column ever measures its rows.

    Signals:
        chosen_changed: other rows are chosen.
        open_clicked: Enter, or a double click.
        menu_wanted(QPoint): a place on the screen for the context menu.
    """

    chosen_changed = Signal()
    open_clicked = Signal()
    menu_wanted = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Empty."""
        super().__init__(parent)
        self.rows = RunModel(self)
        self.setModel(self.rows)
        self._kept: tuple[list[str], str] = ([], "")
        self._fitting = False
        self._own: dict[Column, float] = {}  # widths that the user chose, in letters
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
        self._lay_out_columns()
        self.setSortingEnabled(True)
        self.sortByColumn(COLUMNS.index("begun"), Qt.SortOrder.DescendingOrder)
        self.rows.modelAboutToBeReset.connect(self._keep)
        self.rows.modelReset.connect(self._choose_again)
        self.selectionModel().selectionChanged.connect(lambda *_: self.chosen_changed.emit())
        self.doubleClicked.connect(lambda _: self.open_clicked.emit())
        plain_table.let_copy(self)
        theme().changed.connect(self.viewport().update)

    def _lay_out_columns(self) -> None:
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setMinimumSectionSize(40)
        header.setSectionsMovable(True)
        for number, column in enumerate(COLUMNS):
            stretched = column == "name"
            mode = (
                QHeaderView.ResizeMode.Stretch if stretched else QHeaderView.ResizeMode.Interactive
            )
            header.setSectionResizeMode(number, mode)
        header.sectionResized.connect(self._resized)
        self._fit_to_font()

    def _fit_to_font(self) -> None:
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 13)

    def _resized(self, number: int, _before: int, width: int) -> None:
        """A column that the user has drawn keeps its width."""
        column = COLUMNS[number]
        if not self._fitting and column != "name" and width:
            self._own[column] = width / self.fontMetrics().averageCharWidth()

    def layout_chosen(self) -> TableLayout:
        """How the user has laid it out."""
        header = self.horizontalHeader()
        return TableLayout(
            widths=dict(self._own),
            order=[COLUMNS[header.logicalIndex(place)] for place in range(header.count())],
            sorted_by=COLUMNS[header.sortIndicatorSection()],
            descending=header.sortIndicatorOrder() == Qt.SortOrder.DescendingOrder,
        )

    def lay_out_as(self, chosen: TableLayout) -> None:
        """Lays it out as the user did before."""
        header = self.horizontalHeader()
        known = [column for column in COLUMNS if column in chosen.order]
        if len(known) == len(COLUMNS):
            for place, name in enumerate(name for name in chosen.order if name in known):
                header.moveSection(header.visualIndex(COLUMNS.index(name)), place)
        self._own = {c: w for c in COLUMNS if c != "name" and (w := chosen.widths.get(c, 0)) > 0}
        if chosen.sorted_by in COLUMNS:
            falls = (
                Qt.SortOrder.DescendingOrder if chosen.descending else Qt.SortOrder.AscendingOrder
            )
            self.sortByColumn(COLUMNS.index(chosen.sorted_by), falls)
        self.fit()

    def _needs(self, column: Column) -> int:
        """The width for its usual values and for its head, or what the user wants."""
        letter, number = self.fontMetrics().averageCharWidth(), COLUMNS.index(column)
        if column in self._own:
            return round(self._own[column] * letter)
        usual = _WIDTHS.get(column, _NAME) * letter + 16
        return max(usual, self.horizontalHeader().sectionSizeHint(number))

    def fit(self) -> None:
        """Leaves columns out until there is room for the rest; the beginning too, where runs without a
        title are called by it."""
        titled = any(run.about.title for run in self.rows.runs)
        hidden: list[Column] = [] if titled else ["begun"]
        widths = {column: self._needs(column) for column in COLUMNS}
        room = self.viewport().width()
        for column in _GIVE_WAY:
            if sum(width for name, width in widths.items() if name not in hidden) <= room:
                break
            hidden.append(column)
        shown = [column for column in COLUMNS if column not in hidden]
        growing = [c for c in _GROWING if c in shown and c not in self._own]
        left = room - sum(widths[column] for column in shown)
        most = _GROWN * self.fontMetrics().averageCharWidth()
        for column in growing:
            widths[column] += max(0, min(most, left // (len(growing) + 1)))
        self._fitting = True
        for number, column in enumerate(COLUMNS):
            if self.isColumnHidden(number) != (column in hidden):
                self.setColumnHidden(number, column in hidden)
            if column != "name" and column in shown:
                self.setColumnWidth(number, widths[column])
        self._fitting = False

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Shows as many columns as there is room for."""
        super().resizeEvent(event)
        self.fit()

    def changeEvent(self, event: QEvent) -> None:
        """Another size of text needs other widths."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._fit_to_font()
            self.fit()

    def chosen(self) -> list[RunSummary]:
        """The chosen runs, from above to below."""
        rows = sorted(index.row() for index in self.selectionModel().selectedRows())
        return [self.rows.shown[row] for row in rows if row < len(self.rows.shown)]

    def choose(self, names: Sequence[str]) -> None:
        """Chooses runs by their folders, as far as they are shown."""
        found = [row for name in names if (row := self.rows.row_of(name)) is not None]
        selection = self.selectionModel()
        selection.clearSelection()
        for row in found:
            selection.select(
                self.rows.index(row, 0),
                QItemSelectionModel.SelectionFlag.Select | QItemSelectionModel.SelectionFlag.Rows,
            )
        if found:
            selection.setCurrentIndex(
                self.rows.index(found[0], 0), QItemSelectionModel.SelectionFlag.NoUpdate
            )
            self.scrollTo(self.rows.index(found[0], 0))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Space ticks the chosen rows, Enter opens, Home and End go to the first and the last run."""
        begins = event.key() in _BEGIN
        if begins and self.rows.shown and not self.selectionModel().hasSelection():
            self.selectRow(max(0, self.currentIndex().row()))
            return
        ends = {Qt.Key.Key_Home: 0, Qt.Key.Key_End: len(self.rows.shown) - 1}
        if (
            event.key() in ends
            and self.rows.shown
            and not event.modifiers() & Qt.KeyboardModifier.ShiftModifier
        ):
            self.selectRow(ends[Qt.Key(event.key())])  # Qt's own go to the first or last column
            return
        names = [run.folder for run in self.chosen()]
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
        self.menu_wanted.emit(self.viewport().mapToGlobal(at))

    # --- the same rows stay chosen ------------------------------------------------------------

    def _keep(self) -> None:
        current = self.currentIndex()
        shown = self.rows.shown
        name = shown[current.row()].folder if 0 <= current.row() < len(shown) else ""
        self._kept = ([run.folder for run in self.chosen()], name)

    def _choose_again(self) -> None:
        names, current = self._kept
        for name in names:
            if (row := self.rows.row_of(name)) is not None:
                self.selectionModel().select(
                    self.rows.index(row, 0),
                    QItemSelectionModel.SelectionFlag.Select
                    | QItemSelectionModel.SelectionFlag.Rows,
                )
        if (row := self.rows.row_of(current)) is not None:
            self.selectionModel().setCurrentIndex(
                self.rows.index(row, 0), QItemSelectionModel.SelectionFlag.NoUpdate
            )
        elif self.rows.rowCount() and not names:
            self.selectionModel().setCurrentIndex(
                self.rows.index(0, 0), QItemSelectionModel.SelectionFlag.NoUpdate
            )
        self.chosen_changed.emit()
