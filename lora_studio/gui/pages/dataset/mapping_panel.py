"""Editor of a source's format and of the column or template that fills each of its fields."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, cast, get_args

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QGridLayout, QLabel, QWidget

from lora_studio.core import formatting
from lora_studio.core.dataset.formats.detection import convert
from lora_studio.core.dataset.formats.mapping import SPEAKER
from lora_studio.core.dataset.samples import UnusableRow
from lora_studio.core.dataset.spec import FORMATS, RowFormat
from lora_studio.core.protocol import events
from lora_studio.gui.controls.choices import ComboControl
from lora_studio.gui.controls.controls import LineEdit
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.pages.dataset.conversation import MessagesView
from lora_studio.gui.pages.dataset.slot_editor import SlotEditor
from lora_studio.gui.project.data_sources import Plain, is_hub
from lora_studio.gui.text_size import set_scaled_sizes
from lora_studio.gui.theme import Role, Spacing
from lora_studio.gui.widgets.basics import button, column, label, row, separator
from lora_studio.gui.widgets.glyph import StatusLabel

_AUTO = "auto"
#: Rows that are shown as chats, and the height of each in pixels.
_CHATS, _CHAT_HEIGHT = 3, 130
_HUB = {"subset": mark("Subset"), "split": mark("Split"), "revision": mark("Revision")}
_HUB_DEFAULTS = {"subset": "", "split": "train", "revision": "main"}


class MappingPanel(QWidget):
    """A list of formats, the fields of the selected one, and the first rows as chats.

    Signals:
        changed(dict): fields of the source, such as "format" and "mapping", with new values.
    """

    changed = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create an empty panel."""
        super().__init__(parent)
        self._source: Plain = {}
        self._detected: events.SourceFound | None = None
        self.format = ComboControl({_AUTO: tr("Auto-detect")})
        self.format.box.setAccessibleName(tr("Format of this source"))
        self.slots: dict[str, SlotEditor] = {}
        self._names: dict[str, QLabel] = {}
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(Spacing.M)
        self._grid.setVerticalSpacing(Spacing.S)
        self._grid.setColumnStretch(1, 1)
        self.others = button("", self._show_others, kind="link")
        self._all = False  # whether empty optional slots are shown
        self.reset = button(tr("Reset mapping"), self._reset, kind="link")
        self.note = StatusLabel()
        self.chats = [
            MessagesView(tr("Row {number} with this mapping").format(number=number))
            for number in range(1, _CHATS + 1)
        ]
        self.hub = {name: LineEdit() for name in _HUB}
        self.hub_row = QWidget()
        self._build()

    def _build(self) -> None:
        title = label(tr("Format"), "label")
        title.setBuddy(self.format.box)
        fields = []
        for name, words_ in _HUB.items():
            field = self.hub[name]
            field.setAccessibleName(tr(words_))
            set_scaled_sizes(field, width=140)
            field.connect_keys(self._on_hub_typed, self._show_hub)
            fields += [label(tr(words_), "caption"), field]
        self.hub_row.setLayout(row(*fields, None))
        chats = row(*self.chats)
        for number, chat in enumerate(self.chats):
            set_scaled_sizes(chat, height=_CHAT_HEIGHT)
            chats.setStretch(number, 1)
        layout = column(
            separator(), self.hub_row, row(title, self.format, self.reset, None), self._grid, self.others,
            self.note, chats,
            spacing=Spacing.S,
        )  # fmt: skip
        layout.setContentsMargins(0, Spacing.S, 0, Spacing.XS)
        self.setLayout(layout)
        self.format.edited.connect(self._format_chosen)

    # --- what is shown ------------------------------------------------------------------------

    def show_source(self, source: Plain, detected: events.SourceFound | None) -> None:
        """Show a source with its columns and its detected mapping."""
        self._source, self._detected = source, detected
        self.hub_row.setVisible(is_hub(source))
        for name, field in self.hub.items():
            if not field.hasFocus():
                field.setText(self._list_hub_values()[name])
        self.format.set_choices(_list_formats(detected))
        self.format.show_value(source.get("format", _AUTO))
        self.reset.setVisible(bool(source.get("mapping")) or source.get("format", _AUTO) != _AUTO)
        self._show_slots()

    def commit(self) -> None:
        """Apply what is being typed."""
        if is_hub(self._source):
            self._on_hub_typed()
        for slot in self.slots.values():
            slot.commit()

    def mapping(self) -> dict[str, str]:
        """Return the column or template of each field; empty fields are omitted."""
        detected = (
            self._detected.mapping
            if self._detected and self._detected.format == self._format
            else {}
        )
        user_mapping = self._source.get("mapping")
        return {**detected, **user_mapping} if isinstance(user_mapping, dict) else dict(detected)

    @property
    def _format(self) -> RowFormat | None:
        chosen = self._source.get("format", _AUTO)
        if chosen in FORMATS:
            return cast(RowFormat, chosen)
        return self._detected.format if self._detected else None

    def _show_slots(self) -> None:
        slot_names = FORMATS[self._format].slots if self._format else ()
        names = [slot.rstrip("*") for slot in slot_names]
        if list(self.slots) != names:
            self._make_slots(slot_names)
        columns = self._detected.columns if self._detected else ()
        filled, rows = self.mapping(), _read_examples(self._detected)
        first = rows[0] if rows else {}
        people = self._detected.people if self._detected else ()
        for name, slot in self.slots.items():
            choices = people if name == SPEAKER else columns
            slot.show_value(str(filled.get(name, "")), choices, first)
        self._hide_optional_slots(filled)
        self.note.set_status(*self._check_first_row(first, filled))
        self._show_chats(rows, filled)

    def _show_chats(self, rows: Sequence[Mapping[str, Any]], mapping: Mapping[str, str]) -> None:
        """Show the first rows as the mapping reads them."""
        for number, chat in enumerate(self.chats):
            sample = None
            if self._format is not None and number < len(rows):
                with suppress(UnusableRow):
                    sample = convert(rows[number], self._format, mapping)
            chat.setVisible(sample is not None)
            if sample is not None:
                chat.show_messages((*sample.messages, *sample.chosen), sample.text)

    def _check_first_row(
        self, first: Mapping[str, Any], mapping: Mapping[str, str]
    ) -> tuple[str, Role]:
        """Return a sentence on whether the first row is usable, and its color role."""
        if self._format is None:
            return tr("Select a format to map its fields to columns."), "muted"
        if first:
            try:
                convert(first, self._format, mapping)
            except UnusableRow as fault:
                return tr("With this mapping, the first row is skipped: {reason}.").format(
                    reason=localize(fault.reason)
                ), "warn"
        return tr(
            "Map each field to a column, or to a template such as {question}\\n{context}."
        ), "muted"

    def _hide_optional_slots(self, filled: Mapping[str, str]) -> None:
        """Hide fields that are neither required nor mapped behind a link that names them."""
        unused = [
            name for name, slot in self.slots.items() if not slot.needed and name not in filled
        ]
        for name, slot in self.slots.items():
            is_visible = self._all or name not in unused
            slot.setVisible(is_visible)
            self._names[name].setVisible(is_visible)
        self.others.setVisible(bool(unused) and not self._all)
        self.others.setText(
            tr("Show optional fields: {fields}").format(
                fields=formatting.join_names(unused, tr("and"))
            )
        )

    def _show_others(self) -> None:
        self._all = True
        self._hide_optional_slots(self.mapping())

    def _make_slots(self, wanted: tuple[str, ...]) -> None:
        for widget in (*self.slots.values(), *self._names.values()):
            self._grid.removeWidget(widget)
            widget.hide()
            widget.deleteLater()
        self.slots, self._names, self._all = {}, {}, False
        for number, spelled in enumerate(wanted):
            name = spelled.rstrip("*")
            needed = spelled.endswith("*")
            slot = SlotEditor(name, needed=needed)
            slot.changed.connect(self._on_slot_changed)
            title = label(
                tr("{name} (required)").format(name=name) if needed else name,
                "label" if needed else "muted",
            )
            title.setBuddy(slot.combo)
            self._grid.addWidget(title, number, 0, Qt.AlignmentFlag.AlignTop)
            title.setMinimumHeight(slot.combo.sizeHint().height())
            self._grid.addWidget(slot, number, 1)
            self.slots[name], self._names[name] = slot, title

    # --- what the user does -------------------------------------------------------------------

    def _format_chosen(self, value: object) -> None:
        self.changed.emit({"format": value, "mapping": {}})

    def _on_slot_changed(self, name: str, value: str) -> None:
        """Store the whole mapping with its format, so that a new detection doesn't change it.

        A detected field that the user clears stays in the mapping as "".
        """
        detected = self._detected.mapping if self._detected else {}
        mapping = self.mapping() | {name: value}
        slots = {slot: filled for slot, filled in mapping.items() if filled or slot in detected}
        self.changed.emit({"format": self._format or _AUTO, "mapping": slots})

    def _reset(self) -> None:
        self.changed.emit({"format": _AUTO, "mapping": {}})

    def _on_hub_typed(self) -> None:
        typed = {name: field.text().strip() for name, field in self.hub.items()}
        typed = {name: value or _HUB_DEFAULTS[name] for name, value in typed.items()}
        if typed != self._list_hub_values():
            self.changed.emit(typed)

    def _list_hub_values(self) -> dict[str, str]:
        return {
            name: str(self._source.get(name, default)) for name, default in _HUB_DEFAULTS.items()
        }

    def _show_hub(self) -> None:
        for name, value in self._list_hub_values().items():
            self.hub[name].setText(value)


def _list_formats(detected: events.SourceFound | None) -> dict[str, str]:
    """Return format titles: the detected format first, then others that match, then the rest."""
    row_format = detected.format if detected else None
    title = (
        tr("Detected: {format}").format(format=tr(FORMATS[row_format].title))
        if row_format
        else tr("Auto-detect")
    )
    likely = detected.others if detected else ()
    rest = [name for name in get_args(RowFormat) if name not in likely]
    choices: dict[str, str] = {_AUTO: title}
    choices |= {
        name: tr("{format} (also matches)").format(format=tr(FORMATS[name].title))
        for name in likely
    }
    return choices | {name: tr(FORMATS[name].title) for name in rest}


def _read_examples(detected: events.SourceFound | None) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = []
    for example in detected.examples if detected else ():
        with suppress(ValueError):
            values = json.loads(example)
            if isinstance(values, dict):
                rows.append(values)
    return rows
