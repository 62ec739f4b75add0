"""What all tables of whole rows have in common."""

from __future__ import annotations

from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView

from lora_studio.gui.text_size import Size

#: Height of a row at 100 %, in pixels.
ROW = 30


def set_up(table: QTableView) -> None:
    """Whole rows are chosen, one at a time, by mouse or arrow keys; Tab leaves the table.

    No grid, no numbers at the left, rows of one height that grows with the text.
    """
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setShowGrid(False)
    table.setTabKeyNavigation(False)
    table.setWordWrap(False)
    table.verticalHeader().hide()
    table.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
    table.verticalHeader().setDefaultSectionSize(Size.grown(ROW))
    table.horizontalHeader().setHighlightSections(False)
