"""Two parts side by side: stacked if the window is narrow, or with a movable divider."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QSize, Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QLayout, QSplitter, QWidget

from lora_studio.gui.text_size import Size
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import column

#: Qt's QWIDGETSIZE_MAX: no limit.
_WIDEST = 16_777_215


class ResponsiveColumns(QWidget):
    """Two widgets or layouts, aligned at the top."""

    def __init__(
        self,
        left: QWidget | QLayout,
        right: QWidget | QLayout,
        stretch: tuple[int, int] = (1, 1),
        *,
        right_width: int = 0,
        parent: QWidget | None = None,
    ) -> None:
        """Create the columns; `stretch` divides the width, 0 takes the minimum.

        `right_width` is the width of the right part in pixels at a text size of 100 %. Below the left
        part, the right one uses the full width.
        """
        super().__init__(parent)
        self._parts = [_to_widget(left), _to_widget(right)]
        self._box = QBoxLayout(QBoxLayout.Direction.LeftToRight, self)
        self._box.setContentsMargins(0, 0, 0, 0)
        self._box.setSpacing(Spacing.L)
        self._right_width = right_width
        for part, share in zip(self._parts, stretch, strict=True):
            self._box.addWidget(part, share)

    def minimumSizeHint(self) -> QSize:
        """Return the width of the wider part."""
        left, right = self._list_widths()
        return QSize(max(left, self._count_columns() or right), self._box.minimumSize().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Rearrange the columns."""
        super().resizeEvent(event)
        self._arrange()

    def event(self, event: QEvent) -> bool:
        """Rearrange the columns when a part changes its size."""
        handled = super().event(event)
        if event.type() == QEvent.Type.LayoutRequest:
            self._arrange()
        return handled

    def _arrange(self) -> None:
        left, right = self._list_widths()
        needed = left + (self._count_columns() or right) + self._box.spacing()
        fits = self.width() >= needed
        direction = QBoxLayout.Direction.LeftToRight if fits else QBoxLayout.Direction.TopToBottom
        if direction != self._box.direction():
            self._box.setDirection(direction)
            self.updateGeometry()
        if self._right_width:
            # A fixed width below the left part would get too little height, because wrapped text is
            # measured at the full width.
            if fits:
                self._parts[1].setFixedWidth(self._count_columns())
            else:
                _release(self._parts[1])

    def _count_columns(self) -> int:
        return Size.scaled(self._right_width)

    def _list_widths(self) -> list[int]:
        return [
            part.minimumSizeHint().expandedTo(part.minimumSize()).width() for part in self._parts
        ]


def make_splitter(
    orientation: Qt.Orientation, first: QWidget, second: QWidget, shares: tuple[int, int]
) -> QSplitter:
    """Return two parts with a movable divider between them and a margin on each side of it.

    `shares` are the stretch factors.
    """
    splitter = QSplitter(orientation)
    splitter.setHandleWidth(1)
    splitter.setChildrenCollapsible(False)
    horizontal = orientation == Qt.Orientation.Horizontal
    for number, part in enumerate((first, second)):
        holder = QWidget()
        layout = column(part)
        before, after = (Spacing.M, 0) if number else (0, Spacing.M)
        layout.setContentsMargins(
            before if horizontal else 0, 0 if horizontal else before,
            after if horizontal else 0, 0 if horizontal else after,
        )  # fmt: skip
        holder.setLayout(layout)
        splitter.addWidget(holder)
        splitter.setStretchFactor(number, shares[number])
    return splitter


def _release(part: QWidget) -> None:
    part.setMinimumWidth(0)
    part.setMaximumWidth(_WIDEST)


def _to_widget(part: QWidget | QLayout) -> QWidget:
    if isinstance(part, QWidget):
        return part
    holder = QWidget()
    part.setContentsMargins(0, 0, 0, 0)
    holder.setLayout(part)
    return holder
