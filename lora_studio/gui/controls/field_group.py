"""A titled group of editors in two columns, or across both."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QWidget

from lora_studio.gui.controls.field_editor import FieldEditor
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import column, label, set_visible


class FieldGroup(QWidget):
    """Lays out its visible editors without gaps."""

    def __init__(
        self, title: str, editors: Sequence[FieldEditor], *, wide: Collection[str] = ()
    ) -> None:
        """Show all editors, fields in `wide` across both columns; without a `title` there is no heading."""
        super().__init__()
        self._wide = set(wide)
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
            set_visible(editor, editor in shown)
        cell = 0
        for editor in shown:
            width = 2 if editor.field in self._wide else 1
            cell += cell % 2 if width == 2 else 0
            self._grid.addWidget(editor, *divmod(cell, 2), 1, width, Qt.AlignmentFlag.AlignTop)
            cell += width
