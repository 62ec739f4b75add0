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
#: Width in pixels at 100 % below which a splitter stacks its parts, and the height that they need then.
_NARROW, _STACKED_HEIGHT = 720, 480


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
    for number, part in enumerate((first, second)):
        holder = QWidget()
        holder.setLayout(column(part))
        splitter.addWidget(holder)
        splitter.setStretchFactor(number, shares[number])
    _set_margins(splitter)
    return splitter


class ResponsiveSplitter(QWidget):
    """Two parts with a movable divider: side by side, or below each other where there is little room."""

    def __init__(self, first: QWidget, second: QWidget, shares: tuple[int, int]) -> None:
        """Create the splitter; `shares` are the stretch factors."""
        super().__init__()
        self._splitter = make_splitter(Qt.Orientation.Horizontal, first, second, shares)
        layout = column(self._splitter)
        layout.setContentsMargins(0, 0, 0, 0)
        self.setLayout(layout)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Turn the splitter."""
        super().resizeEvent(event)
        is_narrow = self.width() < Size.scaled(_NARROW)
        orientation = Qt.Orientation.Vertical if is_narrow else Qt.Orientation.Horizontal
        if orientation != self._splitter.orientation():
            self._splitter.setOrientation(orientation)
            _set_margins(self._splitter)
            # Below each other, the parts need room of their own; the page scrolls.
            self.setMinimumHeight(Size.scaled(_STACKED_HEIGHT) if is_narrow else 0)


def _set_margins(splitter: QSplitter) -> None:
    """Keep a margin on each side of the divider."""
    is_horizontal = splitter.orientation() == Qt.Orientation.Horizontal
    for number in range(splitter.count()):
        before, after = (Spacing.M, 0) if number else (0, Spacing.M)
        holder = splitter.widget(number)
        layout = holder.layout() if holder is not None else None
        assert layout is not None
        layout.setContentsMargins(
            before if is_horizontal else 0, 0 if is_horizontal else before,
            after if is_horizontal else 0, 0 if is_horizontal else after,
        )  # fmt: skip


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
