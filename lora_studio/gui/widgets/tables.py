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
_ROW = 30
LEFT = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter

_Index = QModelIndex | QPersistentModelIndex


class TableModel(QAbstractTableModel):
    """Base class of the table models: a subclass counts its rows, names its columns, and returns cells.

    With `is_checkable`, the first column has a checkbox in every row.
    """

    is_checkable = False

    def count_rows(self) -> int:
        """Return the number of rows."""
        raise NotImplementedError

    def list_titles(self) -> Sequence[str]:
        """Return the titles of the columns."""
        raise NotImplementedError

    def get_cell(self, row: int, column: int, role: int) -> Any:
        """Return what a cell shows; its alignment is that of the column."""
        raise NotImplementedError

    def get_alignment(self, column: int) -> Qt.AlignmentFlag:
        """Return the alignment of a column and its title."""
        return LEFT

    def get_title_tip(self, column: int) -> str | None:
        """Return the tooltip of a title."""
        return None

    def toggle_row(self, row: int) -> None:
        """Check or uncheck a row."""
        raise NotImplementedError

    def repaint_cells(self) -> None:
        """Show all cells again, which have changed."""
        if self.rowCount():
            last = self.index(self.rowCount() - 1, self.columnCount() - 1)
            self.dataChanged.emit(self.index(0, 0), last)

    def rowCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: B008 - Qt's default
        """Return the number of rows; a cell has none below it."""
        return 0 if parent.isValid() else self.count_rows()

    def columnCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: B008 - Qt's default
        """Return the number of columns."""
        return 0 if parent.isValid() else len(self.list_titles())

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Return the title of a column, its alignment, or its tooltip."""
        if orientation == Qt.Orientation.Horizontal:
            match role:
                case Qt.ItemDataRole.DisplayRole:
                    return self.list_titles()[section]
                case Qt.ItemDataRole.TextAlignmentRole:
                    return self.get_alignment(section)
                case Qt.ItemDataRole.ToolTipRole:
                    return self.get_title_tip(section)
        return None

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return what a cell shows."""
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return self.get_alignment(index.column())
        return self.get_cell(index.row(), index.column(), role)

    def flags(self, index: _Index) -> Qt.ItemFlag:
        """Make the first column checkable."""
        flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        if self.is_checkable and index.column() == 0:
            flags |= Qt.ItemFlag.ItemIsUserCheckable
        return flags

    def setData(self, index: _Index, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        """Toggle the checkbox of a row."""
        if role != Qt.ItemDataRole.CheckStateRole or index.column() != 0 or not self.is_checkable:
            return False
        self.toggle_row(index.row())
        return True


def set_up_table(
    table: QTableView,
    *,
    selection: QAbstractItemView.SelectionMode = QAbstractItemView.SelectionMode.SingleSelection,
    cells: bool = False,
    copied: Callable[[QModelIndex], str] | None = None,
) -> None:
    """Select rows, or with `cells` single cells, by mouse or arrow keys; Tab leaves the table.

    The table has no grid and no row numbers; all rows have the same height, which scales with the text.
    `copied` returns the text to copy for a cell, if it differs from the displayed text.
    """
    behavior = QAbstractItemView.SelectionBehavior
    table.setSelectionBehavior(behavior.SelectItems if cells else behavior.SelectRows)
    table.setSelectionMode(selection)
    table.setShowGrid(False)
    table.setTabKeyNavigation(False)
    table.setWordWrap(False)
    table.verticalHeader().hide()
    table.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
    RowHeight(table)
    table.horizontalHeader().setHighlightSections(False)
    _enable_copying(table, copied or (lambda index: str(index.data() or "")))


class RowHeight(QObject):
    """Gives the rows of a table the height that the text size needs, also after the size has changed."""

    def __init__(self, table: QTableView, pixels: int = _ROW) -> None:
        """Belong to the table; `pixels` is the height at 100 %."""
        super().__init__(table)
        self._rows, self._pixels = table.verticalHeader(), pixels
        self._fit()
        get_theme().changed.connect(self._fit)

    def _fit(self) -> None:
        self._rows.setDefaultSectionSize(Size.scale_height(self._pixels))


def fit_height(table: QTableView, rows: int, extra: int) -> None:
    """Make a table as high as its title, its rows, and `extra` pixels, so that it needs no scroll bar."""
    titles = table.horizontalHeader().sizeHint().height()
    table.setFixedHeight(titles + rows * Size.scale_height(_ROW) + extra)


def make_table(name: str, titles: Sequence[str] = (), *, numbers: bool = False) -> QTableWidget:
    """Return a table that can't be edited; `name` is for screen readers.

    With `numbers`, all columns but the first have numbers.
    """
    table = QTableWidget()
    set_up_table(table)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setAccessibleName(name)
    set_titles(table, titles, first_number=1 if numbers else len(titles))
    return table


def set_titles(table: QTableWidget, titles: Sequence[str], *, first_number: int) -> None:
    """Set the titles of the columns; those from `first_number` on have numbers."""
    table.setColumnCount(len(titles))
    for column, title in enumerate(titles):
        item = QTableWidgetItem(title)
        item.setTextAlignment(RIGHT if column >= first_number else LEFT)
        table.setHorizontalHeaderItem(column, item)


def make_text(text: str, tip: str | None = None) -> QTableWidgetItem:
    """Return a cell with the text on one line; its tooltip has `tip`, by default the whole text."""
    item = QTableWidgetItem(" ".join(text.split()))
    item.setToolTip(plain_tip(text if tip is None else tip))
    return item


def make_number(text: str) -> QTableWidgetItem:
    """Return a cell with a number."""
    item = QTableWidgetItem(text)
    item.setTextAlignment(RIGHT)
    return item


def fill_table(table: QTableWidget, rows: Sequence[Sequence[QTableWidgetItem]]) -> None:
    """Show these rows instead of the current ones."""
    table.setRowCount(len(rows))
    for number, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            table.setItem(number, column, cell)


def _enable_copying(table: QTableView, get_text: Callable[[QModelIndex], str]) -> None:
    """Copy the selected cells as tab-separated text with Ctrl+C, in visual order."""

    def copy() -> None:
        header = table.horizontalHeader()
        chosen = [i for i in table.selectedIndexes() if not table.isColumnHidden(i.column())]
        chosen.sort(key=lambda index: (index.row(), header.visualIndex(index.column())))
        lines: dict[int, list[str]] = {}
        for index in chosen:
            lines.setdefault(index.row(), []).append(get_text(index))
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
        set_titles(self, [name, bar, *values], first_number=_BAR + 1)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Interactive)
        header.setSectionResizeMode(_BAR, QHeaderView.ResizeMode.Stretch)

    def show_rows(self, rows: Sequence[BarRow]) -> None:
        """Show these rows instead of the current ones."""
        fill_table(self, [_make_bar_row(row) for row in rows])
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


def _make_bar_row(row: BarRow) -> list[QTableWidgetItem]:
    bar = QTableWidgetItem()
    bar.setData(_SHARE, row.share)
    return [make_text(row.name), bar, *map(make_number, row.values)]


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
