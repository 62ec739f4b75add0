"""Editor of one field of a format: a column, or a template with columns in braces."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from lora_studio.core.dataset.formats import mapping
from lora_studio.gui.controls.choices import ComboControl
from lora_studio.gui.controls.controls import LineEdit
from lora_studio.gui.language import tr
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import FlowLayout, button, column, row
from lora_studio.gui.widgets.glyph import ElidedLabel
from lora_studio.gui.widgets.tooltips import plain_tip

_NOTHING, _TEMPLATE = "", "\0template"
#: The notation for a line break in a template.
_NEW_LINE = "\\n"
#: Maximum number of characters of a value in the preview; more than fit in a line.
_SHOWN = 200


class SlotEditor(QWidget):
    """A list of columns, whose last entry opens a template editor with buttons that insert columns.

    Signals:
        changed(slot, value): the user selected a column, wrote a template or cleared the field.
    """

    changed = Signal(str, str)

    def __init__(self, name: str, *, needed: bool, parent: QWidget | None = None) -> None:
        """Create the editor; a `needed` field can't be cleared."""
        super().__init__(parent)
        self.name, self.needed = name, needed
        self._value = ""
        self._columns: tuple[str, ...] = ()
        self._first: Mapping[str, Any] = {}
        self.combo = ComboControl({})
        self.combo.box.setAccessibleName(tr("Column for {name}").format(name=name))
        self.line = LineEdit()
        self.line.setAccessibleName(tr("Template for {name}").format(name=name))
        self.line.setPlaceholderText(
            tr("Click columns to insert them, and type the text between them")
        )
        self.preview = ElidedLabel(role="muted")
        self.chips = QWidget()
        self._flow = FlowLayout(self.chips)
        self.combo.setFixedWidth(240)
        layout = column(row(self.combo, self.preview), self.line, self.chips, spacing=Spacing.XS)
        self.setLayout(layout)
        self.line.hide()
        self.chips.hide()
        self.combo.edited.connect(self._on_chosen)
        self.line.connect_keys(self.commit, self._show_template)
        self.line.textEdited.connect(lambda _: self._format_preview(self._get_text()))

    def show_value(self, value: str, columns: Sequence[str], first: Mapping[str, Any]) -> None:
        """Show what fills the field, the available columns, and the first row as a preview."""
        self._value, self._first = value, first
        choices = {} if self.needed and value else {_NOTHING: tr("not used")}
        choices |= {name: name for name in columns}
        self.combo.set_choices(choices | {_TEMPLATE: tr("Template…")})
        self.combo.box.setMinimumWidth(self.combo.width())
        if tuple(columns) != self._columns:
            self._columns = tuple(columns)
            self._make_chips()
        if not self.line.hasFocus():
            self._set_template(is_template(value, columns))
        self._format_preview(value)

    def commit(self) -> None:
        """Apply the template that is being typed."""
        if not self.line.isHidden() and (typed := self._get_text()) and typed != self._value:
            self._value = typed
            self.changed.emit(self.name, typed)

    # --- helpers ------------------------------------------------------------------------------

    def _set_template(self, on: bool) -> None:
        self.line.setVisible(on)
        self.chips.setVisible(on)
        self.combo.show_value(_TEMPLATE if on else self._value)
        if on:
            self._show_template()

    def _show_template(self) -> None:
        self.line.setText(self._value.replace("\n", _NEW_LINE))

    def _get_text(self) -> str:
        return self.line.text()

    def _on_chosen(self, value: str) -> None:
        if value == _TEMPLATE:
            self._value = f"{{{self._value}}}" if self._value in self._columns else self._value
            self._set_template(True)
            self.line.setFocus()
            self.line.end(False)
        else:
            self._set_template(False)
            self.combo.show_value(value)
            self.changed.emit(self.name, value)

    def _make_chips(self) -> None:
        while (item := self._flow.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        for name in (*self._columns, _NEW_LINE):
            title = tr("line break") if name == _NEW_LINE else name
            text = name if name == _NEW_LINE else f"{{{name}}}"
            chip = button(title, kind="")
            chip.setProperty("kind", "chip")
            chip.setToolTip(plain_tip(tr("Insert {text}").format(text=text)))
            chip.clicked.connect(self._make_inserter(text))
            self._flow.addWidget(chip)

    def _make_inserter(self, text: str) -> Any:
        def insert() -> None:
            self.line.insert(text)
            self.line.setFocus()
            self._format_preview(self._get_text())

        return insert

    def _format_preview(self, value: str) -> None:
        filled_slots = mapping.fill_slots(self._first, {self.name: value}) if value else {}
        self.preview.setText(_to_line(_to_text(filled_slots.get(self.name))))


def is_template(value: str, columns: Sequence[str]) -> bool:
    """Return whether a value is a template rather than the name of a column."""
    return value not in columns and "{" in value


def _to_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _to_line(text: str) -> str:
    return text[:_SHOWN].replace("\n", " ↵ ").strip()
