"""The cheat sheet of every shortcut, made from the actions themselves."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QObject, Qt
from PySide6.QtGui import QAction, QKeySequence, QShortcut
from PySide6.QtWidgets import QAbstractButton, QGridLayout, QScrollArea, QWidget

from lora_studio.gui.frame.shell import Shell
from lora_studio.gui.language import tr
from lora_studio.gui.pages.page import AppPage, StepPage
from lora_studio.gui.text_size import Size
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import button, label
from lora_studio.gui.widgets.dialog import Dialog


@dataclass(frozen=True)
class Shortcut:
    """What keys do, and the place where they do it, "" for everywhere."""

    keys: str
    does: str
    place: str = ""


def shortcuts(window: Shell) -> list[Shortcut]:
    """Every shortcut of a window: of its actions, and of what its pages hold."""
    found = {
        Shortcut(_keys(action.shortcuts()), _plain(action.text()), _place(action))
        for action in window.findChildren(QAction)
        if action.shortcuts()
    }
    found |= {
        Shortcut(_keys([made.shortcut()]), _plain(made.text() or made.accessibleName()), _place(made))
        for made in window.findChildren(QAbstractButton)
        if not made.shortcut().isEmpty()
    }  # fmt: skip
    found |= {
        Shortcut(_keys(made.keys()), made.whatsThis(), _place(made))
        for made in window.findChildren(QShortcut)
        if made.whatsThis()
    }
    places = ["", *(tr(item.title) for item in window.all_pages)]
    order = list(window.actions_.commands.values())
    texts = [_plain(action.text()) for action in order]
    return sorted(
        found,
        key=lambda item: (
            places.index(item.place),
            texts.index(item.does) if item.does in texts else len(texts),
            item.does,
        ),
    )


class ShortcutSheet(Dialog):
    """Keys beside what they do, by place."""

    def __init__(self, found: list[Shortcut], parent: QWidget) -> None:
        """Scrolls where there are more than fit."""
        super().__init__(tr("Keyboard shortcuts"), "", parent)
        inner = QWidget()
        inner.setObjectName("scrolled")
        grid = QGridLayout(inner)
        grid.setContentsMargins(0, 0, Spacing.L, 0)
        grid.setHorizontalSpacing(Spacing.XL)
        grid.setVerticalSpacing(Spacing.S)
        grid.setColumnStretch(1, 1)
        place: str | None = None
        for item in found:
            row = grid.rowCount()
            if item.place != place:
                place = item.place
                grid.addWidget(label(place or tr("Everywhere"), "section"), row, 0, 1, 2)
                row += 1
            keys = label(item.keys, "label")
            keys.setTextInteractionFlags(Qt.TextInteractionFlag.NoTextInteraction)
            grid.addWidget(keys, row, 0)
            grid.addWidget(label(item.does), row, 1)
        area = QScrollArea(widgetResizable=True)
        area.setFrameShape(QScrollArea.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setMinimumSize(max(Size.scaled(480), inner.sizeHint().width() + Spacing.L), 420)
        area.setAccessibleName(tr("Keyboard shortcuts"))
        area.setWidget(inner)
        self.body.addWidget(area)
        self.add_button(button(tr("Close"), self.accept, kind="primary"), default=True)


def _keys(sequences: list[QKeySequence]) -> str:
    form = QKeySequence.SequenceFormat.NativeText
    return ", ".join(dict.fromkeys(sequence.toString(form) for sequence in sequences))


def _plain(text: str) -> str:
    return text.replace("&", "").removesuffix("…")


def _place(item: QObject) -> str:
    """The title of the page that something is on, "" where it belongs to the window."""
    above: QObject | None = item
    while above is not None:
        if isinstance(above, StepPage | AppPage):
            return tr(above.title)
        above = above.parent()
    return ""
