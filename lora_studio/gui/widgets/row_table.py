"""Rows of a dataset as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from lora_studio.core import words
from lora_studio.core.events import RowPreview

_Index = QModelIndex | QPersistentModelIndex
_COLUMNS = ("Row", "Question", "Answer", "Tokens", "Trained")
_ANSWER, _TOKENS, _TRAINED = 2, 3, 4
#: Narrower than this, in pixels, the table leaves the answer to the detail beside it.
_NARROW = 560
#: Longer texts are not worth measuring: the column ends before.
_LETTERS = 300


class RowModel(QAbstractTableModel):
    """Rows as conversations: their first question, their last answer, their length."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """No rows."""
        super().__init__(parent)
        self.rows: tuple[RowPreview, ...] = ()

    def set_rows(self, rows: Sequence[RowPreview]) -> None:
        """Replaces all rows."""
        self.beginResetModel()
        self.rows = tuple(rows)
        self.endResetModel()

    def rowCount(self, parent: _Index | None = None) -> int:
        """A table has no rows below a row."""
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def columnCount(self, parent: _Index | None = None) -> int:
        """The same for every row."""
        return len(_COLUMNS)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Names of the columns."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _aligned(section)
        return _COLUMNS[section] if role == Qt.ItemDataRole.DisplayRole else None

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Words of a cell; numbers stand to the right."""
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _aligned(index.column())
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        return _cell(self.rows[index.row()], index.column())


class RowTable(QTableView):
    """Rows to choose from.

    Signals:
        row_chosen(RowPreview | None): the row to show beside the table.
    """

    row_chosen = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Whole rows are chosen, one at a time, by mouse or arrow keys."""
        super().__init__(parent)
        self.rows = RowModel(self)
        self.setModel(self.rows)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setWordWrap(False)
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)
        self.setAccessibleName("Rows of the dataset")
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(30)
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setMinimumSectionSize(56)
        for column in range(len(_COLUMNS)):
            stretched = column in (1, 2)
            header.setSectionResizeMode(
                column,
                QHeaderView.ResizeMode.Stretch
                if stretched
                else QHeaderView.ResizeMode.ResizeToContents,
            )
        self.selectionModel().currentRowChanged.connect(self._chosen)

    def show_rows(self, rows: Sequence[RowPreview]) -> None:
        """Replaces all rows and chooses the first, or the one that was chosen before."""
        before = self.chosen()
        self.rows.set_rows(rows)
        with_model = any(row.spans for row in rows)
        self.setColumnHidden(_TOKENS, not with_model)
        self.setColumnHidden(_TRAINED, not with_model)
        if not rows:
            self.row_chosen.emit(None)
            return
        numbers = [row.row for row in rows]
        wanted = numbers.index(before.row) if before and before.row in numbers else 0
        self.selectRow(wanted)
        self._chosen(self.rows.index(wanted, 0))

    def chosen(self) -> RowPreview | None:
        """The row that is chosen."""
        index = self.currentIndex()
        return self.rows.rows[index.row()] if index.isValid() else None

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Shows as much as there is room for."""
        self.setColumnHidden(_ANSWER, event.size().width() < _NARROW)
        super().resizeEvent(event)

    def _chosen(self, index: QModelIndex) -> None:
        self.row_chosen.emit(self.rows.rows[index.row()] if index.isValid() else None)


def _aligned(column: int) -> Qt.AlignmentFlag:
    side = Qt.AlignmentFlag.AlignLeft if column in (1, 2) else Qt.AlignmentFlag.AlignRight
    return side | Qt.AlignmentFlag.AlignVCenter


def _cell(row: RowPreview, column: int) -> str:
    match column:
        case 0:
            return words.number(row.row)
        case 1:
            return _line(next((m.content for m in row.messages if m.role == "user"), ""))
        case 2:
            answers = [m.content for m in row.messages if m.role == "assistant"]
            return _line(answers[-1] if answers else "")
        case 3:
            return words.number(sum(span.tokens for span in row.spans))
        case _:
            trained = sum(span.tokens for span in row.spans if span.state == "trained")
            return words.number(trained)


def _line(text: str) -> str:
    return " ".join(text[:_LETTERS].split())
