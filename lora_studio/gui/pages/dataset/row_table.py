"""Table of a dataset's rows."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QHeaderView, QTableView, QWidget

from lora_studio.core import formatting
from lora_studio.core.dataset.spec import Task
from lora_studio.core.protocol.events import RowPreview
from lora_studio.gui.language import tr
from lora_studio.gui.pages.dataset.row_model import ANSWER, NUMBER, QUESTION, SOURCE, RowModel
from lora_studio.gui.widgets import plain_table

#: Minimum width in pixels for the answer column; the detail view shows the answer, too.
_NARROW = 560


class RowTable(QTableView):
    """A table that is fast with millions of rows, because column widths don't depend on them.

    Signals:
        row_chosen(RowPreview | None): the row to show in detail.
    """

    row_chosen = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create the table; mouse or arrow keys select one row at a time."""
        super().__init__(parent)
        self.rows = RowModel(self)
        self._has_answers = True
        self._wanted: tuple[int, int] | None = None  # (source, row) to select after a reset
        self.setModel(self.rows)
        plain_table.set_up_table(self)
        self.setAccessibleName(tr("Rows of the dataset"))
        self.setMinimumWidth(200)
        header = self.horizontalHeader()
        header.setMinimumSectionSize(48)
        for column, stretched in ((NUMBER, 0), (SOURCE, 0), (QUESTION, 1), (ANSWER, 1)):
            mode = QHeaderView.ResizeMode.Stretch if stretched else QHeaderView.ResizeMode.Fixed
            header.setSectionResizeMode(column, mode)
        self.set_shape(None, sources=1)
        self.selectionModel().currentRowChanged.connect(self._on_row_chosen)
        self.rows.modelReset.connect(self._choose_again)
        self.rows.dataChanged.connect(self._on_rows_loaded)

    def set_shape(self, task: Task | None, *, sources: int) -> None:
        """Set the columns for a task; the source column is shown only with several sources."""
        self.rows.set_task(task)
        self._has_answers = task != "text"
        self.setColumnHidden(SOURCE, sources < 2)
        self._fit()

    def get_selected(self) -> RowPreview | None:
        """Return the selected row if it is loaded."""
        index = self.currentIndex()
        return self.rows.row_at(index.row()) if index.isValid() else None

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Show the columns that fit."""
        super().resizeEvent(event)
        self._fit()

    # --- helpers ------------------------------------------------------------------------------

    def _fit(self) -> None:
        narrow = self.viewport().width() < _NARROW
        if self.isColumnHidden(ANSWER) != (narrow or not self._has_answers):
            self.setColumnHidden(ANSWER, narrow or not self._has_answers)
        digits = formatting.format_number(max(999, self.rows.rowCount()))
        header = self.horizontalHeader()
        width = self.fontMetrics().horizontalAdvance(digits) + 24
        width = max(width, header.sectionSizeHint(NUMBER))
        for column, needed_width in ((NUMBER, width), (SOURCE, header.sectionSizeHint(SOURCE))):
            if not self.isColumnHidden(column) and self.columnWidth(column) != needed_width:
                self.setColumnWidth(column, needed_width)

    def _on_row_chosen(self, index: QModelIndex) -> None:
        row = self.rows.row_at(index.row()) if index.isValid() else None
        if row is not None:
            self._wanted = (row.source, row.row)
        self.row_chosen.emit(row)

    def _choose_again(self) -> None:
        """Select the previously selected row after a reset, or else the first that isn't skipped."""
        self._fit()
        if not self.rows.rowCount():
            self.row_chosen.emit(None)
            return
        index = self.rows.index_of(*self._wanted) if self._wanted else None
        if index is None:
            index = self.rows.index_of_first_used()
        self.selectRow(index)
        self._on_row_chosen(self.rows.index(index, 0))

    def _on_rows_loaded(self, first: QModelIndex, last: QModelIndex) -> None:
        """Show the selected row if it is among those just loaded."""
        current = self.currentIndex()
        if current.isValid() and first.row() <= current.row() <= last.row():
            self._on_row_chosen(current)
