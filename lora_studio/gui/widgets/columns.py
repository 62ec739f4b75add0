"""Two parts side by side, or one below the other where the window is too narrow for that."""

from __future__ import annotations

from PySide6.QtCore import QSize
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QLayout, QWidget

from lora_studio.gui.theme import Space


class Columns(QWidget):
    """Keeps the upper edges in line; either part may be a widget or a layout."""

    def __init__(
        self,
        left: QWidget | QLayout,
        right: QWidget | QLayout,
        stretch: tuple[int, int] = (1, 1),
        parent: QWidget | None = None,
    ) -> None:
        """`stretch` divides the width; a part with 0 takes only what it needs."""
        super().__init__(parent)
        self._parts = [_widget(left), _widget(right)]
        self._box = QBoxLayout(QBoxLayout.Direction.LeftToRight, self)
        self._box.setContentsMargins(0, 0, 0, 0)
        self._box.setSpacing(Space.L)
        for part, share in zip(self._parts, stretch, strict=True):
            self._box.addWidget(part, share)

    def is_stacked(self) -> bool:
        """Whether the parts stand one below the other."""
        return self._box.direction() == QBoxLayout.Direction.TopToBottom

    def minimumSizeHint(self) -> QSize:
        """The wider of the two: below that nothing helps."""
        hints = [part.minimumSizeHint().expandedTo(part.minimumSize()) for part in self._parts]
        return QSize(max(hint.width() for hint in hints), self._box.minimumSize().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Side by side as soon as both fit."""
        super().resizeEvent(event)
        hints = [part.minimumSizeHint().expandedTo(part.minimumSize()) for part in self._parts]
        needed = sum(hint.width() for hint in hints) + self._box.spacing()
        fits = event.size().width() >= needed
        direction = QBoxLayout.Direction.LeftToRight if fits else QBoxLayout.Direction.TopToBottom
        if direction != self._box.direction():
            self._box.setDirection(direction)
            self.updateGeometry()


def _widget(part: QWidget | QLayout) -> QWidget:
    if isinstance(part, QWidget):
        return part
    made = QWidget()
    part.setContentsMargins(0, 0, 0, 0)
    made.setLayout(part)
    return made
