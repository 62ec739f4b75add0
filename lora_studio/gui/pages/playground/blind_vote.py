"""Blind comparison: shuffled columns without names, a vote, then the names."""

from __future__ import annotations

import random

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QCheckBox

from lora_studio.core import chat
from lora_studio.core.playground import COLUMNS
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import tell
from lora_studio.gui.pages.playground.chat_controller import ChatController
from lora_studio.gui.pages.playground.vote_bar import VoteBar


class BlindVote(QObject):
    """Hold the order of the columns and whether their names are hidden.

    Signals:
        reordered: the order of the columns has changed.
        voted: a vote was saved and the names are shown.
    """

    reordered = Signal()
    voted = Signal()

    def __init__(self, desk: ChatController, parent: QObject | None = None) -> None:
        """Start turned off, with the columns in order."""
        super().__init__(parent)
        self._desk = desk
        self.order = list(range(COLUMNS))
        self.revealed = False  # names are shown again after a vote
        self.toggle = QCheckBox(tr("Blind"))
        self.toggle.setToolTip(tr("Shuffles the columns and hides the model names until you vote"))
        self.bar = VoteBar()
        self.bar.voted.connect(self.vote)

    @property
    def is_on(self) -> bool:
        """Whether blind comparison is turned on."""
        return self.toggle.isChecked() and len(self._desk.kept.speakers) > 1

    @property
    def is_hiding(self) -> bool:
        """Whether the model names are hidden now."""
        return self.is_on and not self.revealed and bool(self._desk.kept.turns)

    def begin(self) -> None:
        """Prepare for a new comparison."""
        self.revealed = False

    def straighten(self) -> None:
        """Restore the original order of the columns."""
        self.order = list(range(COLUMNS))
        self.reordered.emit()

    def shuffle(self) -> None:
        """Shuffle the columns."""
        count = len(self._desk.kept.speakers)
        self.order = [*random.sample(range(count), count), *range(count, COLUMNS)]
        self.reordered.emit()

    def vote(self, place: int) -> None:
        """Vote for the answer at a position, -1 for no difference, and show the names."""
        speakers = self._desk.kept.speakers
        columns = self.order[: len(speakers)]
        vote = self._desk.vote(columns, place)
        self.revealed = True
        names = [tell(chat.shown(speakers[number])) for number in columns]
        named = (f"{letter}: {name}" for letter, name in zip("ABC", names, strict=False))
        won = tr("No difference.") if vote.winner is None else names[vote.winner]
        text = tr("Your vote: {winner}  ({names}). The next prompt is a new comparison.")
        self.voted.emit()
        self.bar.tell(text.format(winner=won, names=" · ".join(named)))

    def show_bar(self) -> None:
        """Show the vote buttons once every column has answered."""
        kept = self._desk.kept
        answered = kept.turns and all(
            (take := kept.turns[-1].of(number).current) is not None and take.problem is None
            for number in range(len(kept.speakers))
        )
        if self.is_hiding and answered and not self._desk.waiting:
            self.bar.ask(len(kept.speakers))
        elif not (self.is_on and self.revealed):
            self.bar.hide()
