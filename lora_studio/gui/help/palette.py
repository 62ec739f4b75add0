"""One line to type in, and under it what fits: by keyboard alone, from anywhere."""

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

from lora_studio.gui.help.command_search import KIND_WORDS, SearchEntry, find
from lora_studio.gui.language import tr
from lora_studio.gui.theme import Size, Spacing, body_font, color
from lora_studio.gui.widgets.basics import label

_WIDTH, _ROWS = 620, 9

_Index = QModelIndex | QPersistentModelIndex


class _Found(QAbstractListModel):
    """What fits, as a list; screen readers get the whole line."""

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
                return entry.detail
            case Qt.ItemDataRole.AccessibleTextRole:
                parts = (entry.title, tr(KIND_WORDS[entry.kind]), entry.place, entry.keys)
                return ", ".join(part for part in parts if part)
        return None


class _Line(QStyledItemDelegate):
    """Title and detail at the left, keys or kind at the right."""

    def sizeHint(self, option: QStyleOptionViewItem, index: _Index) -> QSize:
        """Two lines of text."""
        metrics = option.fontMetrics
        return QSize(_WIDTH, 2 * metrics.height() + Spacing.M)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        """Draws one entry."""
        entry: SearchEntry = index.data(Qt.ItemDataRole.UserRole)
        area: QRect = option.rect
        painter.save()
        if option.state & QStyle.StateFlag.State_Selected:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(color("selected"))
            painter.drawRoundedRect(area.adjusted(1, 1, -1, -1), 6, 6)
        inner = area.adjusted(Spacing.M, Spacing.XS, -Spacing.M, -Spacing.XS)
        side = entry.keys or " · ".join(
            part for part in (entry.place, tr(KIND_WORDS[entry.kind])) if part
        )
        painter.setFont(body_font(Size.CAPTION))
        painter.setPen(color("muted"))
        width = painter.fontMetrics().horizontalAdvance(side)
        top = inner.height() // 2
        upper = QRect(
            inner.left(), inner.top(), inner.width(), top if entry.detail else inner.height()
        )
        lower = QRect(inner.left(), inner.top() + top, inner.width(), inner.height() - top)
        # The painter takes left for right by itself where lines run from right to left.
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
    """Closes when something is chosen, with Esc, or with a click beside it."""

    def __init__(self, entries: Sequence[SearchEntry], parent: QWidget) -> None:
        """Over the upper part of `parent`; shows everything until something is typed."""
        super().__init__(parent, Qt.WindowType.Dialog | Qt.WindowType.FramelessWindowHint)
        self.setWindowTitle(tr("Find anything"))
        self.setProperty("surface", "palette")
        self.setModal(True)
        self._entries, self._over = list(entries), parent
        self.line = QLineEdit(placeholderText=tr("Find a setting, a command, a page or a project"))
        self.line.setAccessibleName(tr("Find anything"))
        self.list = QListView(uniformItemSizes=True)
        self.list.setAccessibleName(tr("What was found"))
        self.list.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._model = _Found(self)
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
        self.line.installEventFilter(self)
        self.list.clicked.connect(self._take)
        self.finished.connect(self.deleteLater)
        self._search("")
        self._place(parent)

    @property
    def found(self) -> list[SearchEntry]:
        """What fits, the best first."""
        return self._model.entries

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """The keys that move in the list work while the line has the focus."""
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            steps = {Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1, Qt.Key.Key_PageDown: _ROWS, Qt.Key.Key_PageUp: -_ROWS}  # fmt: skip
            key = Qt.Key(event.key())
            if key in steps:
                self._move(steps[key], around=abs(steps[key]) == 1)
                return True
            if key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                self._take(self.list.currentIndex())
                return True
        return super().eventFilter(watched, event)

    def _search(self, typed: str) -> None:
        self._model.show(find(self._entries, typed))
        found = bool(self.found)
        self.list.setVisible(found)
        self.nothing.setVisible(not found)
        self.nothing.setText(
            tr("Nothing here is called “{typed}”. Try another word for it.").format(typed=typed)
        )
        if found:
            self.list.setCurrentIndex(self._model.index(0, 0))

    def _move(self, by: int, *, around: bool) -> None:
        count = len(self.found)
        if count:
            target = self.list.currentIndex().row() + by
            target = target % count if around else max(0, min(count - 1, target))
            self.list.setCurrentIndex(self._model.index(target, 0))

    def _take(self, index: QModelIndex) -> None:
        if not index.isValid():
            return
        entry = self.found[index.row()]
        self.accept()
        QTimer.singleShot(0, self._over, entry.go)  # the focus has gone back to the window

    def _place(self, parent: QWidget) -> None:
        metrics = self.fontMetrics()
        height = _ROWS * (2 * metrics.height() + Spacing.M) + 80
        width = min(Size.scaled(_WIDTH), parent.width() - 2 * Spacing.XL)
        self.setFixedSize(width, min(height, parent.height() - 2 * Spacing.XL))
        middle = parent.mapToGlobal(parent.rect().center())
        self.move(middle.x() - width // 2, parent.mapToGlobal(parent.rect().topLeft()).y() + 64)
