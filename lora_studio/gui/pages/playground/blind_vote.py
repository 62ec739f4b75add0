"""Blind comparison: shuffle the columns, hide their names until the user has voted."""

from __future__ import annotations

import random

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QCheckBox

from lora_studio.core import chat
from lora_studio.core.playground import COLUMNS
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.pages.playground.chat_controller import ChatController
from lora_studio.gui.pages.playground.vote_bar import VoteBar


class BlindVote(QObject):
    """Holds the order of the columns and whether their names are hidden.

    Signals:
        reordered: the order of the columns has changed.
        voted: a vote was saved and the names are shown.
    """

    reordered = Signal()
    voted = Signal()

    def __init__(self, controller: ChatController, parent: QObject | None = None) -> None:
        """Start turned off, with the columns in order."""
        super().__init__(parent)
        self._controller = controller
        self.order = list(range(COLUMNS))
        self.revealed = False  # a vote has revealed the names
        self.toggle = QCheckBox(tr("Blind"))
        self.toggle.setToolTip(tr("Shuffles the columns and hides the model names until you vote"))
        self.bar = VoteBar()
        self.bar.voted.connect(self.vote)

    @property
    def is_on(self) -> bool:
        """Whether blind comparison is turned on."""
        return self.toggle.isChecked() and len(self._controller.conversation.speakers) > 1

    @property
    def is_hiding(self) -> bool:
        """Whether the model names are hidden now."""
        return self.is_on and not self.revealed and bool(self._controller.conversation.turns)

    def reset(self) -> None:
        """Prepare for a new comparison."""
        self.revealed = False

    def restore_order(self) -> None:
        """Restore the original order of the columns."""
        self.order = list(range(COLUMNS))
        self.reordered.emit()

    def shuffle(self) -> None:
        """Shuffle the columns."""
        count = len(self._controller.conversation.speakers)
        self.order = [*random.sample(range(count), count), *range(count, COLUMNS)]
        self.reordered.emit()

    def vote(self, position: int) -> None:
        """Vote for the answer at a position, -1 for no difference, and show the names."""
        speakers = self._controller.conversation.speakers
        columns = self.order[: len(speakers)]
        vote = self._controller.vote(columns, position)
        self.revealed = True
        names = [localize(chat.format_speaker_name(speakers[number])) for number in columns]
        lettered = (f"{letter}: {name}" for letter, name in zip("ABC", names, strict=False))
        template = (
            tr("You voted for no difference ({names}). The next prompt starts a new comparison.")
            if vote.winner is None
            else tr("You voted for {winner} ({names}). The next prompt starts a new comparison.")
        )
        winner = "" if vote.winner is None else names[vote.winner]
        self.voted.emit()
        self.bar.show_result(template.format(winner=winner, names=" · ".join(lettered)))

    def show_bar(self) -> None:
        """Show the vote buttons once every column has answered."""
        conversation = self._controller.conversation
        is_answered = conversation.turns and all(
            (version := conversation.turns[-1].get_answers(number).current) is not None
            and version.problem is None
            for number in range(len(conversation.speakers))
        )
        if self.is_hiding and is_answered and not self._controller.waiting:
            self.bar.ask(len(conversation.speakers))
        elif not (self.is_on and self.revealed):
            self.bar.hide()
