"""A list of models: name, size, parameters and license, and a bar that shows how each fits the
device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import (
    QAbstractListModel,
    QModelIndex,
    QPersistentModelIndex,
    QRect,
    QRectF,
    QSize,
    Qt,
    Signal,
)
from PySide6.QtGui import QKeyEvent, QMouseEvent, QPainter, QPainterPath
from PySide6.QtWidgets import (
    QAbstractItemView,
    QListView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from lora_studio.core import formatting
from lora_studio.core.memory.model_fit import ModelFit
from lora_studio.core.model.catalog import ModelEntry
from lora_studio.gui import theme
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.text_size import Size
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.tooltips import plain_tip

_BAR, _BAR_WIDTH = 6, 112
_Index = QModelIndex | QPersistentModelIndex

#: A model, and how well it fits; None while no device is known.
Line = tuple[ModelEntry, ModelFit | None]

_ENTRY = Qt.ItemDataRole.UserRole

#: Share of the free memory from which even small micro-batches barely fit.
_TIGHT = 0.8
_PRECISIONS = {"auto": mark("16-bit"), "8bit": mark("8-bit"), "4bit": mark("4-bit")}


def describe(entry: ModelEntry, *, brief: bool = False) -> str:
    """Return size, parameters, license and downloads in one line, or why the model isn't
    supported.
    """
    if entry.refusal:
        return localize(entry.refusal)
    parts = [
        tr("{count} parameters").format(count=formatting.format_count(entry.parameters))
        if entry.parameters
        else "",
        formatting.format_size(entry.bytes) if entry.bytes else "",
        entry.license,
        tr("gated") if entry.gated else "",
        _format_downloads(entry.downloads, brief=brief)
        if entry.downloads is not None
        else entry.stored,
    ]
    return " · ".join(part for part in parts if part)


def _format_downloads(number: int, *, brief: bool) -> str:
    count = formatting.format_count(number)
    return f"↓ {count}" if brief else tr("{count} downloads").format(count=count)


def judge_fit(entry: ModelEntry, fit: ModelFit | None) -> tuple[str, theme.Role]:
    """Return whether training with a model fits, in a word or two, and its color role."""
    if entry.refusal:
        return tr("not supported"), "muted"
    if entry.missing:
        return tr("incomplete"), "warn"
    if fit is None:
        return "", "muted"
    if not fit.fits:
        return tr("too large"), "error"
    if fit.eased and fit.share > _TIGHT:
        return tr("{bits}, tight").format(bits=tr(_PRECISIONS[fit.precision])), "ok"
    return tr("fits in {bits}").format(bits=tr(_PRECISIONS[fit.precision])), "ok"


class ModelList(QListView):
    """A list in which arrow keys move, and Enter or a click selects. Unsupported models can't be selected.

    Signals:
        chosen(ModelEntry): use this model as the base model.
        confirmed: the user double-clicked the chosen model, to use it and continue.
    """

    chosen = Signal(object)
    confirmed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create an empty list."""
        super().__init__(parent)
        self.lines = _Lines(self)
        self.setModel(self.lines)
        self.setItemDelegate(_Delegate(self))
        self.setAccessibleName(tr("Models"))
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setMouseTracking(True)
        self.clicked.connect(self._choose)
        theme.get_theme().changed.connect(self.viewport().update)

    def show_models(self, lines: Sequence[Line], current: str = "") -> None:
        """Replace all entries and select the one whose source is `current`."""
        self.lines.replace(lines)
        row_index = next((i for i, (entry, _) in enumerate(lines) if entry.source == current), -1)
        index = self.lines.index(row_index) if row_index >= 0 else QModelIndex()
        self.setCurrentIndex(index)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Confirm the model that the first click has chosen; Qt's own signal is lost with the new list."""
        super().mouseDoubleClickEvent(event)
        line = self.indexAt(event.position().toPoint()).data(_ENTRY)
        if event.button() == Qt.MouseButton.LeftButton and line and line[0].is_usable:
            self.confirmed.emit()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Select the current model with Enter or Space."""
        keys = (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space)
        if event.key() in keys and not event.modifiers():
            self._choose(self.currentIndex())
        else:
            super().keyPressEvent(event)

    def _choose(self, index: QModelIndex) -> None:
        line = index.data(_ENTRY) if index.isValid() else None
        if line is not None and line[0].is_usable:
            self.chosen.emit(line[0])


class _Lines(QAbstractListModel):
    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._lines: list[Line] = []

    def replace(self, lines: Sequence[Line]) -> None:
        self.beginResetModel()
        self._lines = list(lines)
        self.endResetModel()

    def rowCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: B008 - Qt's own signature
        return 0 if parent.isValid() else len(self._lines)

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if not 0 <= index.row() < len(self._lines):
            return None
        entry, fit = self._lines[index.row()]
        if role == _ENTRY:
            return entry, fit
        if role == Qt.ItemDataRole.DisplayRole:
            return entry.title
        if role == Qt.ItemDataRole.AccessibleTextRole:
            texts = (entry.title, describe(entry), judge_fit(entry, fit)[0])
            return ", ".join(part for part in texts if part)
        if role == Qt.ItemDataRole.ToolTipRole:
            return plain_tip(_format_tooltip(entry, fit))
        return None


def _format_tooltip(entry: ModelEntry, fit: ModelFit | None) -> str:
    lines = [entry.title, describe(entry)]
    if fit is not None and not entry.refusal:
        needed, free = formatting.format_memory(fit.needed), formatting.format_memory(fit.available)
        least = (
            tr("Training needs at least {needed} of memory in {bits}; {free} is free.")
            if fit.eased
            else tr("Training needs {needed} of memory in {bits}; {free} is free.")
        )
        lines.append(least.format(needed=needed, bits=tr(_PRECISIONS[fit.precision]), free=free))
    if entry.why:
        lines.append(localize(entry.why))
    return "\n".join(lines)


def _measure_why() -> int:
    """Return the height of the line that says what a recommended model is for, in pixels."""
    return int(Size.CAPTION) + Spacing.S


class _Delegate(QStyledItemDelegate):
    """Paint name and facts, what a recommended model is for, and on the right the verdict above its bar."""

    def sizeHint(self, option: QStyleOptionViewItem, index: _Index) -> QSize:
        height = Size.BODY + Size.CAPTION + 28
        return QSize(200, height + (_measure_why() if index.data(_ENTRY)[0].why else 0))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        entry, fit = index.data(_ENTRY)
        # PySide's type stubs lack the attributes of `option`, which Qt sets.
        rect: QRect = option.rect
        state: QStyle.StateFlag = option.state
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self._paint_background(painter, rect, state)
        inner = rect.adjusted(Spacing.M, Spacing.S, -Spacing.M, -Spacing.S)
        if entry.why:
            inner.setBottom(inner.bottom() - _measure_why())
            below = QRect(inner.left(), inner.bottom(), inner.width(), _measure_why())
            self._paint_text(
                painter, below, localize(entry.why), "text", Qt.AlignmentFlag.AlignLeft, 1
            )
        width = Size.scaled(_BAR_WIDTH)
        side = QRect(inner.right() - width + 1, inner.top(), width, inner.height())
        left = inner.adjusted(0, 0, -width - Spacing.M, 0)
        start, end = Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight
        text, role = judge_fit(entry, fit)
        title_area = inner if entry.refusal or not text else left  # no bar next to it
        self._paint_text(
            painter,
            title_area if not text else left,
            entry.title,
            "muted" if entry.refusal else "text",
            start,
            0,
        )
        self._paint_text(painter, title_area, describe(entry, brief=True), "muted", start, 1)
        self._paint_text(painter, side, text, role, end, 0)
        if fit is not None and not entry.refusal and not entry.missing:
            self._paint_bar(painter, side, fit, role)
        painter.restore()

    def _paint_background(self, painter: QPainter, rect: QRect, state: QStyle.StateFlag) -> None:
        selected = bool(state & QStyle.StateFlag.State_Selected)
        hovered = bool(state & QStyle.StateFlag.State_MouseOver)
        tint = theme.color("accent")
        if selected or hovered:
            tint.setAlpha(38 if selected else 16)
            painter.fillRect(rect, tint)
        if state & QStyle.StateFlag.State_HasFocus:
            painter.setPen(theme.color("accent"))
            painter.drawRect(rect.adjusted(0, 0, -1, -1))
        painter.setPen(theme.color("line"))
        painter.drawLine(rect.bottomLeft(), rect.bottomRight())

    def _paint_text(
        self,
        painter: QPainter,
        room: QRect,
        text: str,
        role: str,
        side: Qt.AlignmentFlag,
        line: int,
    ) -> None:
        painter.setFont(theme.body_font(Size.CAPTION if line else Size.BODY))
        painter.setPen(theme.color(role))
        metrics = painter.fontMetrics()
        cut = Qt.TextElideMode.ElideRight if line else Qt.TextElideMode.ElideMiddle
        elided = metrics.elidedText(text, cut, room.width())
        upright = Qt.AlignmentFlag.AlignBottom if line else Qt.AlignmentFlag.AlignTop
        painter.drawText(room, int(side | upright), elided)

    def _paint_bar(self, painter: QPainter, room: QRect, fit: ModelFit, role: str) -> None:
        track = QRectF(room.left(), room.bottom() - _BAR - 2, room.width(), _BAR)
        path = QPainterPath()
        path.addRoundedRect(track, _BAR / 2, _BAR / 2)
        painter.fillPath(path, theme.color("line"))
        filled = QRectF(track)
        filled.setWidth(track.width() * min(1.0, max(0.02, fit.share)))
        painter.setClipPath(path)
        painter.fillRect(filled, theme.color(role))
        painter.setClipping(False)
