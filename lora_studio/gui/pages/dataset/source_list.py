"""The sources of a dataset, one card each; added by drop, dialog, typing or from recent sources."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any, cast, get_args

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFileDialog, QFrame, QGridLayout, QLabel, QMenu, QVBoxLayout, QWidget

from lora_studio.core import formatting
from lora_studio.core.dataset.formats import columns as columns_module
from lora_studio.core.dataset.formats.columns import SPEAKER
from lora_studio.core.dataset.formats.detection import convert
from lora_studio.core.dataset.spec import FORMATS, RowFormat
from lora_studio.core.problems import Problem
from lora_studio.core.protocol import events
from lora_studio.core.tasks.samples import UnusableRow
from lora_studio.gui.controls.choices import ComboControl
from lora_studio.gui.controls.controls import Control, LineEdit
from lora_studio.gui.language import mark, tr, tr_n
from lora_studio.gui.message_translation import localize, localize_problem
from lora_studio.gui.pages.dataset.row_browser import MessagesView
from lora_studio.gui.project import data_sources
from lora_studio.gui.project.data_sources import Plain, get_weight, is_hub
from lora_studio.gui.text_size import set_scaled_sizes
from lora_studio.gui.theme import Role, Spacing, set_icon
from lora_studio.gui.widgets.basics import (
    FlowLayout,
    button,
    clear_layout,
    column,
    label,
    restyle,
    row,
    separator,
    tool_button,
)
from lora_studio.gui.widgets.file_dialogs import DIALOG_FOLDER
from lora_studio.gui.widgets.glyph import ElidedLabel, Glyph, StatusLabel
from lora_studio.gui.widgets.tooltips import plain_tip

_HINT = mark("File or folder path, or org/name on the Hub")
_EXAMPLE = mark(
    "Files: JSON, JSONL, CSV, TSV, Parquet, or text, optionally compressed. Formats: Alpaca, ShareGPT, "
    "messages, prompt and completion, question and answer, preference pairs, labeled answers, or "
    "plain text."
)


class SourceList(Control):
    """A list of sources with buttons to add more; a drop zone while it is empty.

    Signals:
        added(list[str]): new sources, as the project stores them.
    """

    added = Signal(object)

    def __init__(self, recent: Sequence[str] = (), parent: QWidget | None = None) -> None:
        """Create an empty list; paths inside `base`, the project's folder, are stored relative to
        it.
        """
        super().__init__(parent)
        self.base: Path | None = None
        self._value: Any = ()
        self._detected: tuple[events.SourceFound | None, ...] = ()
        self._busy = False
        self.cards: list[SourceCard] = []
        self.zone = QFrame()
        self.line = LineEdit()
        self.files = button(tr("Files…"), self._choose_files, icon="file")
        self.folder = button(tr("Folder…"), self._choose_folder, icon="folder")
        self.hub = button(tr("From the Hub"), self._type_hub_id, icon="search")
        self.recent = button(tr("Recent"), icon="sample")
        self.hint = label(
            tr("Drop files or folders anywhere on this page, or choose them."), wrap=True
        )
        self.example = label(tr(_EXAMPLE), "caption", wrap=True)
        self._list = QVBoxLayout()
        self._build()
        self.set_recent(recent)

    def _build(self) -> None:
        self.line.setPlaceholderText(tr(_HINT))
        self.line.setAccessibleName(tr("Add a file, folder, or Hub dataset"))
        self.line.setMinimumWidth(160)
        self.files.setToolTip(tr("Choose one or more data files (Ctrl+Shift+O)"))
        self.files.setShortcut("Ctrl+Shift+O")
        self.folder.setToolTip(tr("Choose a folder of data files"))
        self.hub.setToolTip(tr("Enter the ID of a dataset on the Hugging Face Hub"))
        self.recent.setToolTip(tr("Recently used sources"))
        self._list.setSpacing(Spacing.S)
        ways = row(self.line, self.files, self.folder, self.hub, self.recent)
        ways.setStretch(0, 1)
        inside = column(self._list, self.hint, ways, self.example, spacing=Spacing.S)
        inside.setContentsMargins(Spacing.CARD, Spacing.M, Spacing.CARD, Spacing.M)
        self.zone.setLayout(inside)
        self.zone.setProperty("surface", "drop")
        outer = column(self.zone)
        self.setLayout(outer)
        self.setFocusProxy(self.line)
        self.line.entered.connect(self.commit)
        self.line.reverted.connect(self.line.clear)
        self.line.setAcceptDrops(False)  # the page accepts drops anywhere

    # --- display ------------------------------------------------------------------------------

    def show_value(self, value: Any) -> None:
        """Show the sources of the project."""
        self._value = value
        sources = data_sources.to_plain(value)
        while len(self.cards) > len(sources):
            card = self.cards.pop()
            self._list.removeWidget(card)
            card.hide()
            card.deleteLater()
        while len(self.cards) < len(sources):
            self._add_card()
        self.hint.setVisible(not sources)
        self.example.setVisible(not sources)
        self._set("surface", "card" if sources else "drop")
        self._show_cards()

    def show_detected(self, detected: Sequence[events.SourceFound | None], *, busy: bool) -> None:
        """Show what was detected in each source, None if it isn't known yet."""
        if (tuple(detected), busy) != (self._detected, self._busy):
            self._detected, self._busy = tuple(detected), busy
            self._show_cards()

    def shows_problem(self, problem: Problem) -> bool:
        """Return whether the card of a source says it."""
        shown = (card.detected.problems for card in self.cards if card.detected is not None)
        return any(problem in problems for problems in shown)

    def set_recent(self, recent: Sequence[str]) -> None:
        """Offer recently used sources in a menu."""
        self.recent.setVisible(bool(recent))
        menu = QMenu(self.recent)
        for path in recent:
            menu.addAction(path, self._make_adder(path))
        previous_menu = self.recent.menu()
        self.recent.setMenu(menu)
        if previous_menu is not None:
            previous_menu.deleteLater()

    def set_hot(self, hot: bool) -> None:
        """Highlight the drop zone while files hover over the page."""
        self._set("hot", hot)

    def _show_cards(self) -> None:
        sources = data_sources.to_plain(self._value)
        for index, (card, source) in enumerate(zip(self.cards, sources, strict=True)):
            is_detected = index < len(self._detected) and len(self._detected) == len(sources)
            detected = self._detected[index] if is_detected else None
            missing = detected is None and self._is_missing(source)
            card.show_source(source, detected, busy=self._busy, missing=missing)

    def _is_missing(self, source: data_sources.Plain) -> bool:
        """Return whether a local source doesn't exist."""
        path = Path(source["path"]).expanduser()
        return not data_sources.is_hub(source) and not ((self.base or Path()) / path).exists()

    # --- user actions -------------------------------------------------------------------------

    def commit(self) -> None:
        """Add the path or ID that was typed, and apply what is being typed in a card."""
        typed = self.line.text().strip().strip("\"'")
        if typed:
            self.line.clear()
            self.add([typed])
        for card in list(self.cards):
            if card.isAncestorOf(self.focusWidget() or self):
                card.commit()

    def add_paths(self, paths: Iterable[Path]) -> None:
        """Add files and folders that were dropped or selected."""
        self.add([data_sources.to_stored_path(path, self.base) for path in paths])

    def add(self, paths: Sequence[str]) -> None:
        """Add paths and Hub IDs as sources, except existing ones."""
        old_sources = data_sources.to_plain(self._value)
        new_sources = data_sources.add_sources(self._value, paths)
        if len(new_sources) > len(old_sources):
            self.edited.emit(new_sources)
            self.added.emit([source["path"] for source in new_sources[len(old_sources) :]])
        self.left.emit()

    def _make_adder(self, path: str) -> Any:
        return lambda: (
            self.add_paths([Path(path)]) if Path(path).is_absolute() else self.add([path])
        )

    def _add_card(self) -> None:
        card = SourceCard()
        card.changed.connect(lambda fields: self._change_source(card, fields))
        card.removed.connect(lambda: self._remove(card))
        self.cards.append(card)
        self._list.addWidget(card)

    def _change_source(self, card: SourceCard, fields: dict[str, Any]) -> None:
        index = self.cards.index(card)
        self.edited.emit(data_sources.change_source(self._value, index, **fields))
        self.left.emit()

    def _remove(self, card: SourceCard) -> None:
        index = self.cards.index(card)
        self.line.setFocus(
            Qt.FocusReason.OtherFocusReason
        )  # the card is removed; keep the focus nearby
        self.edited.emit(data_sources.remove_source(self._value, index))
        self.left.emit()

    def _type_hub_id(self) -> None:
        self.line.setPlaceholderText(tr("org/name, for example HuggingFaceH4/no_robots"))
        self.line.setFocus(Qt.FocusReason.OtherFocusReason)

    def _choose_files(self) -> None:
        self._open_dialog(QFileDialog.FileMode.ExistingFiles)

    def _choose_folder(self) -> None:
        self._open_dialog(QFileDialog.FileMode.Directory)

    def _open_dialog(self, mode: QFileDialog.FileMode) -> None:
        dialog = QFileDialog(self.window(), tr("Add data"), DIALOG_FOLDER.get_folder())
        dialog.setFileMode(mode)
        if mode == QFileDialog.FileMode.ExistingFiles:
            data = tr("Datasets ({patterns})").format(patterns=data_sources.PATTERNS)
            dialog.setNameFilters([data, tr("All files (*)")])
        dialog.filesSelected.connect(lambda names: DIALOG_FOLDER.remember(names[0]))
        dialog.filesSelected.connect(lambda names: self.add_paths(map(Path, names)))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _set(self, name: str, value: object) -> None:
        if self.zone.property(name) != value:
            self.zone.setProperty(name, value)
            restyle(self.zone)


#: Minimum confidence of a format that is called certain, and of one that is called likely.
_SURE, _LIKELY = 0.95, 0.7
#: The warning about a mapping that was guessed.
_GUESSED = "dataset.guessed_columns"
#: The problem of columns that have to be mapped.
_UNKNOWN = "dataset.unknown_format"


class SourceCard(QFrame):
    """A card with two lines, and the mapping in a collapsible panel below.

    Signals:
        changed(dict): fields of the source with their new values.
        removed: remove this source.
    """

    changed = Signal(object)
    removed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create an empty card."""
        super().__init__(parent)
        self.setProperty("surface", "choice")
        self._source: Plain = {}
        self.detected: events.SourceFound | None = None
        self._guessed = ""  # the path for which the mapping was opened
        self._glyph = Glyph("file", "muted")
        self.name = ElidedLabel(role="label")
        self.holds = ElidedLabel(role="muted")
        self.weight = LineEdit()
        set_scaled_sizes(self.weight, width=64)
        self.opener = button(
            tr("Mapping"), self._toggle, kind="link", icon="chevron-right", role="accent"
        )
        self.opener.setCheckable(True)
        self.remove = tool_button("close", tr("Remove this source"), self.removed.emit)
        self.verdict = StatusLabel()
        self.problems = StatusLabel()
        self.panel = MappingPanel()
        self._build()

    def _build(self) -> None:
        tip = tr(
            "With weight 2, each row is used twice per epoch. With 0.5, half of the rows are used."
        )
        times = label(tr("Weight"), "caption")
        times.setBuddy(self.weight)
        self.weight.setToolTip(plain_tip(tip))
        self.weight.setAccessibleName(tr("Weight of this source"))
        self.weight.setAccessibleDescription(tip)
        head = row(
            self._glyph,
            self.name,
            self.holds,
            Spacing.S,
            times,
            self.weight,
            self.opener,
            self.remove,
        )
        head.setStretch(1, 1)
        head.setStretch(2, 2)
        self.holds.setAlignment(Qt.AlignmentFlag.AlignTrailing | Qt.AlignmentFlag.AlignVCenter)
        layout = column(head, self.verdict, self.problems, self.panel, spacing=Spacing.XS)
        layout.setContentsMargins(Spacing.M, Spacing.XS, Spacing.S, Spacing.S)
        self.setLayout(layout)
        self.panel.hide()
        self.problems.hide()
        self.weight.connect_keys(self._emit_weight, self._show_weight)
        self.panel.changed.connect(self.changed)

    # --- display ------------------------------------------------------------------------------

    def show_source(
        self,
        source: Plain,
        detected: events.SourceFound | None,
        *,
        busy: bool = False,
        missing: bool = False,
    ) -> None:
        """Show a source and its details; `busy` while it is read, `missing` if it doesn't exist.

        A mapping that is only a guess, or that has to be chosen, is opened once.
        """
        self._source, self.detected = source, detected
        path = str(source["path"])
        self._show_name(path, hub=is_hub(source))
        self._show_weight()
        self.holds.setText(_describe_content(detected))
        text, role = _describe_format(source, detected, busy)
        if missing:
            text = tr("File or folder not found. Remove it here, or put it back.")
            role = "error"
        self.verdict.set_status(text, role)
        worries = [
            localize_problem(item)
            for item in (detected.problems if detected else ())
            if item.code != _GUESSED  # the line above and the mapping say it
        ]
        refused = detected is not None and detected.format is None
        self.problems.setVisible(bool(worries) and not refused)
        self.problems.set_status("\n".join(worries), "warn")
        self.panel.show_source(source, detected)
        is_open = _is_guess(source, detected) or _is_unknown(detected)
        if is_open and self._guessed != path:
            self._guessed = path
            self.set_open(True)

    def _show_name(self, path: str, *, hub: bool) -> None:
        self.name.full = path
        self.name.setText(path if hub else PurePath(path).name or path)
        self.name.setAccessibleName(path)
        kind = "search" if hub else "file" if PurePath(path).suffix else "folder"
        self._glyph.set_glyph(kind, "muted")
        self.remove.setToolTip(
            plain_tip(
                tr("Remove {text} from the dataset (the file isn't deleted)").format(
                    text=self.name.text()
                )
            )
        )
        self.remove.setAccessibleName(tr("Remove {text}").format(text=self.name.text()))

    def set_open(self, opened: bool) -> None:
        """Show or hide the mapping."""
        self.panel.setVisible(opened)
        self.opener.setChecked(opened)
        icon = "chevron-down" if opened else "chevron-right"
        set_icon(self.opener, icon, "accent")

    def commit(self) -> None:
        """Apply what is being typed."""
        self._emit_weight()
        self.panel.commit()

    # --- user actions -------------------------------------------------------------------------

    def _toggle(self) -> None:
        self.set_open(self.panel.isHidden())

    def _show_weight(self) -> None:
        self.weight.setText(formatting.format_float(get_weight(self._source), "g"))

    def _emit_weight(self) -> None:
        text = self.weight.text().strip().replace(",", ".").lstrip("×x ")
        try:
            typed = float(text)
        except ValueError:
            typed = 0.0
        if not 0.0 < typed <= 100.0:
            self._show_weight()
        elif typed != get_weight(self._source):
            self.changed.emit({"weight": typed})


def _describe_content(detected: events.SourceFound | None) -> str:
    """Return the container and the number of rows."""
    if detected is None:
        return ""
    left_out, skipped = sum(item.count for item in detected.skipped), ""
    rows = (
        tr_n("{n} row", "{n} rows", detected.rows)
        if detected.rows is not None
        else tr("still reading…")
    )
    if left_out:
        skipped = tr("{count} skipped").format(count=formatting.format_number(left_out))
    return "  ·  ".join(part for part in (localize(detected.container), rows, skipped) if part)


def _describe_format(
    source: Plain, detected: events.SourceFound | None, busy: bool
) -> tuple[str, Role]:
    """Return the detected format with its confidence and evidence, and the color role for it."""
    if detected is None:
        return (tr("Reading…") if busy else tr("Not read yet.")), "muted"
    if _is_unknown(detected):
        return tr(
            "We couldn't tell which columns hold the prompt and the answer. Select a format below, and "
            "map its fields to your columns."
        ), "warn"
    if detected.format is None:
        reasons = [localize_problem(item) for item in detected.problems]
        return "\n".join(reasons) or tr("No usable rows found. {evidence}").format(
            evidence=localize(detected.evidence)
        ), "error"
    title = tr(FORMATS[detected.format].name)
    if _is_guess(source, detected) and any(item.code == _GUESSED for item in detected.problems):
        return tr(
            "{format}: a guess, because the column names don't say what they contain. Compare the "
            "first rows below."
        ).format(format=title), "warn"
    chosen = source.get("format", "auto") != "auto"
    certainty = tr("selected by you") if chosen else _describe_confidence(detected.confidence)
    sure = chosen or detected.confidence >= _LIKELY
    if evidence := localize(detected.evidence):
        text = tr("{format} ({confidence}): {evidence}").format(
            format=title, confidence=certainty, evidence=evidence
        )
    else:
        text = tr("{format} ({confidence})").format(format=title, confidence=certainty)
    return text, "ok" if sure else "warn"


def _is_guess(source: Plain, detected: events.SourceFound | None) -> bool:
    """Return whether the format was detected with low confidence."""
    if detected is None or detected.format is None or source.get("format", "auto") != "auto":
        return False
    return detected.confidence < _LIKELY


def _is_unknown(detected: events.SourceFound | None) -> bool:
    """Return whether the columns of a source have to be mapped by the user."""
    if detected is None or detected.format is not None or not detected.columns:
        return False
    return any(item.code == _UNKNOWN for item in detected.problems)


def _describe_confidence(confidence: float) -> str:
    if confidence >= _SURE:
        return tr("high confidence")
    return tr("medium confidence") if confidence >= _LIKELY else tr("low confidence")


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
        clear_layout(self._flow)
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
        filled_slots = columns_module.fill_slots(self._first, {self.name: value}) if value else {}
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
