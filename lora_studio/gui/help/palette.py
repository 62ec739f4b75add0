"""The command palette: a search line with a list of matches, used by keyboard."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import (
    QAbstractListModel,
    QEvent,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QRect,
    QSize,
    Qt,
    QTimer,
)
from PySide6.QtGui import QKeyEvent, QPainter
from PySide6.QtWidgets import (
    QDialog,
    QLineEdit,
    QListView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QVBoxLayout,
    QWidget,
)

from lora_studio.gui.help.command_search import KIND_TITLES, SearchEntry, find
from lora_studio.gui.language import tr
from lora_studio.gui.theme import Size, Spacing, body_font, color
from lora_studio.gui.widgets.basics import label
from lora_studio.gui.widgets.tooltips import plain_tip

_WIDTH, _ROWS = 620, 9

_Index = QModelIndex | QPersistentModelIndex


class _Matches(QAbstractListModel):
    """List model of the matches; screen readers get the whole line."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.entries: list[SearchEntry] = []

    def show(self, entries: list[SearchEntry]) -> None:
        self.beginResetModel()
        self.entries = entries
        self.endResetModel()

    def rowCount(self, parent: _Index | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.entries)

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        entry = self.entries[index.row()]
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return entry.title
            case Qt.ItemDataRole.UserRole:
                return entry
            case Qt.ItemDataRole.ToolTipRole:
                return plain_tip(entry.detail)
            case Qt.ItemDataRole.AccessibleTextRole:
                parts = (entry.title, tr(KIND_TITLES[entry.kind]), entry.page, entry.keys)
                return ", ".join(part for part in parts if part)
        return None


class _Line(QStyledItemDelegate):
    """Paints title and detail on the left, keys or kind on the right."""

    def sizeHint(self, option: QStyleOptionViewItem, index: _Index) -> QSize:
        """Return room for two lines of text."""
        metrics = option.fontMetrics
        return QSize(_WIDTH, 2 * metrics.height() + Spacing.M)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        """Paint one entry."""
        entry: SearchEntry = index.data(Qt.ItemDataRole.UserRole)
        area: QRect = option.rect
        painter.save()
        if option.state & QStyle.StateFlag.State_Selected:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(color("selected"))
            painter.drawRoundedRect(area.adjusted(1, 1, -1, -1), 6, 6)
        inner = area.adjusted(Spacing.M, Spacing.XS, -Spacing.M, -Spacing.XS)
        side = entry.keys or " · ".join(
            part for part in (entry.page, tr(KIND_TITLES[entry.kind])) if part
        )
        painter.setFont(body_font(Size.CAPTION))
        painter.setPen(color("muted"))
        width = painter.fontMetrics().horizontalAdvance(side)
        top = inner.height() // 2
        upper = QRect(
            inner.left(), inner.top(), inner.width(), top if entry.detail else inner.height()
        )
        lower = QRect(inner.left(), inner.top() + top, inner.width(), inner.height() - top)
        near, far = Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight
        middle = Qt.AlignmentFlag.AlignVCenter
        painter.drawText(upper, far | middle, side)
        painter.drawText(
            lower,
            near | middle,
            painter.fontMetrics().elidedText(
                entry.detail, Qt.TextElideMode.ElideRight, inner.width()
            ),
        )
        painter.setFont(body_font())
        painter.setPen(color("text"))
        room = inner.width() - width - Spacing.M
        title = painter.fontMetrics().elidedText(entry.title, Qt.TextElideMode.ElideRight, room)
        painter.drawText(upper, near | middle, title)
        painter.restore()


class CommandPalette(QDialog):
    """A popup that closes when an entry is run, on Esc, or on a click outside."""

    def __init__(self, entries: Sequence[SearchEntry], parent: QWidget) -> None:
        """Open over the upper part of `parent`; an empty query shows everything."""
        super().__init__(parent, Qt.WindowType.Dialog | Qt.WindowType.FramelessWindowHint)
        self.setWindowTitle(tr("Command palette"))
        self.setProperty("surface", "palette")
        self.setModal(True)
        self._entries, self._over = list(entries), parent
        self.line = QLineEdit(placeholderText=tr("Search settings, commands, pages, and projects"))
        self.line.setAccessibleName(tr("Command palette"))
        self.list = QListView(uniformItemSizes=True)
        self.list.setAccessibleName(tr("Search results"))
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._model = _Matches(self)
        self.list.setModel(self._model)
        self.list.setItemDelegate(_Line(self.list))
        self.nothing = label("", "muted", wrap=True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(Spacing.M, Spacing.M, Spacing.M, Spacing.M)
        layout.setSpacing(Spacing.S)
        layout.addWidget(self.line)
        layout.addWidget(self.nothing)
        layout.addWidget(self.list, 1)
        self.line.textChanged.connect(self._search)
        for widget in (self.line, self.list):
            widget.installEventFilter(self)
        self.list.clicked.connect(self._run)
        self.finished.connect(self.deleteLater)
        self._search("")
        self._move_over(parent)

    @property
    def matches(self) -> list[SearchEntry]:
        """The shown entries, best first."""
        return self._model.entries

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Handle the keys of the list while the focus is in the search line."""
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            steps = {Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1, Qt.Key.Key_PageDown: _ROWS, Qt.Key.Key_PageUp: -_ROWS}  # fmt: skip
            key = Qt.Key(event.key())
            if key in steps:
                self._move(steps[key], around=abs(steps[key]) == 1)
                return True
            if key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                self._run(self.list.currentIndex())
                return True
        return super().eventFilter(watched, event)

    def _search(self, query: str) -> None:
        self._model.show(find(self._entries, query))
        has_matches = bool(self.matches)
        self.list.setVisible(has_matches)
        self.nothing.setVisible(not has_matches)
        self.nothing.setText(
            tr("No results for “{query}”. Try a different search.").format(query=query)
        )
        if has_matches:
            self.list.setCurrentIndex(self._model.index(0, 0))

    def _move(self, by: int, *, around: bool) -> None:
        count = len(self.matches)
        if count:
            target = self.list.currentIndex().row() + by
            target = target % count if around else max(0, min(count - 1, target))
            self.list.setCurrentIndex(self._model.index(target, 0))

    def _run(self, index: QModelIndex) -> None:
        if not index.isValid():
            return
        entry = self.matches[index.row()]
        self.accept()
        QTimer.singleShot(0, self._over, entry.run)  # after the focus has returned to the window

    def _move_over(self, parent: QWidget) -> None:
        metrics = self.fontMetrics()
        height = _ROWS * (2 * metrics.height() + Spacing.M) + 80
        width = min(Size.scaled(_WIDTH), parent.width() - 2 * Spacing.XL)
        self.setFixedSize(width, min(height, parent.height() - 2 * Spacing.XL))
        middle = parent.mapToGlobal(parent.rect().center())
        self.move(middle.x() - width // 2, parent.mapToGlobal(parent.rect().topLeft()).y() + 64)
