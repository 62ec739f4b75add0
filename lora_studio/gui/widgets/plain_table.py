"""Common setup of tables with row selection, and a model with checkboxes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt
from PySide6.QtGui import QGuiApplication, QKeySequence, QShortcut
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView

from lora_studio.gui.text_size import Size
from lora_studio.gui.theme import get_theme

#: Height of a row at 100 %, in pixels.
ROW = 30

_Index = QModelIndex | QPersistentModelIndex


class CheckableTableModel(QAbstractTableModel):
    """A table whose first column has a checkbox in every row."""

    def toggle_row(self, row: int) -> None:
        """Check or uncheck a row."""
        raise NotImplementedError

    def flags(self, index: _Index) -> Qt.ItemFlag:
        """Make the first column checkable."""
        flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        return flags | Qt.ItemFlag.ItemIsUserCheckable if index.column() == 0 else flags

    def setData(self, index: _Index, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        """Toggle the checkbox of a row."""
        if role != Qt.ItemDataRole.CheckStateRole or index.column() != 0:
            return False
        self.toggle_row(index.row())
        return True


def set_up_table(table: QTableView) -> None:
    """Select single rows by mouse or arrow keys; Tab leaves the table.

    The table has no grid and no row numbers; all rows have the same height, which scales with the text.
    """
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setShowGrid(False)
    table.setTabKeyNavigation(False)
    table.setWordWrap(False)
    table.verticalHeader().hide()
    table.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
    _RowHeight(table)
    table.horizontalHeader().setHighlightSections(False)
    enable_copying(table)


class _RowHeight(QObject):
    """Gives the rows of a table the height that the text size needs, also after the size has changed."""

    def __init__(self, table: QTableView) -> None:
        """Belong to the table."""
        super().__init__(table)
        self._rows = table.verticalHeader()
        self._fit()
        get_theme().changed.connect(self._fit)

    def _fit(self) -> None:
        self._rows.setDefaultSectionSize(Size.scale_height(ROW))


def enable_copying(table: QTableView, words: Callable[[QModelIndex], str] | None = None) -> None:
    """Copy the selected cells as tab-separated text with Ctrl+C, in visual order.

    `words` returns the text to copy for a cell, if it differs from the displayed text.
    """
    say = words or (lambda index: str(index.data() or ""))

    def copy() -> None:
        header = table.horizontalHeader()
        chosen = [i for i in table.selectedIndexes() if not table.isColumnHidden(i.column())]
        chosen.sort(key=lambda index: (index.row(), header.visualIndex(index.column())))
        lines: dict[int, list[str]] = {}
        for index in chosen:
            lines.setdefault(index.row(), []).append(say(index))
        if lines:
            QGuiApplication.clipboard().setText("\n".join(map("\t".join, lines.values())))

    shortcut = QShortcut(QKeySequence(QKeySequence.StandardKey.Copy), table)
    shortcut.setContext(Qt.ShortcutContext.WidgetShortcut)
    shortcut.activated.connect(copy)
