"""The list of all keyboard shortcuts, read from the actions themselves."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QObject, Qt
from PySide6.QtGui import QAction, QKeySequence, QShortcut
from PySide6.QtWidgets import QAbstractButton, QGridLayout, QWidget

from lora_studio.gui.frame.shell import Shell
from lora_studio.gui.language import tr
from lora_studio.gui.pages.page import AppPage, StepPage
from lora_studio.gui.text_size import Size
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import button, label, make_scroll_area
from lora_studio.gui.widgets.dialog import Dialog


@dataclass(frozen=True)
class Shortcut:
    """A shortcut, what it does, and the page that it works on ("" for all)."""

    keys: str
    description: str
    page: str = ""


def list_shortcuts(shell: Shell) -> list[Shortcut]:
    """Return every shortcut of the window's actions, buttons and pages, grouped by page."""
    result = {
        Shortcut(
            _format_keys(action.shortcuts()),
            _strip_mnemonic(action.text()),
            _find_page_title(action),
        )
        for action in shell.findChildren(QAction)
        if action.shortcuts()
    }
    result |= {
        Shortcut(_format_keys([button.shortcut()]), _strip_mnemonic(button.text() or button.accessibleName()), _find_page_title(button))
        for button in shell.findChildren(QAbstractButton)
        if not button.shortcut().isEmpty()
    }  # fmt: skip
    result |= {
        Shortcut(_format_keys(shortcut.keys()), shortcut.whatsThis(), _find_page_title(shortcut))
        for shortcut in shell.findChildren(QShortcut)
        if shortcut.whatsThis()
    }
    pages = ["", *(tr(item.title) for item in shell.all_pages)]
    order = list(shell.actions_.commands.values())
    texts = [_strip_mnemonic(action.text()) for action in order]
    return sorted(
        result,
        key=lambda item: (
            pages.index(item.page),
            texts.index(item.description) if item.description in texts else len(texts),
            item.description,
        ),
    )


class ShortcutSheet(Dialog):
    """A dialog with all shortcuts and their actions, grouped by page."""

    def __init__(self, shortcuts: list[Shortcut], parent: QWidget) -> None:
        """Show the shortcuts; the list scrolls."""
        super().__init__(tr("Keyboard shortcuts"), "", parent)
        inner = QWidget()
        grid = QGridLayout(inner)
        grid.setContentsMargins(0, 0, Spacing.L, 0)
        grid.setHorizontalSpacing(Spacing.XL)
        grid.setVerticalSpacing(Spacing.S)
        grid.setColumnStretch(1, 1)
        page: str | None = None
        for item in shortcuts:
            row = grid.rowCount()
            if item.page != page:
                page = item.page
                grid.addWidget(label(page or tr("Everywhere"), "section"), row, 0, 1, 2)
                row += 1
            keys = label(item.keys, "label")
            keys.setTextInteractionFlags(Qt.TextInteractionFlag.NoTextInteraction)
            grid.addWidget(keys, row, 0)
            grid.addWidget(label(item.description), row, 1)
        area = make_scroll_area(inner, tr("Keyboard shortcuts"))
        area.setMinimumSize(max(Size.scaled(480), inner.sizeHint().width() + Spacing.L), 420)
        self.body.addWidget(area)
        self.add_button(button(tr("Close"), self.accept, kind="primary"), default=True)


def _format_keys(sequences: list[QKeySequence]) -> str:
    form = QKeySequence.SequenceFormat.NativeText
    return ", ".join(dict.fromkeys(sequence.toString(form) for sequence in sequences))


def _strip_mnemonic(text: str) -> str:
    return text.replace("&", "").removesuffix("…")


def _find_page_title(item: QObject) -> str:
    """Return the title of the page that an object is on, "" if it is on none."""
    above: QObject | None = item
    while above is not None:
        if isinstance(above, StepPage | AppPage):
            return tr(above.title)
        above = above.parent()
    return ""
