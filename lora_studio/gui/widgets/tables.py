"""Common setup, models, and cells of tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import (
    QAbstractTableModel,
    QEvent,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QRect,
    QRectF,
    Qt,
)
from PySide6.QtGui import (
    QGuiApplication,
    QKeySequence,
    QPainter,
    QPainterPath,
    QResizeEvent,
    QShortcut,
)
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from lora_studio.gui.text_size import Size
from lora_studio.gui.theme import Spacing, color, get_theme
from lora_studio.gui.widgets.tooltips import plain_tip

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


_BAR = 1
_BAR_HEIGHT = 6
#: Width of a short name, in pixels at 100 %.
_NAME_WIDTH = 280
_SHARE = Qt.ItemDataRole.UserRole
_LEFT = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter


@dataclass(frozen=True)
class BarRow:
    """A name, the length of its bar from 0 to 1, and values as text."""

    name: str
    share: float
    values: tuple[str, ...]


class BarTable(QTableWidget):
    """Shows a name, a bar, and values in each row. The columns after the bar are those of `set_titles`."""

    def __init__(
        self, name: str, name_width: int = _NAME_WIDTH, parent: QWidget | None = None
    ) -> None:
        """Create an empty table; `name` is for screen readers.

        Names that are wider than `name_width`, in pixels at 100 %, are elided.
        """
        super().__init__(parent)
        self._name_width = name_width
        set_up_table(self)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setAccessibleName(name)
        self.setItemDelegateForColumn(_BAR, _BarDelegate(self))

    def set_titles(self, name: str, bar: str, values: Sequence[str]) -> None:
        """Set the titles of the columns."""
        titles = [name, bar, *values]
        self.setColumnCount(len(titles))
        for column, title in enumerate(titles):
            item = QTableWidgetItem(title)
            item.setTextAlignment(_LEFT if column <= _BAR else _RIGHT)
            self.setHorizontalHeaderItem(column, item)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Interactive)
        header.setSectionResizeMode(_BAR, QHeaderView.ResizeMode.Stretch)

    def show_rows(self, rows: Sequence[BarRow]) -> None:
        """Show these rows instead of the current ones."""
        self.setRowCount(len(rows))
        for number, row in enumerate(rows):
            name = QTableWidgetItem(" ".join(row.name.split()))
            name.setToolTip(plain_tip(row.name))
            self.setItem(number, 0, name)
            bar = QTableWidgetItem()
            bar.setData(_SHARE, row.share)
            self.setItem(number, _BAR, bar)
            for column, words in enumerate(row.values, _BAR + 1):
                value = QTableWidgetItem(words)
                value.setTextAlignment(_RIGHT)
                self.setItem(number, column, value)
        self._fit()

    def changeEvent(self, event: QEvent) -> None:
        """Adapt to the text size."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Leave room for the title of the bars."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        self.verticalHeader().setDefaultSectionSize(Size.scale_height(ROW))
        if not self.columnCount():
            return
        header = self.horizontalHeader()
        others = sum(
            max(self.sizeHintForColumn(column), header.sectionSizeHint(column))
            for column in range(_BAR + 1, self.columnCount())
        )
        room = self.viewport().width() - others - header.sectionSizeHint(_BAR)
        wanted = min(self.sizeHintForColumn(0) + Spacing.M, Size.scaled(self._name_width), room)
        self.setColumnWidth(0, max(wanted, header.sectionSizeHint(0)))


class _BarDelegate(QStyledItemDelegate):
    """Paints the share of an item as a bar."""

    def paint(
        self,
        painter: QPainter,
        option: QStyleOptionViewItem,
        index: QModelIndex | QPersistentModelIndex,
    ) -> None:
        super().paint(painter, option, index)  # the background
        rect: QRect = option.rect
        height = Size.scaled(_BAR_HEIGHT)
        top = rect.center().y() - height / 2
        track = QRectF(rect.left() + Spacing.S, top, rect.width() - 2 * Spacing.S, height)
        path = QPainterPath()
        path.addRoundedRect(track, height / 2, height / 2)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.fillPath(path, color("line"))
        track.setWidth(track.width() * min(1.0, max(0.0, index.data(_SHARE) or 0.0)))
        painter.setClipPath(path)
        painter.fillRect(track, color("accent"))
        painter.restore()
