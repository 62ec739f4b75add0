"""The sources of a dataset, one card each; added by drop, dialog, typing or from recent sources."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFileDialog, QFrame, QMenu, QVBoxLayout, QWidget

from lora_studio.core.problems import Problem
from lora_studio.core.protocol import events
from lora_studio.gui.controls.controls import Control, LineEdit
from lora_studio.gui.language import mark, tr
from lora_studio.gui.pages.dataset.source_card import SourceCard
from lora_studio.gui.project import data_sources
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import button, column, label, restyle, row
from lora_studio.gui.widgets.file_dialogs import DIALOG_FOLDER

_HINT = mark("File or folder path, or org/name on the Hub")
_EXAMPLE = mark(
    "Files: JSON, JSONL, CSV, TSV, Parquet, or text, also compressed. Formats: Alpaca, ShareGPT, "
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
