"""A titled group of editors in two columns."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QWidget

from lora_studio.gui.controls.field_editor import FieldEditor
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import column, label


class FieldGroup(QWidget):
    """Lays out its visible editors without gaps."""

    def __init__(self, title: str, editors: Sequence[FieldEditor]) -> None:
        """Show all editors; without a `title` there is no heading."""
        super().__init__()
        self._editors = list(editors)
        self._shown: list[FieldEditor] = []
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(Spacing.XL)
        self._grid.setVerticalSpacing(Spacing.L)
        self._grid.setColumnStretch(0, 1)
        self._grid.setColumnStretch(1, 1)
        head = [label(title, "section")] if title else []
        self.setLayout(column(*head, self._grid, spacing=Spacing.S))
        for editor in self._editors:
            editor.setParent(self)
        self.show_only([editor.field for editor in self._editors])

    def show_only(self, fields: Collection[str]) -> None:
        """Show the editors of these fields and hide the others."""
        names = set(fields)
        shown = [editor for editor in self._editors if editor.field in names]
        if shown == self._shown:
            return
        self._shown = shown
        for editor in self._editors:
            self._grid.removeWidget(editor)
            editor.setVisible(editor in shown)
        for index, editor in enumerate(shown):
            row_index, column_index = divmod(index, 2)
            self._grid.addWidget(editor, row_index, column_index, Qt.AlignmentFlag.AlignTop)
