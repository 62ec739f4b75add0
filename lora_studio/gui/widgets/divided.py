"""Two parts with a line between them that can be moved."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QSplitter, QWidget

from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import column


def divided(
    orientation: Qt.Orientation, first: QWidget, second: QWidget, shares: tuple[int, int]
) -> QSplitter:
    """Both parts at a distance from the line, from right to left where the window is; `shares` say who
    gets what room there is more."""
    split = QSplitter(orientation)
    split.setHandleWidth(1)
    split.setChildrenCollapsible(False)
    across = orientation == Qt.Orientation.Horizontal
    for number, part in enumerate((first, second)):
        holder = QWidget()
        inside = column(part)
        before, after = (Spacing.M, 0) if number else (0, Spacing.M)
        if across and QGuiApplication.isRightToLeft():
            before, after = after, before
        inside.setContentsMargins(
            before if across else 0, 0 if across else before,
            after if across else 0, 0 if across else after,
        )  # fmt: skip
        holder.setLayout(inside)
        split.addWidget(holder)
        split.setStretchFactor(number, shares[number])
    return split
